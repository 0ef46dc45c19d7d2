"""Samples in, verdict out. No I/O, no clock of its own: what is judged is passed in.

A sample over its limit must stay there for ``HOLD_S`` before it counts, and stay back for as long before it stops
counting, so that a value at its limit does not flap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.contract.judgement import ACTIVE, FAILED, idle_commands, is_active, self_test_failed, stands_in
from runtime.contract.node.health import (
    DEGRADED,
    LEVEL_ERROR,
    LEVEL_OK,
    LEVEL_STALE,
    LEVEL_WARN,
    OK,
    UNHEALTHY,
    Check,
    CommandHealth,
    ModelHealth,
    SystemHealth,
)
from runtime.contract.node.runtime_config import ModelRuntime, RuntimeConfig
from runtime.contract.robot.power import PowerStatus
from runtime.health.checks.machine_checks import Reading, readings
from runtime.health.checks.readiness import unproven, waiting_for
from runtime.health.process.round_trip import SHM, transport_checks
from runtime.health.process.supervisor import CRASH_LOOP, RESTARTING, STARTING, STOPPED, Snapshot
from runtime.health.process.transport import sizes
from runtime.power.control import power_check

HOLD_S = 3.0
"""How long a sample must stay on one side of its limit before its check changes."""
MANY_RESETS = 10
"""From so many resets of a state on, their share of the frames is judged."""
_COMMANDS = {"zero": "send zero", "hold": "hold as declared"}


@dataclass
class _Held:
    bad: bool = False
    since: float | None = None


class Hysteresis:
    """Remembers, per check, on which side of its limit a value has settled."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._held: dict[str, _Held] = {}

    def settle(self, name: str, bad: bool, now: float) -> bool:
        """Return the settled verdict for ``name`` after a sample at ``now`` (seconds, monotonic)."""
        held = self._held.setdefault(name, _Held())
        if bad == held.bad:
            held.since = None
        elif held.since is None:
            held.since = now
        elif now - held.since >= self._hold_s:
            held.bad, held.since = bad, None
        return held.bad

    def forget(self, prefix: str) -> None:
        """Drop what is remembered of checks that no longer exist (a model that is not running)."""
        for name in [name for name in self._held if name.startswith(prefix)]:
            del self._held[name]


@dataclass(frozen=True)
class Assessment:
    """The judgement of one moment."""

    state: str
    """ok | degraded | unhealthy."""
    ready: bool
    checks: tuple[Check, ...]
    waiting_for: tuple[str, ...] = ()
    """Why the robot is out of service, although it may be ready; see runtime.health.checks.readiness."""


class Judge:
    """Turns samples into checks, with the memory that hysteresis needs."""

    def __init__(self, config: RuntimeConfig, hold_s: float = HOLD_S) -> None:
        self._config, self._segment = config, sizes(config).segment
        self._hysteresis = Hysteresis(hold_s)

    def judge(
        self, process: Snapshot, system: SystemHealth, now: float, power: PowerStatus | None = None
    ) -> Assessment:
        """Judge one moment. ``now`` is monotonic seconds."""
        checks = [executor_check(process), lifecycle_check(process, self._config.startup_timeout_s)]
        reported = {model.name: model for model in process.status.models} if process.status is not None else {}
        for model in self._config.models:
            checks.extend(self._model(model, reported.get(model.name), process, now))
        checks.extend(self._held(reading, now) for reading in readings(system))
        if power is not None:
            checks.append(power_check(power))
        trip = process.status.transport if process.status is not None else None
        by_udp = [topic for model in reported.values() for topic in model.by_udp]
        checks.extend(transport_checks(trip, self._segment, system.disks.get(SHM), by_udp))
        if process.status is not None:
            checks.extend(Check("note", LEVEL_OK, note) for note in process.status.notes)
        missing = unproven(self._config, process)
        waiting = waiting_for(missing, self._config, process, checks)
        return Assessment(overall(checks), not missing, tuple(checks), tuple(waiting))

    def _model(self, model: ModelRuntime, health: ModelHealth | None, process: Snapshot, now: float) -> Iterator[Check]:
        yield model_check(model, health, process.state)
        if health is not None:
            yield from self._command(model, health, now)
            if health.unheard:
                yield Check(f"model:{model.name}:listeners", LEVEL_WARN, "; ".join(health.unheard))
            if health.mixed:
                yield Check(f"model:{model.name}:publishers", LEVEL_WARN, "; ".join(health.mixed))
            yield from state_check(health)
        if health is None or not is_active(health):
            self._hysteresis.forget(f"model:{model.name}:")
            return
        yield self._input(model, health, now)
        yield from self._clock(model, health, now)
        limits = model.thresholds
        for name, measured, limit in (
            ("latency", health.inference_ms, limits.max_latency_p99_ms),
            ("age", health.frame_age_ms, limits.max_frame_age_p99_ms),
        ):
            if limit is not None and measured is not None:
                yield self._limit(f"model:{model.name}:{name}", measured.p99, limit, now)

    def _command(self, model: ModelRuntime, health: ModelHealth, now: float) -> Iterator[Check]:
        """A robot that stands still says why. A model that wants zero drives: only a command of no result counts."""
        name = f"model:{model.name}:command"
        if health.held:
            yield Check(name, LEVEL_WARN, f"commands nothing: {health.held}")
            return
        if not health.commands or not is_active(health):
            return
        still = idle_commands(health)
        if self._hysteresis.settle(name, bool(still), now):
            why = "; ".join([*still, *health.clock]) or "drives again, recovering"
            yield Check(name, LEVEL_WARN, f"does not drive: {why}" if still else why)
        else:
            yield Check(name, LEVEL_OK, f"drives {'; '.join(map(_driven, health.commands))}")

    def _clock(self, model: ModelRuntime, health: ModelHealth, now: float) -> Iterator[Check]:
        name = f"model:{model.name}:clock"
        if self._hysteresis.settle(name, bool(health.clock), now):
            yield Check(name, LEVEL_WARN, "; ".join(health.clock) or "stamps fit the robot's clock again, recovering")

    def _input(self, model: ModelRuntime, health: ModelHealth, now: float) -> Check:
        name = f"model:{model.name}:input"
        topics = ", ".join(dict.fromkeys(binding.source for binding in model.inputs))
        need, rate = model.thresholds.min_input_rate_hz, health.input_rate_hz
        silent = rate <= 0.0
        slow = need is not None and rate < need
        fruitless = rate > 0.0 and health.output_rate_hz <= 0.0
        if not self._hysteresis.settle(name, silent or slow or fruitless, now):
            return Check(name, LEVEL_OK, f"{rate:.1f} Hz on {topics}")
        if silent:
            return Check(name, LEVEL_STALE, f"nothing arrives on {topics}: is its publisher running?")
        if slow:
            return Check(name, LEVEL_WARN, f"{rate:.1f} Hz on {topics}, at least {need:g} Hz expected")
        if fruitless:
            return Check(
                name, LEVEL_WARN, f"{rate:.1f} Hz on {topics}, but no result: {health.last_error or 'no error yet'}"
            )
        return Check(name, LEVEL_WARN, f"{rate:.1f} Hz on {topics}, recovering")

    def _limit(self, name: str, p99: float, limit: float, now: float) -> Check:
        return self._held(Reading(name, p99 > limit, f"p99 {p99:.1f} ms, limit {limit:g} ms"), now)

    def _held(self, reading: Reading, now: float) -> Check:
        bad = self._hysteresis.settle(reading.name, reading.bad, now)
        return Check(reading.name, LEVEL_WARN if bad else LEVEL_OK, reading.text)


def _driven(command: CommandHealth) -> str:
    limits = f" ({command.limited} over a limit: {command.limit})" if command.limited else ""
    return f"{command.topic}{limits}"


def executor_check(process: Snapshot) -> Check:
    """Is the executor process alive and moving?"""
    last = f"; last end: {process.last_exit}" if process.last_exit else ""
    if process.state == CRASH_LOOP:
        return Check("executor", LEVEL_ERROR, f"crash loop after {process.restarts} restarts, not started again{last}")
    if process.state == STOPPED:
        return Check("executor", LEVEL_ERROR, f"stopped{last}")
    if process.held_up:
        return Check("executor", LEVEL_ERROR, f"not started: {process.held_up}{last}")
    if process.state == RESTARTING:
        return Check("executor", LEVEL_ERROR, f"restarting, {process.restarts} restarts so far{last}")
    if not process.live and process.pid is not None:
        return Check("executor", LEVEL_ERROR, f"process {process.pid} does not answer{last}")
    if process.state == STARTING:
        return Check("executor", LEVEL_WARN, f"starting for {process.run_age_s:.0f} s")
    return Check("executor", LEVEL_OK, f"process {process.pid}, {process.restarts} restarts")


MANAGED = "a lifecycle manager activates the node (autostart: false), and has not, or no more"


def lifecycle_check(process: Snapshot, grace_s: float) -> Check:
    """Is the node active, or still within its time to become so?"""
    lifecycle = "unknown" if process.status is None else process.status.lifecycle
    if lifecycle == ACTIVE:
        return Check("lifecycle", LEVEL_OK, lifecycle)
    if process.status is not None and process.status.standing_by:
        return Check("lifecycle", LEVEL_OK, f"{lifecycle}, standing by: {process.status.standing_by}")
    if process.status is not None and process.status.managed and lifecycle != "unknown":
        return Check("lifecycle", LEVEL_WARN, f"{lifecycle}: {MANAGED}")
    if process.state == STARTING and process.run_age_s <= grace_s and not _finished_starting(process):
        return Check("lifecycle", LEVEL_WARN, f"{lifecycle}, starting for {process.run_age_s:.0f} of {grace_s:g} s")
    return Check("lifecycle", LEVEL_ERROR, f"{lifecycle}, should be active")


def _finished_starting(process: Snapshot) -> bool:
    """The executor says it is done with starting, so there is nothing left to wait for."""
    return process.status is not None and process.status.phase != "starting"


def state_check(health: ModelHealth) -> Iterator[Check]:
    """A model that keeps nothing from most of its frames to the next works, and not as it was trained."""
    resets = sum(health.state_resets.values())
    if resets >= MANY_RESETS and 2 * resets > health.frames:
        said = f"its state was reset {resets} times in {health.frames} frames, the last time by"
        yield Check(f"model:{health.name}:state", LEVEL_WARN, f"{said} {health.last_state_reset}")


def model_check(model: ModelRuntime, health: ModelHealth | None, process_state: str) -> Check:
    """Is this model loaded, tested and serving the engine that the configuration names?"""
    name = f"model:{model.name}"
    if health is None:
        level = LEVEL_WARN if process_state == STARTING else LEVEL_ERROR
        return Check(name, level, "not reported by the executor")
    if stands_in(health):
        return standing_in_check(name, model, health)
    if health.self_test is not None and self_test_failed(health):
        return Check(name, LEVEL_ERROR, f"self-test failed: {health.self_test.message}")
    if health.state == FAILED:
        return Check(name, LEVEL_ERROR, health.last_error or "failed")
    if health.engine_key and health.engine_key != model.engine_key:
        return Check(name, LEVEL_ERROR, f"runs engine {health.engine_key}, configured is {model.engine_key}")
    if is_active(health):
        return Check(name, LEVEL_OK, f"active at {health.precision}")
    return Check(name, LEVEL_WARN, health.state)


def standing_in_check(name: str, model: ModelRuntime, health: ModelHealth) -> Check:
    """Something that is declared to be enough answers for a model's own engine: worse than it should be, and works."""
    why = f": {health.serving_reason}" if health.serving_reason else ""
    if health.serving in ("zero", "hold"):
        return Check(name, LEVEL_WARN, f"no engine, its outputs {_COMMANDS[health.serving]}{why}")
    engine = f"{health.serving_model} {health.precision} {health.engine_key[7:19]}"
    if health.serving == "swapped":
        return Check(
            name, LEVEL_WARN, f"engine {engine} was put in while running; the release's is {model.engine_key[7:19]}"
        )
    return Check(name, LEVEL_WARN, f"its fallback {engine} serves{why}")


def overall(checks: list[Check]) -> str:
    """Errors make it unhealthy, anything else that is not ok makes it degraded."""
    levels = {check.level for check in checks}
    if LEVEL_ERROR in levels:
        return UNHEALTHY
    return DEGRADED if levels & {LEVEL_WARN, LEVEL_STALE} else OK
