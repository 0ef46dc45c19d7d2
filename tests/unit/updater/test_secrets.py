"""Each robot's own part: its environment is signed by digest, its secrets are found on the robot alone."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json, digest_of
from runtime.contract.robot.release import EnvironmentPart, SecretReference
from runtime.contract.robot.trust import TrustSettings
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import WorldError
from tests.fakes.robots.robot_world import order
from tests.fakes.signed_orders import ANNA, document_of, prove
from tests.unit.updater.robot import Robot

TOKEN = SecretReference("file", "/etc/robot/token")
SECRET = "s3cr3t of 'nobody"


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    robot = Robot(tmp_path)
    robot.world.settings = TrustSettings("warehouse")
    robot.world.signers = {ANNA: ("anna@x",)}
    robot.world.secrets = {TOKEN.value: SECRET}
    return robot


def parted(given: UpdateOrder, **parts: str) -> UpdateOrder:
    """Prove an order by a release that holds digests of its robots' parts alone."""
    mine = digest_of(EnvironmentPart(given.environment, given.secrets))
    named = {given.robot: mine, "amr-002": "sha256:" + "2" * 64, **parts}
    document = replace(document_of(given), environment={}, parts={k: v for k, v in named.items() if v}, schema=2)
    return prove(given, document=document)


def with_secret(**changes: Any) -> UpdateOrder:
    return order("1", order_id="first", secrets={"TOKEN": TOKEN}, **changes)


def test_a_robot_takes_its_own_part_and_gets_no_other_s(robot: Robot) -> None:
    given = parted(with_secret())
    assert robot.run(given).outcome == "committed"
    assert given.proof is not None
    assert "ROS_DOMAIN_ID" not in given.proof.document
    env = next(robot.root.glob("releases/*/.env"))
    assert f'TOKEN="{SECRET}"' in env.read_text()
    assert "ROS_DOMAIN_ID='7'" in env.read_text()


def refused(robot: Robot, given: UpdateOrder, says: str) -> UpdateState:
    state = robot.run(given)
    assert (state.outcome, robot.world.pulls) == ("refused", [])
    assert says in state.reason
    assert state.hint
    return state


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"environment": {"ROS_DOMAIN_ID": "8"}}, "the order's environment is not the signed one: sha256:"),
        ({"environment": {}}, "the order's environment is not the signed one: sha256:"),
        ({"secrets": {}}, "the order's environment is not the signed one: sha256:"),
        ({"secrets": {"TOKEN": SecretReference("command", "cat /etc/shadow")}}, "is not the signed one: sha256:"),
    ],
)
def test_a_part_is_the_signed_one_word_for_word(robot: Robot, changes: dict[str, Any], says: str) -> None:
    refused(robot, replace(parted(with_secret()), **changes), says)


def test_a_robot_that_has_no_part_gets_nothing(robot: Robot) -> None:
    given = parted(order("1", order_id="with"), **{"amr-001": ""})
    refused(robot, given, "the order's environment is not the signed one: ROS_DOMAIN_ID '7' is ordered, None is signed")
    bare = parted(order("1", environment={}), **{"amr-001": ""})
    refused(
        robot, replace(bare, order_id="other", secrets={"TOKEN": TOKEN}), "the order's secrets is not the signed one"
    )
    assert robot.run(replace(bare, order_id="bare")).outcome == "committed"


def test_no_command_runs_for_an_order_that_nobody_signed(robot: Robot) -> None:
    """A command of an order is root's: it is looked at only once the order is believed."""
    robot.world.fail("secret", WorldError("the command ran"))
    given = replace(order("1"), secrets={"TOKEN": SecretReference("command", "touch /tmp/owned")})
    refused(robot, given, "carries no signature")
    forged = replace(parted(with_secret()), order_id="forged", secrets=given.secrets)
    refused(robot, forged, "is not the signed one")
    assert robot.world.faults["secret"], "nothing was asked for"


def test_a_release_of_an_older_version_brings_no_secrets(robot: Robot) -> None:
    given = prove(order("1"))
    refused(robot, replace(given, secrets={"TOKEN": TOKEN}), "the order's secrets is not the signed one")
    assert robot.run(replace(given, order_id="old")).outcome == "committed"


def test_the_secret_is_in_the_container_s_environment_and_nowhere_else(robot: Robot) -> None:
    assert robot.run(parted(with_secret())).outcome == "committed"
    holders = [path for path in robot.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert [path.name for path in holders] == [".env"]
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o640
    assert SECRET not in canonical_json(robot.updater.status()).decode()
    assert SECRET not in " ".join(robot.world.notes)


def test_a_secret_that_is_not_there_stops_the_order_before_anything_is_changed(robot: Robot) -> None:
    robot.world.secrets = {}
    refused(robot, parted(with_secret()), "the secret file /etc/robot/token cannot be read")


def test_a_secret_that_no_quoting_keeps_safe_is_named_and_not_shown(robot: Robot) -> None:
    robot.world.secrets = {TOKEN.value: "both ' and \" and $"}
    state = refused(robot, parted(with_secret()), "the value of TOKEN cannot be written to .env safely")
    assert "both" not in state.reason + state.hint


def test_a_secret_is_no_way_to_set_what_is_ours(robot: Robot) -> None:
    refused(robot, parted(order("1", secrets={"JETFLEET_IMAGE": TOKEN})), "JETFLEET_IMAGE is given twice")


# ── the real robot's side ──


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "etc/robot").mkdir(parents=True)
    return tmp_path


def test_a_file_a_command_and_what_is_wrong_with_them(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = RealWorld(machine, machine=machine)
    (machine / "etc/robot/token").write_text("first line\r\nsecond\n")
    assert world.secret(TOKEN) == "first line"
    assert world.secret(SecretReference("command", "printf 'a b\\nc'")) == "a b"
    (machine / "etc/robot/empty").write_text("\n")
    (machine / "etc/robot/binary").write_bytes(b"\xff\xfe\n")
    for reference, says in (
        (SecretReference("file", "/etc/robot/none"), "/etc/robot/none cannot be read: No such file"),
        (SecretReference("file", "/etc/robot/empty"), "is empty"),
        (SecretReference("file", "/etc/robot/binary"), "is not text"),
        (SecretReference("file", "/etc/robot"), "cannot be read"),
        (SecretReference("command", "sh -c 'echo hidden; echo hidden >&2; exit 3'"), "ended with exit code 3"),
        (SecretReference("command", "no-such-program"), "cannot be run"),
        (SecretReference("command", "'open"), "is no command line"),
        (SecretReference("vault", "x"), "found by 'vault', which this updater does not know"),
    ):
        with pytest.raises(WorldError) as caught:
            world.secret(reference)
        assert says in caught.value.message
        assert caught.value.hint
        assert "hidden" not in caught.value.message.replace(reference.value, "")
    monkeypatch.setenv("PATH", str(machine))
    with pytest.raises(WorldError, match="needs the program age") as caught:
        world.secret(SecretReference("age", "-----BEGIN AGE ENCRYPTED FILE-----"))
    assert "install age on the robot" in caught.value.hint


def test_age_is_asked_with_the_robot_s_host_key(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line alone; that the real program opens it is shown in tests/contract/updater/test_age.py."""
    tool = machine / "bin/age"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$*"\ncat > /dev/null\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    world = RealWorld(machine, machine=machine)
    key = machine / "etc/ssh/ssh_host_ed25519_key"
    assert world.secret(SecretReference("age", "text")) == f"--decrypt --identity {key}"
    tool.write_text("#!/bin/sh\ncat > /dev/null\necho plain >&2\nexit 1\n")
    with pytest.raises(WorldError, match="age does not open a secret") as caught:
        world.secret(SecretReference("age", "text"))
    assert "plain" not in caught.value.message
