"""The updater as a service of systemd, on a robot that boots with it: everything that its unit promises."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.road import Road
from tests.lab.site import finish

pytestmark = pytest.mark.xdist_group("lab-systemd")

ROBOT = "scout-001"
UNIT = "fleet-updater.service"
WATCHDOG_S = 4
WORST_EXPOSURE = 5.0
"""Of systemd's own ten points."""


class Robot:
    """One robot that boots with systemd, on 1.0.0."""

    def __init__(self, bay: WorkerBay) -> None:
        self.road: Road = bay.on_first_with_systemd(ROBOT)
        self.site, self.lab, self.bay = self.road.site, bay.running, bay

    def root(self, words: str) -> str:
        return self.lab.exec(ROBOT, ["sh", "-c", words]).check().strip()

    def shown(self, name: str, unit: str = UNIT) -> str:
        return self.root(f"systemctl show --property {name} --value {unit}")

    def until(self, what: str, true: Callable[[], bool], deadline_s: float = 240.0) -> None:
        ends = time.monotonic() + deadline_s
        while not true():
            assert time.monotonic() < ends, f"waited {deadline_s:g} s for {what}\n{self.journal()}"
            time.sleep(0.2)

    def answers(self) -> bool:
        return self.lab.ask_updater(ROBOT, "status") is not None

    def state(self) -> str:
        return str((self.lab.ask_updater(ROBOT, "status") or {}).get("state", ""))

    def journal(self) -> str:
        return self.lab.exec(ROBOT, ["journalctl", "--no-pager", "--unit", UNIT, "--lines", "60"]).stdout

    def whole_journal(self) -> str:
        return self.root(f"journalctl --no-pager --unit {UNIT}")

    def reboot(self) -> None:
        """Shut down in order, as `sudo reboot` does, and boot again."""
        container = self.bay.bay.lab.container(ROBOT)
        container.stop(timeout=120)
        container.start()
        self.bay.bay.lab.wait_robot(ROBOT, camera=False)


@pytest.fixture(scope="module")
def robot(bay: WorkerBay) -> Robot:
    return Robot(bay)


def test_bootstrap_installs_a_service_that_is_started_at_boot(robot: Robot) -> None:
    robot.site.fleet("bootstrap", "--robots", ROBOT)
    assert robot.root(f"systemctl is-enabled {UNIT}; systemctl is-active {UNIT}").split() == ["enabled", "active"]
    assert f"Started {UNIT}" in robot.journal()
    assert robot.answers()
    exposure = robot.root(f"systemd-analyze security --no-pager {UNIT} | tail -1")
    print(exposure)
    found = re.search(r"(\d+\.\d+)", exposure)
    assert found is not None
    assert float(found[1]) <= WORST_EXPOSURE, exposure
    doctor = robot.lab.exec(ROBOT, ["fleet-updater", "doctor"]).stdout
    assert f"{UNIT} is enabled" in doctor


def test_what_is_killed_and_what_hangs_is_started_again(robot: Robot) -> None:
    first = robot.shown("MainPID")
    robot.root(f"kill -9 {first}")
    robot.until("another process after a kill", lambda: robot.shown("MainPID") not in ("0", first) and robot.answers())
    robot.root(
        f"mkdir -p /run/systemd/system/{UNIT}.d; printf '[Service]\\nEnvironment=JETFLEET_WATCHDOG_S={WATCHDOG_S}\\n' "
        f"> /run/systemd/system/{UNIT}.d/test.conf; systemctl daemon-reload; systemctl restart {UNIT}"
    )
    robot.until("the watchdog", lambda: robot.answers() and robot.shown("WatchdogUSec") == f"{WATCHDOG_S}s")
    second = robot.shown("MainPID")
    robot.root(f"kill -STOP {second}")
    robot.until("another process after a hang", lambda: robot.shown("MainPID") not in ("0", second) and robot.answers())
    robot.root(f"rm -r /run/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl restart {UNIT}")
    assert "watchdog" in robot.journal().lower()


def test_a_shutdown_in_mid_update_stops_in_order_and_the_next_boot_goes_on(robot: Robot) -> None:
    """The rollout of 1.1.0, whose robot is rebooted while it fetches or switches, ends as if nothing had been."""
    rollout = robot.site.start("rollout", "1.1.0", "--yes", "--robots", ROBOT, "--json")
    busy = ("fetching", "verifying", "switching", "probation")
    robot.until("an update in progress", lambda: robot.state() in busy or rollout.poll() is not None)
    print("rebooted in", robot.state())
    logged = robot.whole_journal()
    began = time.monotonic()
    robot.reboot()
    print(f"down and up in {time.monotonic() - began:.1f} s")
    result = finish(rollout, (0, 6))
    print(result.stdout)
    robot.until("its rest", lambda: robot.state() == "idle")
    if result.code != 0:
        robot.site.fleet("rollout", "1.1.0", "--yes", "--robots", ROBOT)
    assert robot.site.until_well()[ROBOT]["release"] == "1.1.0"
    docker, updater = (int(robot.shown("ActiveEnterTimestampMonotonic", unit)) for unit in ("docker.service", UNIT))
    assert 0 < docker <= updater
    since = robot.whole_journal().removeprefix(logged)  # a container's boots have one id, its machine's
    assert f"Stopped {UNIT}" in since
    assert "Killing process" not in since
    assert "timed out" not in since


def test_uninstall_leaves_what_runs_and_nothing_of_the_service(robot: Robot) -> None:
    runs = "docker ps --quiet --filter label=com.docker.compose.service=runtime"
    running = robot.root(runs)
    said = robot.root("fleet-updater uninstall")
    assert "/var/lib/jetfleet stays" in said
    assert robot.root(f"systemctl show --property LoadState --value {UNIT}") == "not-found"
    assert robot.lab.exec(ROBOT, ["which", "fleet-updater"]).exit_code != 0
    assert robot.root(runs) == running != ""
    robot.site.fleet("bootstrap", "--robots", ROBOT)
    assert robot.site.until_well()[ROBOT]["release"] == "1.1.0"
    robot.root("fleet-updater uninstall --purge")
    assert robot.lab.exec(ROBOT, ["ls", "-A", "/var/lib/jetfleet"]).stdout.strip() == ""
