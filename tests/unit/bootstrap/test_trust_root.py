"""Bootstrap and the trust root: who judges it, in which order it comes, and when root's rights are not needed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.bootstrap import remote_install
from fleet.bootstrap.prepare_robot import SignedTrust
from fleet.errors import RobotError
from fleet.ports import CommandResult
from runtime.contract.codec import canonical_json
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import Signed
from tests.fakes.robots.robot_shell import updater_program
from tests.unit.bootstrap.test_prepare_robot import ZIPAPP, Machine, parameters

FIRST, SECOND = (Signed(TrustRoot("warehouse", number, "anna").text, ("by anna",)) for number in (1, 2))
STATEMENT = Signed("the updater's", ("by anna",))
TRUST = SignedTrust((FIRST, SECOND), STATEMENT)


def test_a_new_robot_believes_the_first_root_that_it_is_brought_and_says_so() -> None:
    machine = Machine()
    report = machine.bootstrap(trust=TRUST)
    assert report.notes == ("it took the first trust root that it was brought",)
    assert (machine.updater.state.root_version, machine.updater.state.has_root) == (2, True)
    # The statement of the updater that was just installed sets the floor; its bytes are there already.
    (brought,) = machine.updater.brought
    assert (brought["zipapp"], brought["signed"]["statement"]) == ("", "the updater's")


def judging(machine: Machine, version: str = "0.9+old") -> None:
    """Make the machine a robot that holds root 1 and judges what it is brought."""
    machine.probe["updater"] = version
    machine.updater.state = replace(machine.updater.state, updater_version=version, root_version=1, has_root=True)

    def updater(args: Sequence[str], stdin: str) -> CommandResult:
        if args[0] == "take-updater" and json.loads(stdin)["zipapp"]:
            machine.updater.state = replace(machine.updater.state, updater_version="1.0+new")
        return machine._updater(args, stdin)

    updater_program(machine.host, updater)


def test_a_robot_that_has_a_root_is_brought_both_without_root_s_rights() -> None:
    machine = Machine(root="", groups="jetson")
    judging(machine)
    report = machine.bootstrap(trust=TRUST)
    assert machine.installed == [], "nothing was done as root"
    assert report.changed
    assert machine.updater.verbs.index("take-root") < machine.updater.verbs.index("take-updater")
    (brought,) = machine.updater.brought
    assert base64.b64decode(brought["zipapp"]) == ZIPAPP
    assert brought["signed"]["signatures"] == ["by anna"]
    assert [version for version, _ in machine.kept] == ["1.0+new"], "it was on trial"


def test_a_robot_that_is_up_to_date_is_not_sent_an_updater() -> None:
    machine = Machine(root="", groups="jetson")
    judging(machine, "1.0+new")
    assert machine.bootstrap(trust=SignedTrust((FIRST,), STATEMENT)).changed is False
    assert machine.updater.brought == []


def test_a_root_that_the_robot_refuses_stops_there() -> None:
    machine = Machine()
    judging(machine)
    machine.updater.refuses_root = "root 1 is older than root 2, which this robot has"
    with pytest.raises(RobotError, match="root 1 is older than root 2") as caught:
        machine.bootstrap(trust=TRUST)
    assert caught.value.hint == "let them sign"
    assert (machine.installed, machine.updater.brought) == ([], [])


@pytest.mark.parametrize("held", ["signed", "damaged"])
def test_root_s_hands_do_not_replace_the_updater_of_a_signed_robot(tmp_path: Path, held: str) -> None:
    """Its daemon may be dead: the updater that is in use judges in its place, and what it refuses is not installed."""
    given = parameters(tmp_path)
    program = Path(remote_install.__file__)

    def install() -> subprocess.CompletedProcess[str]:
        text = program.read_text().replace(str(remote_install.SYSTEMD), str(tmp_path / "no-systemd"))
        return subprocess.run(
            [sys.executable, "-I", "-", json.dumps(given)], input=text, capture_output=True, text=True, check=False
        )

    assert install().returncode == 0
    root = tmp_path / "robot/trust-root/root.json"
    root.parent.mkdir()
    root.write_bytes(canonical_json(FIRST) if held == "signed" else b"{")
    judge = "import sys; sys.stderr.write('fleet-updater: the updater carries no signature -> sign it\\n'); sys.exit(4)"
    (tmp_path / "robot/updater/fleet-updater.pyz").write_text(judge)
    before = {path: path.read_bytes() for path in (tmp_path / "robot/updater").rglob("*") if path.is_file()}
    given = {**parameters(tmp_path, b"another"), "signed": ""}
    refused = install()
    assert refused.returncode == 3
    assert "has a signed trust root, and its updater says: fleet-updater: the updater carries no sig" in refused.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "robot/updater").rglob("*") if path.is_file()} == before
