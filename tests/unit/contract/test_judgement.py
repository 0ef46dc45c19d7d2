"""What all judges of a health report share: images, engines, self-tests, checks; and the report, read once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.contract.codec import canonical_json, from_json, to_dict
from runtime.contract.judgement import (
    BAD_CHECK,
    EngineMismatch,
    complaints,
    engine_mismatches,
    is_of_image,
    same_image,
    self_test_failed,
    self_test_passed,
    severity,
)
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import Check, ExecutorHealth, HealthReport, ModelHealth, SelfTest
from runtime.contract.node.health_answer import read_health
from runtime.contract.robot.update import UpdateState

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MODEL = ModelHealth("signs", "int8", A, "", "active")
RUNNING = ExecutorHealth("running", "active", 0)
REPORT = HealthReport(1.0, "amr-001", "1.0.0", f"r@{A}", "ok", True, True, 5.0, RUNNING, (MODEL,), ())


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        (f"one@{A}", f"another:5000/name@{A}", True),
        (f"one@{A}", f"one@{B}", False),
        ("", f"one@{A}", False),
        ("", "", False),  # nothing is no image
        ("one@", "one@", False),
    ],
)
def test_images_are_compared_by_digest(found: str, wanted: str, same: bool) -> None:
    assert same_image(found, wanted) is same
    assert is_of_image(["else@sha256:" + "e" * 64, found], wanted) is same


def test_every_model_that_does_not_run_its_engine_is_named_once_for_each_way() -> None:
    wrong = replace(MODEL, engine_key=B)
    assert engine_mismatches([MODEL], {"signs": A}) == []
    assert engine_mismatches([], {"signs": A}) == [EngineMismatch("signs", None, A)]
    assert engine_mismatches([replace(MODEL, engine_key="")], {"signs": A}) == [EngineMismatch("signs", "", A)]
    assert engine_mismatches([wrong], {}) == [EngineMismatch("signs", B, None)]
    # A report that names a model twice cannot hide the wrong engine behind the right one.
    for models in ([wrong, MODEL], [MODEL, wrong]):
        assert engine_mismatches(models, {"signs": A}) == [EngineMismatch("signs", B, A)]


def test_a_self_test_that_was_not_run_is_neither_passed_nor_failed() -> None:
    assert not self_test_failed(MODEL)
    assert not self_test_passed(MODEL)
    failed = replace(MODEL, self_test=SelfTest(False, 0.1, 0.9, "cosine"))
    assert self_test_failed(failed)
    assert not self_test_passed(failed)


def test_a_level_that_a_later_agent_invents_counts_as_an_error() -> None:
    assert severity("melting") == severity("error") == BAD_CHECK
    assert complaints([Check("a", "ok", "fine"), Check("b", "melting", "hot")]) == ["b: hot"]


def test_a_report_is_read_within_limits_and_made_printable() -> None:
    health = read_health(canonical_json(replace(REPORT, robot="amr\x1b[2J")).decode())
    assert health.answered
    assert health.error == ""
    assert health.report is not None
    assert "\x1b" not in health.report.robot


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"time": NaN}', '{"schema": 99}'])
def test_an_answer_that_is_no_report_is_an_answer_and_says_why(text: str) -> None:
    health = read_health(text)
    assert health.report is None
    assert health.answered
    assert health.error.startswith("the health report cannot be read: HealthReport: ")


def test_an_attestation_carries_text_on_the_wire_and_a_report_in_the_process() -> None:
    sent = Attestation(UpdateState("amr-001", "idle", "1"), report_json=canonical_json(REPORT).decode())
    assert sent.health.report == REPORT
    assert sent.health is sent.health, "parsed once"
    wire = to_dict(sent)
    assert "health" not in wire
    assert from_json(Attestation, canonical_json(wire)) == sent
    silent = Attestation(sent.state, report_error="refused")
    assert (silent.health.report, silent.health.error, silent.health.answered) == (None, "refused", False)
