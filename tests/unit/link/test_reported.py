"""Reports read from a hub: page by page, held against the pins, and every way in which a hub may lie or never end."""

from __future__ import annotations

import dataclasses

import pytest

from fleet.errors import HubError
from fleet.link.reported import Asked, as_observed, read_reports
from fleet.ports import HubPage, HubRow
from runtime.contract.robot.desired import Pins
from tests.fakes.hub import FakeHub
from tests.fakes.pull_robots import PullRobot, pins_of

NOW = 1.8e9
NAMES = [f"amr-{number:03}" for number in range(30)]


def asked(pins: Pins, **known: int) -> Asked:
    return Asked(pins, NOW, 900.0, {name.replace("_", "-"): number for name, number in known.items()})


@pytest.fixture
def robots() -> dict[str, PullRobot]:
    return {name: PullRobot(name) for name in NAMES}


@pytest.fixture
def hub(robots: dict[str, PullRobot]) -> FakeHub:
    hub = FakeHub()
    hub.pins = pins_of(*robots.values())
    for robot in robots.values():
        hub.post(robot.report(NOW - 5))
    return hub


def standings(hub: FakeHub, names: list[str] = NAMES, **known: int) -> dict[str, str]:
    assert hub.pins
    return {name: verdict.standing for name, verdict in read_reports(hub, names, asked(hub.pins, **known)).items()}


def test_many_come_in_pages_and_few_by_name(hub: FakeHub) -> None:
    assert set(standings(hub).values()) == {"verified"}
    assert hub.asked == 1
    assert set(standings(hub, NAMES[:3]).values()) == {"verified"}
    assert hub.asked == 4


def test_robots_that_the_hub_does_not_know_have_no_report(hub: FakeHub) -> None:
    assert standings(hub, ["new-1"]) == {"new-1": "none"}
    assert standings(hub, [*NAMES, "new-1"])["new-1"] == "none"


def lie_other(row: HubRow) -> HubRow:
    return dataclasses.replace(row, envelope=PullRobot("amr-007").report(NOW))


def lie_none(row: HubRow) -> HubRow:
    return dataclasses.replace(row, envelope=None)


def lie_changed(row: HubRow) -> HubRow:
    assert row.envelope
    return dataclasses.replace(row, envelope=dataclasses.replace(row.envelope, sequence=50))


@pytest.mark.parametrize("names", [NAMES, NAMES[:3]], ids=["pages", "by name"])
@pytest.mark.parametrize(
    ("lie", "standing"),
    [(lie_other, "forged"), (lie_none, "none"), (lie_changed, "forged")],
    ids=["other", "none", "changed"],
)
def test_a_hub_that_lies_is_seen_for_each_robot(hub: FakeHub, lie: object, standing: str, names: list[str]) -> None:
    hub.lie = lie  # type: ignore[assignment]
    wanted = {name: standing for name in names if name != "amr-007"}
    assert {name: said for name, said in standings(hub, names).items() if name != "amr-007"} == wanted


def test_old_reports_after_newer_ones_are_seen(hub: FakeHub) -> None:
    assert standings(hub, NAMES[:2], amr_000=5) == {"amr-000": "stale", "amr-001": "verified"}


class Endless(FakeHub):
    """Lists robots for ever."""

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        self._answer()
        rows = tuple(HubRow(f"z-{self.asked:06}-{number:03}", None, None) for number in range(500))
        return HubPage(rows, rows[-1].robot)


class Circle(FakeHub):
    """Begins again after its end."""

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        page = super().robots(after, 10)
        return page if page.next else HubPage(page.rows, NAMES[0])


class Empty(FakeHub):
    """Says that there is more, and shows none."""

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        self._answer()
        return HubPage((), f"a{self.asked:09}")


@pytest.mark.parametrize(("kind", "said"), [(Endless, "has no end"), (Circle, "repeats"), (Empty, "repeats")])
def test_a_list_without_end_is_left(kind: type[FakeHub], said: str, robots: dict[str, PullRobot]) -> None:
    hub = kind()
    for robot in robots.values():
        hub.post(robot.report(NOW))
    with pytest.raises(HubError, match=said):
        read_reports(hub, NAMES, asked(pins_of(*robots.values())))
    assert hub.asked < 30


def test_a_robot_whose_clock_is_behind_is_said_to_be(hub: FakeHub, robots: dict[str, PullRobot]) -> None:
    """No RTC, and no network time: what it signs is old when it comes."""
    assert hub.pins
    hub.post(robots["amr-000"].report(NOW - 86400.0 * 30))
    verdict = read_reports(hub, NAMES[:1], asked(hub.pins))["amr-000"]
    assert verdict.standing == "stale"
    assert verdict.problem == "last report 30 days ago, and came to the hub just now: is the robot's clock behind?"


def test_a_plan_sees_who_is_there_and_who_is_not(hub: FakeHub, robots: dict[str, PullRobot]) -> None:
    assert hub.pins
    late = robots["amr-001"].report(NOW - 3600)
    hub.post(late)
    hub.pins = pins_of(*(robot for name, robot in robots.items() if name != "amr-002"))
    found = read_reports(hub, NAMES[:3], asked(hub.pins))
    fresh, stale, unpinned = (as_observed(found[name]) for name in NAMES[:3])
    assert (fresh.online, fresh.error, fresh.state is not None) == (True, "", True)
    assert (stale.online, stale.error[:19], stale.fetched_at) == (False, "last report 1 h ago", NOW - 3600)
    assert (unpinned.online, unpinned.needs_bootstrap, unpinned.state) == (True, True, None)
    assert "fleet enroll accept amr-002" in unpinned.error
    assert "ssh-keygen -lf" in unpinned.hint
