"""Samples in, verdict out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.contract.node.health import DEGRADED, OK, UNHEALTHY, CommandHealth, SelfTest, SystemHealth
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.health.checks.judge import HOLD_S, Assessment, Hysteresis, Judge
from runtime.health.checks.readiness import unproven
from runtime.health.process.supervisor import CRASH_LOOP, RESTARTING, STARTING, STOPPED, Snapshot
from tests.unit.health.conftest import model_health, percentiles, snapshot

MACHINE = SystemHealth()


def settled(config: RuntimeConfig, process: Snapshot, system: SystemHealth = MACHINE) -> Assessment:
    """The verdict once everything has been so for long enough."""
    judge = Judge(config)
    judge.judge(process, system, 0.0)
    return judge.judge(process, system, HOLD_S)


def message(verdict: Assessment, name: str) -> tuple[str, str]:
    [check] = [check for check in verdict.checks if check.name == name]
    return check.level, check.message


def test_all_is_well(config: RuntimeConfig) -> None:
    verdict = settled(config, snapshot(model_health()))
    assert (verdict.state, verdict.ready) == (OK, True)
    assert {check.level for check in verdict.checks} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"state": CRASH_LOOP, "live": False, "pid": None, "restarts": 5, "last_exit": "signal SIGSEGV"}, "executor",
         "crash loop after 5 restarts, not started again; last end: signal SIGSEGV"),
        ({"state": RESTARTING, "live": False, "pid": None, "restarts": 1}, "executor", "restarting, 1 restarts so far"),
        ({"state": STOPPED, "live": False, "pid": None}, "executor", "stopped"),
        ({"live": False}, "executor", "process 42 does not answer"),
        ({"lifecycle": "inactive"}, "lifecycle", "inactive, should be active"),
        ({"state": STARTING, "lifecycle": "unconfigured"}, "lifecycle", "unconfigured, should be active"),
        ({"state": STARTING, "lifecycle": "unconfigured", "phase": "starting", "run_age_s": 121.0}, "lifecycle",
         "unconfigured, should be active"),
    ],
)  # fmt: skip
def test_what_makes_a_process_unhealthy(config: RuntimeConfig, changes: dict[str, Any], name: str, text: str) -> None:
    verdict = settled(config, snapshot(model_health(), **changes))
    assert message(verdict, name) == ("error", text)
    assert verdict.state == UNHEALTHY


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": "failed", "self_test": SelfTest(False, 0.2, 0.97, "cosine 0.2000 < 0.9700"),
          "last_error": "self-test failed"}, "self-test failed: cosine 0.2000 < 0.9700"),
        ({"state": "failed", "last_error": "engine.onnx has sha256 aa"}, "engine.onnx has sha256 aa"),
        ({"engine_key": "sha256:other"}, "runs engine sha256:other, configured is sha256:k"),
    ],
)  # fmt: skip
def test_what_makes_a_model_unhealthy(config: RuntimeConfig, changes: dict[str, Any], text: str) -> None:
    verdict = settled(config, snapshot(model_health(**changes)))
    assert message(verdict, "model:signs") == ("error", text)
    assert (verdict.state, verdict.ready) == (UNHEALTHY, False)


@pytest.mark.parametrize(
    ("changes", "name", "level", "text"),
    [
        ({"input_rate_hz": 0.0, "output_rate_hz": 0.0}, "model:signs:input", "stale",
         "nothing arrives on /camera: is its publisher running?"),
        ({"input_rate_hz": 1.5, "output_rate_hz": 1.5}, "model:signs:input", "warn",
         "1.5 Hz on /camera, at least 2 Hz expected"),
        ({"output_rate_hz": 0.0, "last_error": "encoding 'bgr8', expected 'rgb8'"}, "model:signs:input", "warn",
         "5.0 Hz on /camera, but no result: encoding 'bgr8', expected 'rgb8'"),
        ({"held": "/cmd_vel is also commanded by /teleop"}, "model:signs:command", "warn",
         "commands nothing: /cmd_vel is also commanded by /teleop"),
        ({"inference_ms": percentiles(50.1)}, "model:signs:latency", "warn", "p99 50.1 ms, limit 50 ms"),
        ({"frame_age_ms": percentiles(150.0)}, "model:signs:age", "warn", "p99 150.0 ms, limit 100 ms"),
    ],
)  # fmt: skip
def test_what_degrades_a_model_leaves_it_ready(
    config: RuntimeConfig, changes: dict[str, Any], name: str, level: str, text: str
) -> None:
    verdict = settled(config, snapshot(model_health(**changes)))
    assert message(verdict, name) == (level, text)
    assert (verdict.state, verdict.ready) == (DEGRADED, True)


@pytest.mark.parametrize(
    ("system", "name", "text"),
    [
        (SystemHealth(temperatures_c={"cpu": 50.0, "tj": 93.2}), "temperature", "tj 93 °C"),
        (SystemHealth(memory_total_bytes=8 << 30, memory_available_bytes=200 << 20), "memory",
         "200 of 8192 MiB available"),
        (SystemHealth(disk_free_bytes=100 << 20), "disk", "100 MiB free"),
    ],
)  # fmt: skip
def test_what_degrades_a_machine(config: RuntimeConfig, system: SystemHealth, name: str, text: str) -> None:
    verdict = settled(config, snapshot(model_health()), system)
    assert message(verdict, name) == ("warn", text)
    assert verdict.state == DEGRADED


def test_starting_is_degraded_not_unhealthy(config: RuntimeConfig) -> None:
    starting = snapshot(None, state=STARTING, lifecycle="unconfigured", phase="starting", run_age_s=12.0)
    verdict = settled(config, starting)
    assert (verdict.state, verdict.ready) == (DEGRADED, False)
    assert message(verdict, "lifecycle") == ("warn", "unconfigured, starting for 12 of 120 s")


def test_a_model_the_executor_does_not_know_is_an_error(config: RuntimeConfig) -> None:
    assert message(settled(config, snapshot(None)), "model:signs") == ("error", "not reported by the executor")


def test_a_dip_shorter_than_the_hold_changes_nothing(config: RuntimeConfig) -> None:
    judge, fine, silent = Judge(config), snapshot(model_health()), snapshot(model_health(input_rate_hz=0.0))
    for now, process in ((0.0, fine), (1.0, silent), (1.0 + HOLD_S / 2, silent), (3.0, fine), (4.0, silent)):
        assert judge.judge(process, MACHINE, now).state == OK
    assert judge.judge(silent, MACHINE, 4.0 + HOLD_S).state == DEGRADED
    assert judge.judge(fine, MACHINE, 8.0).state == DEGRADED
    assert judge.judge(fine, MACHINE, 8.0 + HOLD_S).state == OK


def test_hysteresis_forgets_a_model_that_stopped() -> None:
    hysteresis = Hysteresis(1.0)
    hysteresis.settle("model:a:input", True, 0.0)
    assert hysteresis.settle("model:a:input", True, 1.0)
    hysteresis.forget("model:a:")
    assert not hysteresis.settle("model:a:input", True, 2.0)


def test_notes_inform_without_degrading(config: RuntimeConfig) -> None:
    process = snapshot(model_health())
    assert process.status is not None
    noted = replace(process, status=replace(process.status, notes=("no vision_msgs",)))
    verdict = settled(config, noted)
    assert message(verdict, "note") == ("ok", "no vision_msgs")
    assert verdict.state == OK


def test_ready_needs_a_passed_self_test(config: RuntimeConfig) -> None:
    assert not unproven(config, snapshot(model_health()))
    assert unproven(config, snapshot(model_health(self_test=None)))
    assert unproven(config, snapshot(model_health(state="inactive")))
    assert unproven(config, snapshot(model_health(), live=False))
    assert unproven(config, snapshot(model_health(), lifecycle="inactive"))


STILL = CommandHealth("/cmd_vel", "stopped", "the frame is 1e+09 s old, its deadline is 0.4 s", 0, 40)
BOOT = "/camera: stamps are 1000000000.000 s behind the robot's clock"


def test_a_robot_that_stands_still_says_why(config: RuntimeConfig) -> None:
    verdict = settled(config, snapshot(model_health(commands=(STILL,), clock=(BOOT,))))
    said = f"does not drive: /cmd_vel: stopped: {STILL.reason}; {BOOT}"
    assert message(verdict, "model:signs:command") == ("warn", said)
    assert message(verdict, "model:signs:clock") == ("warn", BOOT)
    assert (verdict.state, verdict.ready) == (DEGRADED, True)
    assert verdict.waiting_for == (f"model:signs:command: {said}",)


def test_one_that_drives_says_so_and_a_moment_of_zero_is_none(config: RuntimeConfig) -> None:
    driving = model_health(commands=(replace(STILL, state="drive", reason=""),))
    assert message(settled(config, snapshot(driving)), "model:signs:command") == ("ok", "drives /cmd_vel")
    judge = Judge(config)
    for now in range(20):
        process = snapshot(driving if now % 2 else model_health(commands=(STILL,)))
        assert judge.judge(process, MACHINE, float(now)).state == OK


def test_who_else_commands_comes_before_what_is_stopped(config: RuntimeConfig) -> None:
    verdict = settled(config, snapshot(model_health(commands=(STILL,), held="/cmd_vel is also commanded by /teleop")))
    said = "commands nothing: /cmd_vel is also commanded by /teleop"
    assert message(verdict, "model:signs:command") == ("warn", said)


def test_who_listens_in_vain_is_named(config: RuntimeConfig) -> None:
    said = "/base subscribes to /cmd_vel as geometry_msgs/msg/Twist and receives nothing"
    verdict = settled(config, snapshot(model_health(unheard=(said,))))
    assert message(verdict, "model:signs:listeners") == ("warn", said)
    assert (verdict.state, verdict.ready) == (DEGRADED, True)


def test_a_state_that_is_reset_at_most_frames_is_named(config: RuntimeConfig) -> None:
    often = {"state_resets": {"gap": 12}, "last_state_reset": "gap: h_in: 1.200 s without a frame"}
    verdict = settled(config, snapshot(model_health(frames=20, **often)))
    said = "its state was reset 12 times in 20 frames, the last time by gap: h_in: 1.200 s without a frame"
    assert (verdict.state, said in [check.message for check in verdict.checks]) == ("degraded", True)
    assert settled(config, snapshot(model_health(frames=2000, **often))).state == "ok"


def test_publishers_that_are_mixed_are_named(config: RuntimeConfig) -> None:
    said = "/camera: messages of 2 publishers are mixed: /left, /right"
    verdict = settled(config, snapshot(model_health(mixed=(said,))))
    assert message(verdict, "model:signs:publishers") == ("warn", said)
    assert verdict.state == DEGRADED
