"""`fleet enroll`, and what `fleet bootstrap` does where a hub is named: bundles, host keys, who waits."""

from __future__ import annotations

import ast
import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.desired import office
from fleet.cli.wiring import Wiring
from fleet.signing.pins import fingerprint_of, read_pins
from runtime.contract.codec import from_dict
from runtime.contract.robot.pull_settings import PullSettings, check_settings
from tests.fakes.hub import FakeHub
from tests.fakes.pull_robots import PullRobot
from tests.unit.cli.conftest import Desk
from tests.unit.cli.test_trust import Signed

HUB = {"url": "https://hub.test:8443"}
PULLS = {
    "hub": HUB,
    "robots": [
        {"name": "amr-001", "group": "amr", "link": "pull"},
        {"name": "amr-002", "host": "10.0.0.12", "group": "amr"},
    ],
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub()
    monkeypatch.setattr(Wiring, "hub", found)
    return found


@pytest.fixture
def pulls(desk: Desk, monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> Signed:
    """A signed fleet with a root, one robot that pulls and one that SSH reaches."""
    signed = Signed(desk, monkeypatch)
    desk.set_version("1.0.0", trust=signed.trust, **PULLS)
    desk.fleet("keys", "root", "--sign", "--yes")
    return signed


def pins(pulls: Signed) -> dict[str, str]:
    return dict(read_pins(office(Wiring(pulls.desk.folder))).pins.robots)


def arrives(hub: FakeHub, name: str, seed: str = "") -> PullRobot:
    robot = PullRobot(name, "testing")
    if seed:
        robot.key = type(robot.key)(seed)
    hub.post(robot.report())
    return robot


def content_of(bundle: Path) -> dict[str, Any]:
    for node in ast.parse(bundle.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "CONTENT":
            assert isinstance(node.value, ast.Constant)
            found: dict[str, Any] = json.loads(base64.b64decode(str(node.value.value)))
            return found
    raise AssertionError("no content")


def test_a_bundle_holds_all_that_a_machine_needs_and_is_its_owners_alone(pulls: Signed, tmp_path: Path) -> None:
    path = tmp_path / "usb" / "amr-001.py"
    path.parent.mkdir()
    answer = pulls.desk.json("enroll", "amr-001", "-o", str(path))
    assert answer == {"robot": "amr-001", "bundle": str(path), "secret": False}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = content_of(path)
    settings = check_settings(from_dict(PullSettings, content["pull"]))
    assert (settings.robot, settings.hub, settings.link) == ("amr-001", "https://hub.test:8443", "pull")
    assert settings.registry.startswith("http")
    assert json.loads(content["trust"])["statement"] == content["roots"][-1]["statement"]
    assert json.loads(content["updater"])["signatures"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("enroll", "amr-009"), "no robot is called amr-009"),
        (("enroll", "amr-002"), "amr-002 is reached by SSH"),
        (("enroll", "accept"), "which robot?"),
        (("enroll", "accept", "amr-009"), "no robot is called amr-009"),
        (("enroll", "accept", "amr-001"), "the hub has seen no amr-001 that waits"),
        (("enroll", "accept", "amr-001", "--key", "ssh-rsa AAAA"), "is not a public key"),
        (("enroll", "amr-001", "amr-002"), "fleet enroll knows no amr-001"),
        (("enroll", "retire", "amr-001"), "amr-001 is not pinned"),
        (("enroll", "amr-001", "-o", "/proc/none/x"), "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(pulls: Signed, words: tuple[str, ...], says: str) -> None:
    assert says in pulls.error(*words, code=2)


def test_first_contact_waits_and_is_accepted_by_its_fingerprint(pulls: Signed, hub: FakeHub) -> None:
    robot = arrives(hub, "amr-001")
    mark = robot.key.host_key.fingerprint
    listed = pulls.desk.json("enroll", "list")
    assert [(each["robot"], each["fingerprint"]) for each in listed["waiting"]] == [("amr-001", mark)]
    assert "waiting" in pulls.desk.fleet("enroll", "list").out
    other = "SHA256:" + "0" * 43
    assert f"with the host key {other}" in pulls.error("enroll", "accept", "amr-001", "--fingerprint", other, code=2)
    assert "no terminal to ask at" in pulls.error("enroll", "accept", "amr-001", code=2)
    assert pulls.desk.json("enroll", "accept", "amr-001", "--fingerprint", mark)["changed"]
    assert {name: fingerprint_of(key) for name, key in pins(pulls).items()} == {"amr-001": mark}
    hub.pins = read_pins(office(Wiring(pulls.desk.folder))).pins
    assert pulls.desk.json("enroll", "list")["waiting"] == []
    assert not pulls.desk.json("enroll", "accept", "amr-001", "--key", robot.key.public)["changed"]


def test_two_machines_of_one_name_are_told_apart(pulls: Signed, hub: FakeHub) -> None:
    arrives(hub, "amr-001")
    second = arrives(hub, "amr-001", "impostor")
    fingerprints = pulls.error("enroll", "accept", "amr-001", code=2)
    assert "2 machines say that they are amr-001" in fingerprints
    assert second.key.host_key.fingerprint in fingerprints


def test_a_reinstalled_robot_waits_with_its_new_key_and_takes_its_place(pulls: Signed, hub: FakeHub) -> None:
    first = arrives(hub, "amr-001")
    pulls.desk.fleet("enroll", "accept", "amr-001", "--fingerprint", first.key.host_key.fingerprint)
    hub.pins = read_pins(office(Wiring(pulls.desk.folder))).pins
    again = arrives(hub, "amr-001", "new disk")
    (waits,) = pulls.desk.json("enroll", "list")["waiting"]
    assert waits["pinned"] == first.key.host_key.fingerprint
    pulls.desk.fleet("enroll", "accept", "amr-001", "--fingerprint", again.key.host_key.fingerprint)
    assert fingerprint_of(pins(pulls)["amr-001"]) == again.key.host_key.fingerprint


def test_a_robot_is_named_in_advance_and_retired(pulls: Signed, tmp_path: Path) -> None:
    key = PullRobot("amr-001").key
    (tmp_path / "host.pub").write_text(f"{key.public} root@amr-001\n")
    pulls.desk.fleet("enroll", "accept", "amr-001", "--key", str(tmp_path / "host.pub"))
    assert list(pins(pulls)) == ["amr-001"]
    assert "two robots cannot share one" in pulls.error("enroll", "accept", "amr-002", "--key", key.public, code=2)
    pulls.desk.fleet("enroll", "retire", "amr-001")
    listed = pulls.desk.json("enroll", "list")
    assert (listed["pinned"], listed["retired"]) == ([], ["amr-001"])


def test_a_second_signer_accepts_the_same_words(desk: Desk, monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    signed = Signed(desk, monkeypatch)
    desk.set_version("1.0.0", trust={**signed.trust, "threshold": 2}, **PULLS)
    key = PullRobot("amr-001").key.public
    assert (
        "by 1 of 2"
        in desk.fleet("enroll", "accept", "amr-001", "--key", key, "--json", code=4).json["error"]["message"]
    )
    assert pins(signed) == {}
    desk.set_version("1.0.0", trust={**signed.trust, "threshold": 2, "sign_with": signed.key("ben")}, **PULLS)
    desk.fleet("enroll", "accept", "amr-001", "--key", key)
    assert list(pins(signed)) == ["amr-001"]


def test_bootstrap_tells_robots_of_the_hub_and_pins_their_keys(pulls: Signed) -> None:
    desk = pulls.desk
    desk.set_version("1.0.0", trust=pulls.trust, hub=HUB)
    desk.installable()
    for name, updater in desk.updaters.items():
        updater.host_key = PullRobot(name).key.public
    desk.fleet("bootstrap")
    told = {name: updater.pull for name, updater in desk.updaters.items()}
    assert {name: (each or {})["settings"]["link"] for name, each in told.items()} == dict.fromkeys(told, "ssh")
    assert pins(pulls) == {name: PullRobot(name).key.public for name in told}
    before = desk.registry.snapshot()
    desk.fleet("bootstrap")
    assert desk.registry.snapshot() == before, "pinned once"


def test_bootstrap_without_a_key_to_sign_pins_goes_on_and_says_so(pulls: Signed) -> None:
    desk = pulls.desk
    desk.set_version("1.0.0", trust={**pulls.trust, "sign_with": None}, hub=HUB)
    desk.installable()
    for name, updater in desk.updaters.items():
        updater.host_key = PullRobot(name).key.public
    said = " ".join(desk.fleet("bootstrap").err.split())
    assert "host keys are not pinned, reports do not count yet: no key to sign" in said
    assert pins(pulls) == {}


def test_a_fleet_without_a_hub_tells_robots_nothing(desk: Desk) -> None:
    desk.installable()
    desk.fleet("bootstrap")
    assert {updater.pull is None for updater in desk.updaters.values()} == {True}


def test_robots_without_a_host_are_left_to_their_bundles(pulls: Signed) -> None:
    desk = pulls.desk
    desk.installable()
    for name, updater in desk.updaters.items():
        updater.host_key = PullRobot(name).key.public
    answer = desk.fleet("bootstrap", "--json")
    assert [row["name"] for row in answer.json["robots"]] == ["amr-002"]
    assert "amr-001: has no host, so it is not bootstrapped" in " ".join(answer.err.split())
    assert "none of these robots has a host" in pulls.error("bootstrap", "--robots", "amr-001", code=2)


def test_keys_push_brings_roots_to_the_registry_for_robots_that_pull(pulls: Signed) -> None:
    desk = pulls.desk
    desk.installable()
    for name, updater in desk.updaters.items():
        updater.host_key = PullRobot(name).key.public
    desk.fleet("bootstrap")
    said = " ".join(desk.fleet("keys", "push").err.split())
    assert "1 robots that pull take the root with their next desired statement" in said
    found = desk.registry.get_manifest("testing/desired", "roots")
    assert found is not None
