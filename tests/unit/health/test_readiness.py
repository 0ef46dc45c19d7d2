"""Proven is not in service: what a rollout waits for, and what people and load balancers are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.health import DEGRADED, HealthReport, SystemHealth
from runtime.contract.node.health_answer import read_health
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.contract.robot.release import ReleaseVariant
from runtime.health.checks.judge import HOLD_S, Assessment, Judge
from runtime.health.checks.report import Reporter
from runtime.health.process.supervisor import CRASH_LOOP, RESTARTING, Snapshot
from runtime.health.settings import AgentSettings
from runtime.updater.state.records import Baseline
from runtime.updater.state.world import ContainerFacts, Observation
from runtime.updater.transaction.judge import GOOD, WAIT, judge
from tests.fakes.robots.robot_world import reference, variant
from tests.unit.health.conftest import KEY, model_health, snapshot

SILENT = {"input_rate_hz": 0.0, "output_rate_hz": 0.0}


def settled(config: RuntimeConfig, process: Snapshot) -> Assessment:
    found = Judge(config)
    found.judge(process, SystemHealth(), 0.0)
    return found.judge(process, SystemHealth(), HOLD_S)


def test_a_robot_at_work_is_in_service(config: RuntimeConfig) -> None:
    assert settled(config, snapshot(model_health())).waiting_for == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": 0}, "model signs: no real frame has come through yet"),
        (SILENT, "model:signs:input: nothing arrives on /camera: is its publisher running?"),
        ({"held": "/cmd_vel is also commanded by /teleop"},
         "model:signs:command: commands nothing: /cmd_vel is also commanded by /teleop"),
        ({"input_rate_hz": 1.0}, "model:signs:input: 1.0 Hz on /camera, at least 2 Hz expected"),
        ({"output_rate_hz": 0.0, "last_error": "encoding 'bgr8'"},
         "model:signs:input: 5.0 Hz on /camera, but no result: encoding 'bgr8'"),
    ],
)  # fmt: skip
def test_proven_but_out_of_service(config: RuntimeConfig, changes: dict[str, Any], reason: str) -> None:
    verdict = settled(config, snapshot(model_health(**changes)))
    assert verdict.ready
    assert verdict.waiting_for == (reason,)


@pytest.mark.parametrize(
    ("process", "reason"),
    [
        (Snapshot(state=RESTARTING), "the executor is restarting"),
        (Snapshot(state=CRASH_LOOP), "the executor is crash_loop"),
        (snapshot(model_health(), lifecycle="inactive"), "the node is inactive"),
        (snapshot(None), "model signs is not reported"),
        (snapshot(model_health(state="failed")), "model signs is failed"),
        (snapshot(model_health(engine_key="sha256:other")), "model signs runs another engine than the configured one"),
        (snapshot(model_health(self_test=None)), "model signs has not passed its self-test"),
    ],
)
def test_what_is_not_proven_is_not_in_service_either(config: RuntimeConfig, process: Snapshot, reason: str) -> None:
    verdict = settled(config, process)
    assert not verdict.ready
    assert verdict.waiting_for == (reason,)


def test_a_dip_shorter_than_the_hold_keeps_the_robot_in_service(config: RuntimeConfig) -> None:
    found = Judge(config)
    found.judge(snapshot(model_health()), SystemHealth(), 0.0)
    assert found.judge(snapshot(model_health(**SILENT)), SystemHealth(), 1.0).waiting_for == ()


def report_on(config: RuntimeConfig, release: ReleaseVariant, frames: int, **changes: Any) -> HealthReport:
    reporter = Reporter(AgentSettings(Path("x"), "amr-001", "", release.image, 0, 1.0), config, 0.0)
    process = snapshot(model_health(name="sign_text", frames=frames, **changes))
    reporter.report(process, SystemHealth(), 0.0)
    return reporter.report(process, SystemHealth(), HOLD_S)


@pytest.mark.parametrize("frames", [0, 500])
def test_a_dead_camera_takes_a_robot_out_of_service_and_reverts_no_release(frames: int) -> None:
    """The updater's judge, on what the agent really reports: silent camera, before and after the first frame."""
    release = variant("1")
    config = _config(release.engines[0].key)
    report = report_on(config, release, frames, engine_key=release.engines[0].key, **SILENT)
    assert (report.in_service, report.ready, report.state) == (False, True, DEGRADED)
    assert report.waiting_for
    seen = Observation(_running(), (release.image,), read_health(canonical_json(report).decode()))
    verdict = judge(seen, Baseline(True, "ok", {}), release)  # the camera died with the switch
    assert verdict.level == GOOD
    assert any("nothing arrives" in reason for reason in verdict.reasons)


def test_a_model_that_is_not_proven_keeps_a_release_waiting() -> None:
    release = variant("1")
    key = release.engines[0].key
    report = report_on(_config(key), release, 0, engine_key=key, state="inactive")
    seen = Observation(_running(), (release.image,), read_health(canonical_json(report).decode()))
    assert judge(seen, Baseline(True, "ok", {}), release).level == WAIT


def test_a_report_of_an_older_agent_still_loads() -> None:
    release = variant("1")
    report = report_on(_config(KEY), release, 1)
    older = json.loads(canonical_json(report))
    for name in ("in_service", "waiting_for", "system"):
        del older[name]
    found = from_json(HealthReport, json.dumps(older))
    assert found.in_service is None
    assert found.system == SystemHealth()


def _config(key: str) -> RuntimeConfig:
    image = InputBinding("x", "/camera", "sensor_msgs/msg/Image", "rgb8", 4, 4)
    return RuntimeConfig((ModelRuntime("sign_text", "fp32", key, (image,), (OutputBinding("y", "~/out", "tensor"),)),))


def _running() -> ContainerFacts:
    return ContainerFacts("c1", "sha256:i", reference("1"), "running", "", 0, 0)
