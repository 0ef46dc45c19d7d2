"""Two questions that look alike. *Proven*: could this release do its work? *In service*: does this robot do it now?

A rollout asks the first (``ready``): every model loaded, warm, self-tested, serving. People and load balancers ask the
second (``in_service``, `/readyz`): a real frame has come through every model since the executor started, rates are
within bounds, and images come back through the node's own transport. A robot whose camera is unplugged is proven and
out of service; no release causes that, and going back to the last one repairs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.contract.judgement import ACTIVE, complaints, is_active, self_test_passed, stands_in
from runtime.contract.node.health import Check
from runtime.contract.node.runtime_config import ModelRuntime, RuntimeConfig
from runtime.health.process.round_trip import lost
from runtime.health.process.status import ExecutorStatus
from runtime.health.process.supervisor import Snapshot


def unproven(config: RuntimeConfig, process: Snapshot) -> tuple[str, ...]:
    """Return what is not proven yet, or no more."""
    status = process.status
    if not process.live or status is None:
        return (
            f"the executor is not started: {process.held_up}"
            if process.held_up
            else f"the executor is {process.state}",
        )
    if status.lifecycle != ACTIVE:
        waits = ", and waits for a lifecycle manager (autostart: false)" if status.managed else ""
        return (f"the node is {status.lifecycle}{waits}",)
    found = (_unproven_model(status, model) for model in config.models)
    return tuple(reason for reason in found if reason)


def waiting_for(
    unproven: Sequence[str], config: RuntimeConfig, process: Snapshot, checks: Iterable[Check]
) -> list[str]:
    """Return why the robot is out of service; empty when it does its work."""
    if unproven or process.status is None:
        return list(unproven)
    frames = {model.name: model.frames for model in process.status.models}
    late = [
        f"model {model.name}: no real frame has come through yet" for model in config.models if not frames[model.name]
    ]
    work = {f"model:{model.name}:{what}" for model in config.models for what in ("input", "command")}
    return [*late, *lost(process.status.transport), *complaints(check for check in checks if check.name in work)]


def _unproven_model(status: ExecutorStatus, model: ModelRuntime) -> str:
    health = next((health for health in status.models if health.name == model.name), None)
    if health is None:
        return f"model {model.name} is not reported"
    if not is_active(health):
        return f"model {model.name} is {health.state}"
    if health.engine_key != model.engine_key and not stands_in(health):
        return f"model {model.name} runs another engine than the configured one"
    if not self_test_passed(health):
        return f"model {model.name} has not passed its self-test"
    return ""
