"""Verdicts, one wrong thing at a time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.rollout.gate import Outcome, hopeless, judge, judge_wave
from runtime.contract.codec import canonical_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import Check, HealthReport, SelfTest
from tests.fakes.clock import FakeClock
from tests.fakes.robots.rollout_site import variant
from tests.fakes.robots.updater import FakeUpdater

VARIANT = variant("a")


def good() -> tuple[Attestation, HealthReport]:
    updater = FakeUpdater("r0", FakeClock(), running=VARIANT)
    return Attestation(updater.state, running_image=VARIANT.image), updater._report()


def attested(attestation: Attestation, report: HealthReport) -> Attestation:
    return replace(attestation, report_json=canonical_json(report).decode())


def test_the_right_thing_running_well_passes() -> None:
    verdict = judge(attested(*good()), VARIANT)
    assert verdict.passed
    assert verdict.reasons == ()


def test_degraded_passes_and_is_told() -> None:
    attestation, report = good()
    report = replace(report, state="degraded", checks=(Check("input_rate", "warn", "4.2 Hz, wanted 5 Hz"),))
    verdict = judge(attested(attestation, report), VARIANT)
    assert verdict.passed
    assert verdict.notes == ("input_rate: 4.2 Hz, wanted 5 Hz",)


def test_another_name_of_the_registry_is_the_same_image() -> None:
    attestation, report = good()
    name = VARIANT.image.replace("registry.test", "172.30.77.2:5000")
    assert judge(attested(replace(attestation, running_image=name), replace(report, image=name)), VARIANT).passed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"running_image": ""}, "no runtime container is running"),
        ({"running_image": "x@sha256:other"}, "the running image is x@sha256:other, the release says"),
    ],
)
def test_another_container_is_wrong(change: dict[str, str], reason: str) -> None:
    attestation, report = good()
    verdict = judge(replace(attested(attestation, report), **change), VARIANT)
    assert len(verdict.wrong) == 1
    assert verdict.wrong[0].startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the health agent does not answer: refused"),
        ("{", "the health report cannot be read: HealthReport: not JSON"),
        (json.dumps({"schema": 99}), "the health report cannot be read: HealthReport: schema 99 is newer"),
    ],
)
def test_no_report_no_pass(text: str, reason: str) -> None:
    verdict = judge(replace(good()[0], report_json=text, report_error="refused"), VARIANT)
    assert verdict.unhealthy[0].startswith(reason)


MODEL = good()[1].models[0]
FAILED_TEST = SelfTest(False, 0.42, 0.99, "boxes differ")


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (
            replace(MODEL, engine_key="sha256:x"),
            [f"model sign_text runs engine sha256:x, the release says {MODEL.engine_key}"],
        ),
        (replace(MODEL, self_test=None), ["model sign_text has not run its self-test"]),
        (
            replace(MODEL, self_test=FAILED_TEST),
            ["model sign_text failed its self-test (cosine 0.4200, required 0.9900): boxes differ"],
        ),
        (replace(MODEL, state="failed", last_error="no memory"), ["model sign_text is failed: no memory"]),
        (replace(MODEL, state="inactive"), ["model sign_text is inactive"]),
        (
            replace(MODEL, name="other"),
            ["model sign_text does not run", "model other runs, but the release does not have it"],
        ),
    ],
)
def test_a_model_that_is_not_right(model: object, reasons: list[str]) -> None:
    attestation, report = good()
    verdict = judge(attested(attestation, replace(report, models=(model,))), VARIANT)  # type: ignore[arg-type]
    assert list(verdict.reasons) == reasons


@pytest.mark.parametrize("state", ["unhealthy", "", "fine"])
def test_only_ok_and_degraded_are_well(state: str) -> None:
    attestation, report = good()
    report = replace(report, state=state, checks=(Check("heartbeat", "error", "12 s old"),))
    verdict = judge(attested(attestation, report), VARIANT)
    assert verdict.reasons == (f"health is {state} (heartbeat: 12 s old)",)


def test_a_report_of_another_image_is_wrong() -> None:
    attestation, report = good()
    verdict = judge(attested(attestation, replace(report, image="y@sha256:old")), VARIANT)
    assert verdict.wrong[0].startswith("the health report is of image y@sha256:old")


C, R, F, L = Outcome.COMMITTED, Outcome.REVERTED, Outcome.REFUSED, Outcome.LOST
OFF, S = Outcome.OFFLINE, Outcome.SKIPPED


@pytest.mark.parametrize(
    ("ended", "success", "passed"),
    [
        ([C], 1.0, True),
        ([C, R], 1.0, False),
        ([C, R], 0.5, True),
        ([C] * 19 + [R], 0.95, True),
        ([C] * 18 + [R] * 2, 0.95, False),
        ([C, OFF, OFF, OFF], 1.0, True),
        ([C, L], 1.0, True),
        ([L, L], 0.0, False),
        ([C, F], 1.0, False),
        ([OFF, OFF], 0.0, False),
        ([S, S], 0.0, False),
    ],
)
def test_waves(ended: list[Outcome], success: float, passed: bool) -> None:
    verdict = judge_wave(ended, success)
    assert verdict.passed is passed
    assert bool(verdict.reason) is not passed


@pytest.mark.parametrize("size", [1, 7, 20, 100])
@pytest.mark.parametrize("success", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_a_wave_is_hopeless_exactly_when_no_end_of_it_can_pass(size: int, success: float) -> None:
    for failed in range(size + 1):
        best = judge_wave([R] * failed + [C] * (size - failed), success)
        assert hopeless(failed, size, success) is (not best.passed)
