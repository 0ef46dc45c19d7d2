"""`fleet-updater verify`: what really runs, and what the agent found."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.contract.codec import from_dict, from_json, to_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.verification import Verification
from runtime.updater.daemon.serve import answer
from runtime.updater.power.mode_keeper import PowerKeeper, Rules
from runtime.updater.power.nvpmodel import Nvpmodel
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import Rejected, verification_lines
from tests.fakes.robots.robot_world import order, reference
from tests.unit.updater.robot import Robot

HOST = reference("1").partition("/")[0]


def test_verify_brings_what_runs_and_what_the_agent_found(robot: Robot) -> None:
    nothing = robot.updater.verify(5.0)
    assert (nothing.verification_json, nothing.verification_error) == ("", "no runtime container exists")
    assert verification_lines(nothing) == ["runs      nothing", "agent     no runtime container exists"]
    robot.run(order("1"))
    found = robot.updater.verify(5.0)
    assert from_json(Verification, found.verification_json).passed
    assert found.running_image == reference("1")
    assert found.verification_error == ""
    assert verification_lines(found)[1:] == [
        f"ok     registry  {HOST}: gives this image to the robot's login",
        "ok     inference sign_text: 12 frames in 5.0 s",
    ]


def test_a_registry_that_refuses_the_login_or_cannot_be_asked_is_said(robot: Robot) -> None:
    robot.run(order("1"))
    robot.world.registry_problem = "the registry answers 401: unauthorized"
    found = robot.updater.verify(5.0)
    assert (found.registry, found.registry_problem) == (HOST, robot.world.registry_problem)
    assert verification_lines(found)[1].startswith(f"FAILED registry  {HOST}: the registry answers 401")
    robot.world.fail("ask_registry", WorldError("the registry could not be asked: exit code 1"))
    assert robot.updater.verify(5.0).registry_problem == "the registry could not be asked: exit code 1"


def test_an_agent_that_does_not_answer_is_said(robot: Robot) -> None:
    robot.run(order("1"))
    robot.world.fail("verify", WorldError("the agent is too old to verify", "publish again"))
    found = robot.updater.verify(5.0)
    assert found.verification_json == ""
    assert found.verification_error == "the agent is too old to verify -> publish again"


def test_a_container_replaced_meanwhile_proves_nothing(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.run(order("1"))
    verify = robot.world.verify

    def meanwhile(port: int, seconds: float, slot: str) -> str:
        found = verify(port, seconds, slot)
        assert robot.world.runs is not None
        robot.world.runs.id = "another"
        return found

    monkeypatch.setattr(robot.world, "verify", meanwhile)
    found = robot.updater.verify(5.0)
    assert found.verification_json == ""
    assert found.verification_error == "the container was replaced or restarted meanwhile"


@pytest.mark.parametrize("seconds", [0.0, 61.0, float("nan")])
def test_a_time_that_makes_no_sense_is_refused(robot: Robot, seconds: float) -> None:
    with pytest.raises(Rejected, match="from 1 to 60"):
        robot.updater.verify(seconds)


@pytest.mark.parametrize("seconds", ["5", True, None])
def test_the_socket_wants_a_number(robot: Robot, seconds: object, tmp_path: Path) -> None:
    keeper = PowerKeeper(Nvpmodel(tmp_path), Rules, print)
    with pytest.raises(Rejected, match="must be a number"):
        answer(robot.updater, keeper, {"verb": "verify", "seconds": seconds})


def test_an_attestation_of_an_older_updater_still_loads(robot: Robot) -> None:
    robot.run(order("1"))
    older = {"state": to_dict(robot.updater.attest())["state"]}
    assert from_dict(Attestation, older).verification_json == ""
