"""A machine becomes a robot by its bundle alone: the file runs on the robots' old Python, and the daemon comes up."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap import remote_install
from fleet.bootstrap.enrolment import Enrolment, bundle
from fleet.bootstrap.pull_setup import PullSetup
from fleet.bootstrap.registry_access import RegistryAccess
from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.signing.pins import fingerprint_of
from fleet.signing.roots import updater_words
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.pull_settings import PullSettings
from runtime.contract.robot.trust import ROOT, UPDATER, Signed
from tests.contract.signing.test_signatures import Keys, keys
from tests.contract.updater.pull_site import FLEET, ROBOT, PullSite, fake_hub
from tests.contract.updater.test_pull import registry
from tests.contract.updater.test_updater_process import Daemon, _pythons

__all__ = ["keys", "registry"]
PLACES = {
    "/var/lib/jetfleet": "",
    "/usr/local/bin/fleet-updater": "/bin/fleet-updater",
    "/run/jetfleet": "/run",
    "/etc/systemd/system": "/units",
    "/etc/docker/certs.d": "/certs",
}


class Machine:
    """A folder in place of a machine, and the bundle as it would run there."""

    def __init__(self, folder: Path, site: PullSite, hub: str) -> None:
        self.folder, self.site = folder, site
        (folder / "etc" / "ssh").mkdir(parents=True)
        for name in ("host", "host.pub"):
            target = folder / "etc" / "ssh" / name.replace("host", "ssh_host_ed25519_key")
            site.keys.path("host")
            target.write_bytes((site.keys.folder / name).read_bytes())
            target.chmod(0o600)
        self.bundle = folder / "amr-001.enroll.py"
        self.write(hub)

    def write(self, hub: str, robot: str = ROBOT) -> None:
        settings = PullSettings(FLEET, robot, f"http://{self.site.address}", self.site.prefix, poll_s=2.0, hub=hub)
        root = Signed(self.site.root.text, (self.site.sign("anna", self.site.root.text, ROOT),))
        mine = updater_words(FLEET, updater_version(), updater_zipapp(), time.time() - 60.0, 86400.0)
        words = canonical_json(mine).decode()
        login = {"auths": {self.site.address: {"auth": "cm9ib3Q6c2VjcmV0"}}}
        made = Enrolment(
            robot,
            FLEET,
            updater_zipapp(),
            updater_version(),
            [root],
            Signed(words, (self.site.sign("anna", words, UPDATER),)),
            RegistryAccess(self.site.address, None, None, login),
            PullSetup(settings),
        )
        text = bundle(made, self.bundle.name)
        head, _, rest = text.partition('CONTENT = """\n')
        packed, _, call = rest.partition('\n"""\n')
        content = base64.b64decode(packed).decode()
        for place, here in PLACES.items():
            content = content.replace(place, f"{self.folder}{here}")
        content = content.replace(str(remote_install.SYSTEMD), f"{self.folder}/no-systemd")
        told: dict[str, Any] = json.loads(content)
        told["host_keys"] = [str(self.folder / each) for each in told["host_keys"]]
        told["needs"] = ["ssh-keygen"]
        changed = base64.b64encode(json.dumps(told).encode()).decode()
        self.bundle.write_text(f'{head}CONTENT = """\n{changed}\n"""\n{call}')

    def run(self, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-I", str(self.bundle)], capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture
def machine(tmp_path: Path, registry: str, keys: Keys) -> Iterator[Machine]:
    site = PullSite(tmp_path / "site", registry, keys, "enrol")
    (tmp_path / "machine").mkdir()
    with fake_hub() as hub:
        yield Machine(tmp_path / "machine", site, hub.url)


@pytest.mark.parametrize("python", _pythons(), ids=lambda path: Path(path).parts[-3])
def test_the_bundle_runs_once_and_again_and_says_the_host_key(machine: Machine, python: str) -> None:
    mark = fingerprint_of(machine.site.keys.public("host"))
    for _ in range(2):
        ran = machine.run(python)
        assert ran.returncode == 0, ran.stderr
        assert f"amr-001 is installed; its host key is {mark}" in ran.stdout
        assert f"fleet enroll accept amr-001 --fingerprint {mark}" in ran.stdout
    folder = machine.folder
    login = folder / "registry" / "config.json"
    assert login.stat().st_mode & 0o777 == 0o600
    assert from_json(PullSettings, (folder / "pull.json").read_bytes()).robot == ROBOT
    kept = from_json(Signed, (folder / "trust-root" / "root.json").read_bytes())
    assert canonical_json(kept).decode()
    assert not (folder / "enroll.pyz").exists()


def test_a_machine_that_is_another_robot_is_left_as_it_is(machine: Machine) -> None:
    (machine.folder / "state").mkdir()
    (machine.folder / "state" / "robot.json").write_text('{"fleet": "warehouse", "robot": "amr-777"}')
    ran = machine.run()
    assert ran.returncode == 3
    assert "this machine is robot amr-777 of fleet warehouse already" in ran.stderr
    assert not (machine.folder / "pull.json").exists()
    assert not (machine.folder / "updater").exists()


def test_a_machine_that_lacks_a_program_says_all_of_them_first(machine: Machine) -> None:
    text = machine.bundle.read_text()
    head, _, rest = text.partition('CONTENT = """\n')
    packed, _, call = rest.partition('\n"""\n')
    told = json.loads(base64.b64decode(packed))
    told["needs"] = ["no-docker-here", "no-keygen-here"]
    changed = base64.b64encode(json.dumps(told).encode()).decode()
    machine.bundle.write_text(f'{head}CONTENT = """\n{changed}\n"""\n{call}')
    ran = machine.run()
    assert ran.returncode == 3
    assert "this machine lacks no-docker-here, no-keygen-here" in ran.stderr
    assert not (machine.folder / "state").exists()


def test_what_was_enrolled_comes_for_its_release_and_reports(machine: Machine) -> None:
    assert machine.run().returncode == 0
    site = machine.site
    site.begin("1", stage=1)
    daemon = Daemon.__new__(Daemon)
    daemon.root, daemon.python = machine.folder, sys.executable
    daemon.archive = machine.folder / "updater" / "fleet-updater.pyz"
    daemon.environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "DOCKER_HOST": "unix:///no-engine.sock"}
    daemon.options = ("--machine", str(machine.folder))
    daemon.process = None
    daemon.start()
    try:
        daemon.wait(lambda: (state := daemon.state().pull) is not None and state.stage == 2, "statement")
        told = daemon.state()
        assert told.pull is not None
        assert told.pull.held.startswith("waits for its stage")
        assert told.root_version == 1
    finally:
        daemon.stop(9)
