"""The updater's own update on a robot of the lab: a good one stays, a bad one goes, and nobody touches the release."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from fleet.adapters.ssh.ssh_shell import SshShells
from fleet.adapters.system_clock import SystemClock
from fleet.bootstrap.prepare_robot import BootstrapReport, bootstrap
from fleet.errors import RobotError
from fleet.ports import RobotAddress
from tests.fakes.robots.updater_zipapps import EXITS, HANGS, another
from tests.lab.bays import WorkerBay
from tests.lab.road import Road

pytestmark = pytest.mark.xdist_group("lab-updater")

ROBOT = "amr-001"
FOLDER = "/var/lib/jetfleet/updater"
TRIAL_S = 12.0


class Robot:
    """One robot on its release, and `fleet bootstrap` with an updater of the test's own."""

    def __init__(self, road: Road, name: str = ROBOT) -> None:
        self.name, self.site, self.lab = name, road.site, road.site.lab
        address = RobotAddress(name, self.lab.robots[name], 22, self.lab.user, str(self.lab.key))
        self.address, self.shells = address, SshShells(road.site.folder / "known_hosts")
        self.container = self.containers()

    def containers(self) -> str:
        """Return the ids of the runtime containers that run."""
        running = ["docker", "ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.service=runtime"]
        return self.lab.exec(self.name, running).check()

    def until_well(self) -> str:
        """Wait until the robot is well (a busy machine degrades a camera); return the release that it attests."""
        ends = time.monotonic() + 300
        while True:
            while time.monotonic() < ends and self.site.health(self.name) not in ("ok", "degraded"):
                time.sleep(0.1)
            (shown,) = self.site.fleet_json("status", "--robots", self.name, code=(0, 6))["robots"]
            if shown["health"] in ("ok", "degraded"):
                return str(shown["release"])
            assert time.monotonic() < ends, f"not well: {shown}"

    def install(self, zipapp: bytes, version: str, trial_s: float = 90.0) -> BootstrapReport:
        clock = SystemClock()
        return bootstrap(self.address, "warehouse", self.shells, clock, zipapp=zipapp, version=version, trial_s=trial_s)

    def ask(self, words: str) -> str:
        return self.lab.ssh(self.name, f"fleet-updater {words}").stdout

    def version(self) -> str:
        """Return the version of the daemon that answers."""
        return str((self.lab.ask_updater(self.name, "status") or {}).get("updater_version", ""))

    def assert_untouched(self) -> None:
        assert self.containers() == self.container != ""
        assert "state     idle" in self.ask("status")
        assert self.until_well() == "1.0.0"


@pytest.fixture
def robot(bay: WorkerBay) -> Robot:
    return Robot(bay.on_first(ROBOT))


def test_a_good_one_stays_through_a_power_cut(robot: Robot) -> None:
    zipapp, version = another("900d00000001")
    before = robot.ask("version").strip()
    report = robot.install(zipapp, version)
    assert (report.changed, report.updater_version) == (True, version)
    assert robot.version() == version != before
    assert robot.ask("version").strip() == version
    assert robot.lab.exec(ROBOT, ["test", "-e", f"{FOLDER}/trial.json"]).exit_code == 1
    assert robot.install(zipapp, version).changed is False
    robot.assert_untouched()

    robot.lab.power_cycle(ROBOT)
    _wait_for(robot, version)
    assert robot.until_well() == "1.0.0"


@pytest.mark.parametrize(
    ("bad", "serve", "why"),
    [("bad000000001", EXITS, "its daemon ended 3 times"), ("bad000000002", HANGS, "no confirmation came in time")],
    ids=["exits", "never-answers"],
)
def test_a_bad_one_goes_by_itself_and_the_operator_is_told(robot: Robot, bad: str, serve: str, why: str) -> None:
    zipapp, version = another(bad, serve)
    before = robot.version()
    limit_s = TRIAL_S if serve == HANGS else 90.0
    with pytest.raises(RobotError) as caught:
        robot.install(zipapp, version, limit_s)
    assert f"the updater {version} did not prove itself" in caught.value.message
    assert f"the one before ({before}) runs again" in caught.value.message
    assert robot.version() == before
    assert f"{version} failed its trial: {why}" in robot.ask("doctor")
    robot.assert_untouched()


def test_a_trial_that_nobody_watches_ends_with_the_old_one(robot: Robot) -> None:
    """The controller dies after the installation; the power is cut in the trial."""
    zipapp, version = another("900d00000002")
    before = robot.version()
    with pytest.raises(_Died):
        bootstrap(
            robot.address,
            "warehouse",
            robot.shells,
            SystemClock(),
            zipapp=zipapp,
            version=version,
            trial_s=TRIAL_S,
            on_step=_die_at("waiting for the updater to answer"),
        )
    robot.lab.power_cycle(ROBOT)
    _wait_for(robot, before)
    assert f"{version} failed its trial" in robot.ask("doctor")
    assert robot.until_well() == "1.0.0"


class _Died(Exception):
    """The controller."""


def _die_at(step: str) -> Callable[[str], None]:
    def on_step(now: str) -> None:
        if now == step:
            raise _Died

    return on_step


def _wait_for(robot: Robot, version: str) -> None:
    ends = time.monotonic() + 240
    while robot.version() != version:
        assert time.monotonic() < ends, f"{robot.version() or 'nobody'} answers, not {version}"
        time.sleep(0.1)
