"""docs/robot-recovery.md followed word for word on a robot that is left in each of the states that the page names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fleet.errors import RobotError
from tests.fakes.robots.updater_zipapps import EXITS, another
from tests.lab.bays import WorkerBay
from tests.lab.road import Road
from tests.lab.site import ROOT
from tests.lab.test_updater_update import Robot

pytestmark = pytest.mark.xdist_group("lab-recovery")

SECOND = "second"
PAGE = ROOT / "docs" / "robot-recovery.md"
ROBOT = "scout-001"
STATE = "/var/lib/jetfleet/state"
DEADLINE_S = 240.0


@dataclass
class Section:
    """One broken state of the page."""

    commands: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def sections(text: str) -> dict[str, Section]:
    """Return every section with commands: heading → the lines of its ```sh and ```text blocks."""
    found: dict[str, Section] = {}
    for part in re.split(r"(?m)^## ", text)[1:]:
        blocks = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", part)
        section = Section()
        for kind, body in blocks:
            if kind == "sh":
                section.commands += body.splitlines()
            if kind == "text":
                section.printed += body.splitlines()
        if section.commands:
            found[part.partition("\n")[0]] = section
    return found


SECTIONS = sections(PAGE.read_text(encoding="utf-8"))


class Patient(Robot):
    """A robot on 1.1.0 that came from 1.0.0."""

    def __init__(self, road: Road) -> None:
        super().__init__(road, ROBOT)
        self.named: dict[str, str] = {}

    def sh(self, script: str) -> str:
        return self.lab.exec(self.name, ["sh", "-c", script], deadline_s=60).check()

    def follow(self, section: Section) -> str:
        """Type the section's commands as the robot's user; return all that was printed."""
        said = ""
        for command in section.commands:
            for word, path in self.named.items():
                command = command.replace(word, path)  # noqa: PLW2901
            ran = self.lab.ssh(self.name, f"({command}) 2>&1", deadline_s=DEADLINE_S)
            said += f"$ {command}\n{ran.stdout}"
            assert "Traceback" not in ran.stdout
            allowed = (0, 4) if "doctor" in command else (0,)
            assert ran.exit_code in allowed, said + ran.stderr
            file = re.search(r"not needed of: (\S+) \(", ran.stdout)
            if file:
                self.named["FILE"] = file[1]
        return said

    def assert_wholly(self, version: str) -> None:
        """The updater answers, and nothing is wrong: the release, whole, and well."""
        self.lab.repair()
        assert self.until_well() == version
        found = self.lab.ssh(self.name, "sudo fleet-updater doctor", deadline_s=60)
        assert found.exit_code == 0, found.stdout
        state = self.ask("status")
        assert re.search(r"^state +idle$", state, re.MULTILINE), state
        assert re.search(rf"^current +{re.escape(version)} ", state, re.MULTILINE), state


@pytest.fixture(scope="module")
def road_to_second(bay: WorkerBay) -> Road:
    """A robot that is kept on 1.1.0, to which it came from 1.0.0."""
    road = bay.on_first(ROBOT)
    road.site.fleet("rollout", "1.1.0", "--yes", "--robots", ROBOT)
    road.site.until_well()
    bay.keep(ROBOT, SECOND)
    return road


@pytest.fixture
def robot(bay: WorkerBay, road_to_second: Road) -> Patient:
    bay.put(ROBOT, state=SECOND)
    return Patient(road_to_second)


def _cut_in_a_switch(robot: Patient) -> None:
    """Power fails for the updater alone, as it has begun to replace the container; nobody starts it again."""
    journal, pid = f"{STATE}/journal.json", "/run/jetfleet-lab/updater.pid"
    watch = f'until grep -q \'"state":"switching"\' {journal}; do :; done'
    cut = f"touch /run/jetfleet-lab/updater.hold; ({watch}; kill -9 $(cat {pid})) & fleet-updater revert; wait"
    robot.lab.exec(robot.name, ["sh", "-c", cut], deadline_s=90).check()
    assert "switching" in robot.ask("status")


def _damage_both_journals(robot: Patient) -> None:
    robot.lab.stop_service(robot.name, "updater")
    robot.sh(f"cd {STATE} && head -c 500 /dev/urandom > journal.json && head -c 500 /dev/zero > journal.previous.json")


def _break_the_link(robot: Patient) -> None:
    robot.sh("ln -sfn releases/000000000000 /var/lib/jetfleet/current")


def _remove_the_container(robot: Patient) -> None:
    robot.sh("docker rm -f $(docker ps -aq --filter label=com.docker.compose.service=runtime)")
    robot.lab.stop_inner_engine(robot.name)
    robot.lab.start_inner_engine(robot.name)


def _fill_the_disk(robot: Patient) -> None:
    """The journal gets a small volume of its own, and something else takes all of it."""
    robot.lab.stop_service(robot.name, "updater")
    robot.sh(f"cp -a {STATE} /tmp/state && mount -t tmpfs -o size=20m,mode=0750 small-state {STATE}")
    robot.sh(f"cp -a /tmp/state/. {STATE}/ && rm -rf /tmp/state && rm -f {STATE}/reserve")
    robot.sh(f"dd if=/dev/zero of={STATE}/core.4711 bs=4k 2>/dev/null || true")
    robot.lab.start_service(robot.name, "updater")


def _try_a_bad_updater(robot: Patient) -> None:
    with pytest.raises(RobotError, match="did not prove itself"):
        robot.install(*another("bad000000003", EXITS))


BREAKS: dict[str, Callable[[Patient], None]] = {
    "The journal is damaged": _damage_both_journals,
    "`current` is missing or points nowhere": _break_the_link,
    "The container is gone": _remove_the_container,
    "The disk is full": _fill_the_disk,
    "A new updater is bad": _try_a_bad_updater,
    "The updater was killed in the middle of a switch": _cut_in_a_switch,
}


def test_every_section_is_followed() -> None:
    assert set(SECTIONS) == set(BREAKS)
    assert all(section.printed for section in SECTIONS.values())


@pytest.mark.parametrize("heading", BREAKS)
def test_the_page_brings_the_robot_back(robot: Patient, heading: str) -> None:
    section = SECTIONS[heading]
    BREAKS[heading](robot)
    said = robot.follow(section)
    for line in section.printed:
        assert _pattern(line, robot.named).search(said), f"{line!r} was not printed:\n{said}"
    _give_the_disk_back(robot)
    robot.assert_wholly("1.0.0" if "switch" in heading else "1.1.0")


def _pattern(line: str, named: dict[str, str]) -> re.Pattern[str]:
    for word, path in named.items():
        line = line.replace(word, path)
    return re.compile("^" + ".*".join(re.escape(part) for part in line.split("…")) + "$", re.MULTILINE)


def _give_the_disk_back(robot: Patient) -> None:
    if "small-state" not in robot.sh("cat /proc/mounts"):
        return
    robot.lab.stop_service(robot.name, "updater")
    robot.sh(f"cp -a {STATE} /tmp/state && umount {STATE} && cp -a /tmp/state/. {STATE}/ && rm -rf /tmp/state")
    robot.lab.start_service(robot.name, "updater")
