"""The process dies, or the power goes, before and after every journal write and every act; a new one takes over."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.updater.state.records import Journal
from runtime.updater.state.transitions import MAX_TRIES
from runtime.updater.state.world import WorldError
from tests.fakes.robots.robot_world import Behaviour, order, reference
from tests.unit.updater.crash_stories import BAD, MEMORY, POWERS, STORIES, crash_at_places
from tests.unit.updater.robot import Crash, Robot

STEP = 7


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("story", STORIES)
def test_crash_anywhere_ends_wholly_old_or_wholly_new(story: str, power: str) -> None:
    # Each pair begins one place later, so that together they die nearly everywhere; long_crashes.py dies everywhere.
    crash_at_places(story, power, first=1 + list(STORIES).index(story) + POWERS.index(power), step=STEP)


@pytest.mark.parametrize("state", ["preflight", "fetching", "verifying", "switching", "probation", "reverting"])
def test_crash_in_the_same_state_again_and_again_ends(robot: Robot, state: str) -> None:
    robot.on("1")
    if state == "reverting":
        robot.world.behaviour[reference("2")] = BAD
    robot.updater.submit(order("2"))
    robot.drive(until=lambda now: now.state == state)
    for _ in range(MAX_TRIES[state] + 1):
        robot.boot()
    end = robot.drive()
    assert end.outcome in ("refused", "reverted", "failed")
    assert end.current is not None
    assert end.current.version == "1.1.0"
    if state != "reverting":
        robot.assert_whole()


def test_long_absence_in_probation_is_undone(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda now: now.state == "probation")
    robot.world.reboot(away_s=3600.0)
    robot.boot()
    state = robot.drive()
    assert state.outcome == "reverted"
    assert "interrupted in probation for 3600 s, longer than the limit of 40 s" in state.reason
    robot.assert_whole()


def test_recovery_needs_no_network(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = BAD
    robot.updater.submit(order("2"))
    robot.drive(until=lambda now: now.state == "probation")
    robot.world.published.clear()
    robot.world.fail("pull", *[WorldError("no network")] * 50)
    robot.world.reboot()
    robot.boot()
    assert robot.drive().outcome == "reverted"
    assert robot.world.pulls.count(reference("2")) == 1
    robot.assert_whole()


def test_clock_that_jumps_back_a_year_in_probation_ends(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda now: now.state == "probation")
    robot.world.time -= 366 * 86400
    robot.world.reboot()
    robot.boot()
    assert robot.drive().outcome == "committed"
    robot.assert_whole()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_journal_falls_back_to_the_one_before(robot: Robot, damage: str) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda now: now.state == "probation")
    path = robot.root / "state/journal.json"
    body = path.read_bytes()
    flipped = body.replace(b'"tries":1', b'"tries":2')
    path.write_bytes({"truncated": body[:200], "flipped": flipped, "empty": b""}[damage])
    robot.boot()
    state = robot.drive()
    assert state.outcome in ("committed", "reverted")
    assert any("damaged" in note for note in robot.world.notes)
    assert (robot.root / "state/journal.json.damaged").exists()
    robot.assert_whole()


def test_journal_that_is_wholly_lost_is_made_anew_from_the_folders(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    before: Journal = robot.journal
    for name in ("journal.json", "journal.previous.json"):
        (robot.root / "state" / name).write_bytes(b"{}")
    robot.boot()
    after = robot.journal
    assert (after.robot, after.current, after.previous) == ("amr-001", before.current, before.previous)
    assert robot.run(order("3")).outcome == "committed"
    robot.assert_whole()


_ACTS = st.lists(
    st.tuples(
        st.sampled_from("123"),
        st.sampled_from([Behaviour(), BAD, Behaviour(exits=True), Behaviour(turns_bad_after_s=4.0)]),
        st.lists(st.integers(1, 60), max_size=4),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(_ACTS)
def test_any_sequence_of_orders_and_crashes_ends_whole(
    acts: list[tuple[str, Behaviour, list[int], bool, bool, bool]],
) -> None:
    with TemporaryDirectory(dir=MEMORY) as folder:
        robot = Robot(Path(folder))
        for number, (letter, behaviour, crashes, reboots, confirms, force) in enumerate(acts):
            robot.confirms = confirms
            if not (robot.world.runs and robot.world.runs.image == reference(letter)):
                robot.world.behaviour[reference(letter)] = behaviour
            _story(robot, number, letter, crashes, reboots, force)
            last = robot.journal.last
            assert last is None or last.outcome != "failed", last
            robot.assert_whole()


def _story(robot: Robot, number: int, letter: str, crashes: list[int], reboots: bool, force: bool) -> None:
    what = order(letter, order_id=f"{number}-{letter}", force=force)
    for crash_at in [*crashes, None]:
        robot.ticks, robot.crash_at = 0, crash_at
        try:
            robot.updater.submit(what)
            robot.drive()
        except Crash:
            robot.crash_at = None
            if reboots:
                robot.world.reboot(2.0)
            robot.boot()
