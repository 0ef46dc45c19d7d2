"""Puts one HealthReport together from what the supervisor, the executor and the machine say."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version

from runtime.contract.node.health import (
    LEVEL_ERROR,
    UNHEALTHY,
    Check,
    ExecutorHealth,
    HealthReport,
    ModelHealth,
    SystemHealth,
)
from runtime.contract.node.runtime_config import ModelRuntime, RuntimeConfig
from runtime.contract.robot.power import PowerStatus
from runtime.health.checks.judge import Judge
from runtime.health.process.serving_token import turn_health
from runtime.health.process.supervisor import CRASH_LOOP, STOPPED, Snapshot
from runtime.health.settings import AgentSettings


def _agent_version() -> str:
    """Of the installed distribution; empty in an image, whose digest says more."""
    try:
        return version("jetfleet")
    except PackageNotFoundError:
        return ""


AGENT_VERSION = _agent_version()


class Reporter:
    """Builds reports; remembers what hysteresis needs."""

    def __init__(self, settings: AgentSettings, config: RuntimeConfig, started: float) -> None:
        self._settings, self._config, self._started = settings, config, started
        self._judge = Judge(config)

    def report(
        self, process: Snapshot, system: SystemHealth, now: float, power: PowerStatus | None = None
    ) -> HealthReport:
        """Return the truth of ``now`` (monotonic seconds)."""
        verdict = self._judge.judge(process, system, now, power)
        return HealthReport(
            time=time.time(),
            robot=self._settings.robot,
            release=self._settings.release,
            image=self._settings.image,
            state=verdict.state,
            live=process.live,
            ready=verdict.ready,
            uptime_s=now - self._started,
            executor=executor_health(process),
            models=_every_model(self._config, process),
            checks=verdict.checks,
            system=system,
            agent_version=AGENT_VERSION,
            in_service=not verdict.waiting_for,
            waiting_for=verdict.waiting_for,
            power=power,
            turn=turn_health(self._settings.slot, process),
        )


def executor_health(process: Snapshot) -> ExecutorHealth:
    """The contract's view of a supervisor's snapshot."""
    return ExecutorHealth(
        state=process.state,
        lifecycle="unknown" if process.status is None else process.status.lifecycle,
        restarts=process.restarts,
        heartbeat_age_s=process.heartbeat_age_s,
        pid=process.pid,
        last_exit=process.last_exit,
    )


def misconfigured(settings: AgentSettings, problem: str, system: SystemHealth, uptime_s: float) -> HealthReport:
    """The report of an agent that has no usable configuration, and so no executor."""
    return HealthReport(
        time=time.time(),
        robot=settings.robot,
        release=settings.release,
        image=settings.image,
        state=UNHEALTHY,
        live=False,
        ready=False,
        uptime_s=uptime_s,
        executor=ExecutorHealth(state=STOPPED, lifecycle="unknown", restarts=0),
        models=(),
        checks=(Check("config", LEVEL_ERROR, problem),),
        system=system,
        agent_version=AGENT_VERSION,
        in_service=False,
        waiting_for=("the configuration cannot be used",),
    )


def _every_model(config: RuntimeConfig, process: Snapshot) -> tuple[ModelHealth, ...]:
    """Every configured model, in the configuration's order, whether or not the executor has spoken of it."""
    known = {} if process.status is None else {model.name: model for model in process.status.models}
    return tuple(known[model.name] if model.name in known else _unreported(model, process) for model in config.models)


def _unreported(model: ModelRuntime, process: Snapshot) -> ModelHealth:
    """A model of an executor that is still starting is loading; of one that will not come back, it has failed."""
    over = process.state in (CRASH_LOOP, STOPPED)
    return ModelHealth(
        name=model.name,
        precision=model.precision,
        engine_key="",
        engine_sha256="",
        state="failed" if over else "loading",
        last_error=process.last_exit if over else "",
    )
