"""Documents of robots that pull: the plan, the statement, the report and its envelope."""

from __future__ import annotations

import base64
import zlib

import pytest

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.node import report
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import PullState, Report
from runtime.contract.robot.desired import PLAN_LIMITS, RUNNING, Desired, RolloutPlan, Stage, stage_of
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import DESIRED, NAMESPACES, NEWEST, PLAN, RELEASE
from runtime.contract.robot.update import UpdateState

STATE = UpdateState("amr-001", "idle", "1.0.0")


def _plan(*stages: tuple[str, ...]) -> RolloutPlan:
    return RolloutPlan("shop", "r-1", "1.1.0", "sha256:aa", tuple(Stage(each) for each in stages), 1.0, 2.0)


def test_a_robot_finds_itself_in_the_plan_and_a_new_one_belongs_to_the_last_stage() -> None:
    plan = _plan(("a",), ("b", "c"), ("d",))
    assert [stage_of(plan, name) for name in ("a", "c", "d", "new")] == [1, 2, 3, 3]
    statement = Desired("shop", 7, "r-1", "sha256:pp", 2, RUNNING, 1.0, 2.0)
    assert [statement.reaches(plan, name) for name in ("a", "c", "d", "new")] == [True, True, False, False]


def test_a_plan_of_ten_thousand_robots_is_read_back() -> None:
    plan = _plan(tuple(f"robot-{number:05}" for number in range(10_000)))
    assert from_json(RolloutPlan, canonical_json(plan), PLAN_LIMITS) == plan


def test_the_role_advance_signs_statements_and_never_plans() -> None:
    root = TrustRoot("shop", 1, signers="signers", advance="advance")
    assert root.allowed(NAMESPACES[DESIRED]) == root.allowed(NAMESPACES[NEWEST]) == "advance"
    assert root.allowed(NAMESPACES[PLAN]) == root.allowed(NAMESPACES[RELEASE]) == "signers"


def test_a_report_comes_back_from_its_envelope() -> None:
    said = Report("shop", "amr-001", 3, 10.0, Attestation(STATE), PullState(7, "r-1", 2, "held: outside of the window"))
    assert report.unpack(report.pack(said)) == said


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("!", "not a packed report"),
        (base64.b64encode(b"no zlib").decode(), "not a packed report"),
        (base64.b64encode(zlib.compress(b"{}")[:-3]).decode(), "cut off"),
        (base64.b64encode(zlib.compress(b" " * (report.MAX_REPORT + 1))).decode(), "more than"),
        (base64.b64encode(zlib.compress(b"{}")).decode(), "Report.fleet: missing"),
    ],
)
def test_a_body_that_is_no_report_is_refused_before_it_fills_the_memory(body: str, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        report.unpack(body)


def test_a_report_that_no_hub_takes_is_not_packed() -> None:
    large = Report("shop", "amr-001", 1, 1.0, Attestation(STATE, report_json="x" * report.MAX_REPORT))
    with pytest.raises(ContractError, match="more than a hub takes"):
        report.pack(large)
