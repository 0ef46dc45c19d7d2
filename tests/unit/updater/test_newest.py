"""Which release is the newest: what a robot takes, what it refuses, and when it says that it is stale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.trust import NAMESPACES, NEWEST, RELEASE, Signed, TrustSettings
from runtime.contract.robot.update import UpdateState
from runtime.updater.transaction.newest import take_newest
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.update_state import state_lines
from tests.fakes.robots.robot_world import START, digest, fake_signature, order
from tests.fakes.signed_orders import ANNA, DAY, EVE, prove
from tests.unit.updater.robot import Robot

FIRST = Newest("warehouse", 12, "1.1.0", digest("1"), START, START + 7 * DAY)


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    """Anna may say what is newest; 1.1.0 runs."""
    robot = Robot(tmp_path)
    robot.world.settings = TrustSettings("warehouse")
    robot.world.root_version = 3
    robot.world.signers = {ANNA: ("anna@x",)}
    assert robot.run(prove(order("1", order_id="first"))).outcome == "committed"
    return robot


def said(newest: Newest, key: str = ANNA, namespace: str = NAMESPACES[NEWEST]) -> Signed:
    text = canonical_json(newest).decode()
    return Signed(text, (fake_signature(key, text, namespace),))


def hear(robot: Robot, signed: Signed) -> UpdateState:
    held = robot.world.held_root()
    root = None if held is None else held.root
    return robot.updater.amend(lambda journal: take_newest(journal, signed, root, robot.world))


def refuses(robot: Robot, signed: Signed, says: str) -> None:
    before = robot.journal
    with pytest.raises(Refused) as caught:
        hear(robot, signed)
    assert says in caught.value.reason
    assert caught.value.hint
    assert robot.journal.newest == before.newest


def test_a_robot_that_heard_nothing_is_stale_and_is_not_once_it_did(robot: Robot) -> None:
    assert "no statement of the newest release was ever seen here" in robot.updater.status().stale
    state = hear(robot, said(FIRST))
    assert (state.stale, state.generation, state.newest, state.newest_until) == ("", 12, "1.1.0", FIRST.expires_at)
    assert any(line.startswith("newest    1.1.0, until 2027-01-") for line in state_lines(state))
    robot.world.time += 8 * DAY
    stale = robot.updater.status()
    assert "(1.1.0, generation 12) expired at 2027-01-22T08:00:00Z, 1.0 days ago" in stale.stale
    assert any(line.startswith("newest    stale: ") for line in state_lines(stale))
    robot.boot()
    assert robot.updater.status().stale == stale.stale, "it is on disk"


def test_being_stale_stops_neither_what_runs_nor_an_order(robot: Robot) -> None:
    hear(robot, said(FIRST))
    robot.world.time += 30 * DAY
    assert robot.run(prove(order("2", order_id="second"))).outcome == "committed"


def changed(**changes: Any) -> Signed:
    return said(replace(FIRST, **changes))


@pytest.mark.parametrize(
    ("signed", "says"),
    [
        (said(FIRST, EVE), "signed by 0 of 1"),
        (said(FIRST, namespace=NAMESPACES[RELEASE]), "signed by 0 of 1"),
        (Signed(said(FIRST).statement), "signed by 0 of 1"),
        (Signed(said(FIRST).statement, said(FIRST).signatures * 17), "17 signatures"),
        (changed(fleet="depot"), "of fleet depot"),
        (changed(kind="release"), "signed is release"),
        (changed(expires_at=START - 1.0), "expired at"),
        (changed(expires_at=START + 8 * DAY), "made for 8.0 days, this robot takes 7.0"),
        (changed(issued_at=START + 2 * DAY), "the statement is of"),
        (changed(schema=99), "schema 99 is newer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(robot: Robot, signed: Signed, says: str) -> None:
    refuses(robot, signed, says)


def test_no_earlier_generation_is_taken_and_none_says_two_things(robot: Robot) -> None:
    hear(robot, said(FIRST))
    later = replace(FIRST, generation=13, version="1.2.0", release=digest("2"))
    refuses(
        robot, said(replace(FIRST, version="1.0.0")), "two statements of generation 12: 1.0.0 and, seen before, 1.1.0"
    )
    earlier = replace(FIRST, issued_at=START - 60.0, expires_at=START + 6 * DAY)
    refuses(robot, said(earlier), "this robot has seen one of")
    assert hear(robot, said(FIRST)).generation == 12, "the same again is fine"
    renewed = replace(FIRST, issued_at=START + 60.0, expires_at=START + 6 * DAY)
    assert hear(robot, said(renewed)).newest_until == renewed.expires_at
    assert hear(robot, said(later)).newest == "1.2.0"
    refuses(robot, said(FIRST), "the statement is of generation 12, this robot has seen 13 (1.2.0)")


@pytest.mark.parametrize(("clock", "says"), [(60.0, "was never set"), (START - 3 * DAY, "before the 2027-01-15")])
def test_a_clock_that_cannot_be_right_holds_and_says_so(robot: Robot, clock: float, says: str) -> None:
    hear(robot, said(FIRST))
    robot.world.time = clock
    assert says in robot.updater.status().stale
    assert robot.updater.status().stale.startswith("held: ")
    refuses(robot, said(replace(FIRST, generation=13)), says)


def test_a_statement_that_comes_in_the_middle_of_an_order_is_kept(robot: Robot) -> None:
    robot.updater.submit(prove(order("2", order_id="second")))
    robot.drive(until=lambda state: state.state == "probation")
    hear(robot, said(FIRST))
    assert robot.drive().outcome == "committed"
    assert robot.journal.newest is not None
    assert robot.journal.newest.generation == 12


def test_who_has_no_signed_root_hears_nothing_and_is_not_stale(robot: Robot) -> None:
    robot.world.root_version = 0
    assert robot.updater.status().stale == ""
    refuses(robot, said(FIRST), "no signed trust root")
    robot.world.settings = TrustSettings("warehouse", unsigned=True)
    robot.world.root_version = 4
    assert robot.updater.status().stale == ""
    refuses(robot, said(FIRST), "no signed trust root")
