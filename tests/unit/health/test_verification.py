"""What a verification says: reports of two moments and evidence from outside in, findings out."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import from_json
from runtime.contract.node.health import CommandHealth, ExecutorHealth, HealthReport, ModelHealth
from runtime.contract.node.runtime_config import FallbackEngine, OutputBinding, RuntimeConfig
from runtime.contract.robot.verification import CHECKS, Finding, Verification
from runtime.executor.checks.evidence import engine_evidence
from runtime.health.checks.evidence import EngineEvidence, Evidence, TopicEvidence, fallback_of
from runtime.health.checks.verification import Verifier, findings, gather_with
from runtime.health.process.children import Children
from tests.fakes.nodes.runtime_folder import KEY as REAL_KEY
from tests.fakes.nodes.runtime_folder import write_runtime
from tests.unit.health.conftest import KEY, model_health

GOOD = Evidence({"signs": EngineEvidence(KEY, "ff", 12_300_000)}, {"~/out": TopicEvidence(1, 25)}, 5.0)


def report(model: ModelHealth, uptime_s: float, **executor: Any) -> HealthReport:
    process = replace(ExecutorHealth("running", "active", 0), **executor)
    return HealthReport(
        time=1.0 + uptime_s, robot="amr-001", release="", image="r@sha256:aa", state="ok", live=True, ready=True,
        uptime_s=uptime_s, executor=process, models=(model,), checks=(),
    )  # fmt: skip


def found(
    config: RuntimeConfig, evidence: Evidence = GOOD, executor: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Finding]:
    after = {"frames": 125, **changes}
    live = {"live": after.pop("live", True)}
    late = replace(report(model_health(**after), 65.2, **(executor or {})), **live)
    every = list(findings(config, report(model_health(frames=100), 60.0), late, evidence))
    assert [finding.check for finding in every] == list(CHECKS)
    return {finding.check: finding for finding in every}


def test_a_robot_that_works(config: RuntimeConfig) -> None:
    every = found(config)
    assert all(finding.passed for finding in every.values())
    assert {check: finding.reason for check, finding in every.items()} == {
        "engine": "12.3 MB read again, sha256 ff…, as built",
        "model": "active at fp16, self-test cosine 0.9999",
        "sensors": "5.0 Hz on /camera, at least 2 Hz expected",
        "inference": "25 frames in 5.2 s, inference p99 20.0 ms",
        "outputs": "heard in 5 s: 25 on ~/out",
    }


@pytest.mark.parametrize(
    ("check", "changes", "reason"),
    [
        ("engine", {"engine_sha256": "abcdef"}, "the file has sha256 ff…, loaded was abcdef…"),
        ("model", {"state": "failed", "last_error": "torn"}, "failed: torn"),
        ("model", {"engine_key": "sha256:other"}, "runs engine sha256:other, configured is sha256:k"),
        ("model", {"self_test": None}, "has not run its self-test"),
        ("model", {"live": False}, "the executor is running: it does not answer"),
        ("model", {"serving": "fallback", "serving_reason": "self-test failed"},
         "another engine serves (fallback): self-test failed"),
        ("sensors", {"input_rate_hz": 0.0}, "nothing arrives on /camera: is its publisher running?"),
        ("sensors", {"input_rate_hz": 1.5}, "1.5 Hz on /camera, at least 2 Hz expected"),
        ("inference", {"frames": 100}, "no frame came through in 5.2 s: no valid input came"),
        ("inference", {"frames": 100, "errors": 3, "last_error": "NaN"}, "no frame came through in 5.2 s: NaN"),
        ("outputs", {"held": "/cmd_vel is also commanded by /teleop"},
         "commands nothing: /cmd_vel is also commanded by /teleop"),
        ("inference", {"executor": {"restarts": 1, "last_exit": "signal SIGKILL"}},
         "the executor was restarted meanwhile: signal SIGKILL"),
    ],
)  # fmt: skip
def test_what_fails_says_why_and_nothing_else_does(
    config: RuntimeConfig, check: str, changes: dict[str, Any], reason: str
) -> None:
    every = found(config, **changes)
    assert (every[check].passed, every[check].reason) == (False, reason)
    assert [finding.check for finding in every.values() if not finding.passed] == [check]


@pytest.mark.parametrize(
    ("check", "evidence", "reason"),
    [
        ("engine", replace(GOOD, engines={"signs": EngineEvidence(error="/e/engine.plan is missing")}),
         "/e/engine.plan is missing"),
        ("engine", replace(GOOD, engines={"signs": EngineEvidence("sha256:other", "ff", 1)}),
         "the files are engine sha256:other, configured is sha256:k"),
        ("engine", replace(GOOD, engines={}), "its files were not read"),
        ("outputs", replace(GOOD, topics={}), "nothing heard in 5 s on ~/out (it has no publisher)"),
        ("outputs", replace(GOOD, topics={"~/out": TopicEvidence(1, 0)}),
         "nothing heard in 5 s on ~/out (its publisher is silent)"),
        ("outputs", replace(GOOD, error="rclpy cannot be imported: No module named 'rclpy'"),
         "cannot listen: rclpy cannot be imported: No module named 'rclpy'"),
    ],
)  # fmt: skip
def test_what_is_found_outside_counts(config: RuntimeConfig, check: str, evidence: Evidence, reason: str) -> None:
    every = found(config, evidence)
    assert (every[check].passed, every[check].reason) == (False, reason)
    assert [finding.check for finding in every.values() if not finding.passed] == [check]


def test_every_output_has_to_be_heard(config: RuntimeConfig) -> None:
    model = config.models[0]
    two = replace(config, models=(replace(model, outputs=(*model.outputs, OutputBinding("z", "/mask", "mask"))),))
    finding = found(two)["outputs"]
    assert (finding.passed, finding.reason) == (False, "nothing heard in 5 s on /mask (it has no publisher)")


def test_a_fallback_has_to_be_whole_before_it_is_needed(config: RuntimeConfig) -> None:
    model = config.models[0]
    there = FallbackEngine("signs", "int8", "sha256:small", model.inputs, model.outputs)
    declared = replace(config, models=(replace(model, fallback=there),))
    whole = replace(
        GOOD, engines={**GOOD.engines, fallback_of("signs"): EngineEvidence("sha256:small", "ee", 1_000_000)}
    )
    for evidence, passed in ((whole, True), (GOOD, False)):
        every = list(findings(declared, report(model_health(frames=1), 1.0), report(model_health(), 6.0), evidence))
        [finding] = [each for each in every if "its fallback signs int8: " in each.reason]
        assert (finding.check, finding.passed) == ("engine", passed)


def test_engine_files_are_really_read(tmp_path: Path) -> None:
    config = write_runtime(tmp_path)
    well = engine_evidence(config, tmp_path / "engines")["signs"]
    assert (well.key, well.error) == (REAL_KEY, "")
    engine = tmp_path / "engines/signs/engine.onnx"
    content = bytearray(engine.read_bytes())
    content[-1] ^= 1  # one bit, same size
    engine.write_bytes(bytes(content))
    assert "has sha256" in engine_evidence(config, tmp_path / "engines")["signs"].error


# ── /verify ──


def test_the_page_verifies_for_as_long_as_asked(config: RuntimeConfig) -> None:
    asked: list[float] = []

    def gather(seconds: float) -> Evidence:
        asked.append(seconds)
        return GOOD

    uptimes = iter([60.0, 65.0])

    def newest() -> HealthReport:
        uptime = next(uptimes)
        return report(model_health(frames=int(uptime)), uptime)

    status, _, body = Verifier(config, newest, gather).page("seconds=7")
    verification = from_json(Verification, body)
    assert (status, asked, verification.passed, verification.seconds) == (HTTPStatus.OK, [7.0], True, 7.0)
    assert [finding.check for finding in verification.findings] == list(CHECKS)


@pytest.mark.parametrize("query", ["seconds=0", "seconds=61", "seconds=long", "seconds=nan", "seconds=-1"])
def test_a_time_that_makes_no_sense_is_refused(config: RuntimeConfig, query: str) -> None:
    status, _, body = Verifier(config, lambda: report(model_health(), 1.0), lambda _: GOOD).page(query)
    assert status == HTTPStatus.BAD_REQUEST
    assert "seconds from 1 to 60" in json.loads(body)["error"]


def test_one_verification_at_a_time(config: RuntimeConfig) -> None:
    entered, leave = threading.Event(), threading.Event()

    def gather(seconds: float) -> Evidence:
        entered.set()
        leave.wait(60.0)
        return GOOD

    verifier = Verifier(config, lambda: report(model_health(), 1.0), gather)
    first = threading.Thread(target=verifier.page, args=("",))
    first.start()
    assert entered.wait(60.0)
    status, _, body = verifier.page("")
    leave.set()
    first.join(60.0)
    assert status == HTTPStatus.CONFLICT
    assert "another verification is going on" in json.loads(body)["error"]
    assert verifier.page("")[0] == HTTPStatus.OK


def test_no_models_are_no_proof() -> None:
    verifier = Verifier(RuntimeConfig(()), lambda: report(model_health(), 1.0), lambda _: Evidence())
    assert not verifier.verify(1.0).passed


def test_a_process_that_says_nothing_is_evidence_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("runtime.health.checks.verification.COMMAND", ("-S", "-c", "print('{')"))
    evidence = gather_with(Children(), lines.append)(1.0)
    assert evidence.error.startswith("the process that checks from outside failed: Evidence: not JSON")
    assert lines


def test_a_process_that_hangs_is_killed_and_reaped() -> None:
    children = Children()
    children.reap_orphans(None)  # what other tests left in this process
    with pytest.raises(TimeoutError, match=r"not done after 0\.2 s"):
        children.run([sys.executable, "-S", "-c", "import time; time.sleep(600)"], 0.2, {})
    assert children.reap_orphans(None) == 0


def test_a_robot_that_does_not_drive_is_not_verified(config: RuntimeConfig) -> None:
    still = CommandHealth("/cmd_vel", "stopped", "no result yet", driven=7, sent=40)
    before = report(model_health(frames=100, commands=(still,)), 60.0)
    for after, passed, reason in (
        (still, False, "does not drive: /cmd_vel sent no command of the model (stopped: no result yet)"),
        (replace(still, driven=8, state="drive", reason=""), True, "heard in 5 s: 25 on ~/out"),
        (replace(still, driven=8), True, "heard in 5 s: 25 on ~/out"),
    ):
        late = report(model_health(frames=125, commands=(after,)), 65.2)
        [outputs] = [each for each in findings(config, before, late, GOOD) if each.check == "outputs"]
        assert (outputs.passed, outputs.reason) == (passed, reason)


def test_stamps_of_another_clock_are_not_verified(config: RuntimeConfig) -> None:
    said = "/camera: stamps are 3600.000 s ahead of the robot's clock"
    sensors = found(config, clock=(said,))["sensors"]
    assert (sensors.passed, sensors.reason) == (False, said)


def test_listeners_that_never_hear_an_output_are_not_verified(config: RuntimeConfig) -> None:
    outputs = found(config, unheard=("/base never hears it",))["outputs"]
    assert (outputs.passed, outputs.reason) == (False, "/base never hears it")
