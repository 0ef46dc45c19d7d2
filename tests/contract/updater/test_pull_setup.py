"""What `fleet bootstrap` tells a robot of registry and hub, over the socket: written whole, or refused at once."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import from_json, to_dict
from runtime.contract.json_decoder import ContractError
from runtime.contract.robot.pull_settings import PullSettings
from runtime.updater.daemon.pull_setup import take_pull
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import Rejected
from tests.contract.signing.test_signatures import Keys, keys

__all__ = ["keys"]
SETTINGS = PullSettings("warehouse", "amr-001", "https://registry.test", "warehouse", hub="https://hub.test")
IDENTITY = ("amr-001", "warehouse")


@pytest.fixture
def machine(tmp_path: Path, keys: Keys) -> Path:
    """A machine with a host key and a robot's folder."""
    (tmp_path / "etc/ssh").mkdir(parents=True)
    place = tmp_path / "etc/ssh/ssh_host_ed25519_key"
    place.write_bytes(keys.path("host").read_bytes())
    place.chmod(0o600)
    (tmp_path / "robot").mkdir()
    return tmp_path


def take(machine: Path, hub_ca: str | None = None, **changes: Any) -> str:
    request = {"settings": {**to_dict(SETTINGS), **changes}, "hub_ca": hub_ca}
    return take_pull(machine / "robot", machine, IDENTITY, request)


def test_it_is_written_and_the_key_that_signs_reports_comes_back(machine: Path, keys: Keys) -> None:
    authority = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode()
    assert take(machine, authority) == keys.public("host")
    found = from_json(PullSettings, (machine / "robot/pull.json").read_bytes())
    assert found.hub_ca == str(machine / "robot/hub-ca.pem")
    assert take(machine) == keys.public("host")
    assert not (machine / "robot/hub-ca.pem").exists()
    assert take_pull(machine / "robot", machine, IDENTITY, {"settings": None}) == ""
    assert not (machine / "robot/pull.json").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"robot": "amr-002"}, "the settings are of amr-002"),
        ({"fleet": "depot"}, "in fleet depot, this machine is amr-001 in fleet warehouse"),
        ({"registry": "ftp://x"}, "no http:// or https://"),
        ({"registry": "https://user:pw@registry.test"}, "no http:// or https://"),
        ({"hub": "hub.test"}, "no http:// or https://"),
        ({"link": "pigeon"}, "neither pull nor ssh"),
        ({"poll_s": 0.0}, "from one second to a day"),
        ({"poll_s": "x"}, "expected float"),
        ({"host_key": "/etc/shadow"}, "paths at the robot"),
    ],
)
def test_what_is_refused_changes_nothing(machine: Path, changes: dict[str, Any], says: str) -> None:
    take(machine)
    before = (machine / "robot/pull.json").read_bytes()
    with pytest.raises((Rejected, ContractError), match=says):
        take(machine, **changes)
    assert (machine / "robot/pull.json").read_bytes() == before


def test_a_path_of_an_authority_is_not_brought(machine: Path) -> None:
    settings = {**to_dict(SETTINGS), "hub_ca": "/etc/shadow"}
    with pytest.raises(Rejected, match="paths at the robot"):
        take_pull(machine / "robot", machine, IDENTITY, {"settings": settings})


@pytest.mark.parametrize("hub_ca", ["!", base64.b64encode(b"-----BEGIN PRIVATE KEY-----").decode()])
def test_what_is_no_authority_is_refused(machine: Path, hub_ca: str) -> None:
    with pytest.raises(ContractError, match="hub_ca"):
        take(machine, hub_ca)


def test_a_login_is_not_shown_without_tls_because_the_socket_says_so(machine: Path) -> None:
    folder = machine / "robot/registry"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": "cm9ib3Q6eA=="}}}))
    with pytest.raises(Rejected, match="would be shown there without TLS"):
        take(machine, registry="http://registry.test")
    take(machine, registry="http://other.test")


def test_a_machine_without_a_host_key_is_not_told_to_report(machine: Path) -> None:
    (machine / "etc/ssh/ssh_host_ed25519_key").unlink()
    with pytest.raises(WorldError, match="no SSH host key"):
        take(machine)
    assert not (machine / "robot/pull.json").exists()
