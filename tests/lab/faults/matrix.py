"""The kill matrix: what is killed, at which transition, before or after it is on disk, on the way to which release."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from runtime.contract.robot.switching import HANDOVER_AUTO, HANDOVER_NEVER
from runtime.contract.robot.update import UpdateOrder
from tests.lab.faults.releases import BAD, GOOD, Releases
from tests.lab.faults.robot import KillRobot

UPDATER, ENGINE, ROBOT = "updater", "engine", "robot"
VICTIMS = (UPDATER, ENGINE, ROBOT)
BEFORE, AFTER = "before", "after"
BESIDE, STOPPED = "beside", "stop-start"
"""How the new container takes over: it is tested beside the old one, or replaces it."""
_UP_TO_SWITCH = ("preflight", "fetching", "verifying", "waiting", "switching")
MOMENTS = {
    ("good", BESIDE): (*_UP_TO_SWITCH, "beside", "standby", "handed", "probation", "awaiting", "ended", "idle"),
    ("bad", BESIDE): (*_UP_TO_SWITCH, "beside", "standby", "reverting", "returning", "ended", "idle"),
    ("good", STOPPED): ("switching", "stop-start", "probation", "awaiting", "ended", "idle"),
    ("bad", STOPPED): ("switching", "stop-start", "probation", "reverting", "returning", "ended", "idle"),
}


@dataclass(frozen=True)
class Case:
    """One kill."""

    release: str
    """good | bad."""
    moment: str
    when: str
    victim: str
    takeover: str = BESIDE

    def __str__(self) -> str:
        return f"{self.release} release, {self.takeover}: {self.victim} killed {self.when} {self.moment}"


@dataclass(frozen=True)
class Seen:
    """How a case ended."""

    case: Case
    robot: str
    outcome: str
    seconds: float
    wrong: tuple[str, ...]
    """What does not fit; empty when the robot is wholly old or wholly new, and well."""

    def __str__(self) -> str:
        end = "; ".join(self.wrong) or "whole"
        return f"{self.robot}  {self.case}: {self.outcome}, {self.seconds:.0f} s: {end}"


def every_case() -> list[Case]:
    """Return the full matrix."""
    return [
        Case(release, moment, when, victim, takeover)
        for (release, takeover), moments in MOMENTS.items()
        for moment, when, victim in itertools.product(moments, (BEFORE, AFTER), VICTIMS)
    ]


def run_matrix(
    releases: Releases, cases: Sequence[Case], put: Callable[[str], None], said: Callable[[Seen], None] = lambda _: None
) -> list[Seen]:
    """Run the cases, the site's robots side by side; ``put`` makes one a robot on 1.0.0. Say each as it ends."""
    robots = [KillRobot(releases.site.lab, name) for name in releases.site.robots]
    left = iter(cases)

    def one_after_another(robot: KillRobot) -> list[Seen]:
        found = []
        for case in left:
            found.append(_try_case(releases, robot, case, put))
            print(found[-1], file=sys.stderr, flush=True)
            said(found[-1])
        return found

    with ThreadPoolExecutor(len(robots)) as pool:
        return [seen for each in pool.map(one_after_another, robots) for seen in each]


def _try_case(releases: Releases, robot: KillRobot, case: Case, put: Callable[[str], None]) -> Seen:
    """Run one case; one that cannot be run to its end is no whole robot either, and the next one begins anew."""
    began = time.monotonic()
    try:
        return run_case(releases, robot, case)
    except Exception as error:  # noqa: BLE001  (whatever it is, the other cases are worth knowing)
        traceback.print_exc()
        put(robot.name)
        return Seen(case, robot.name, "no end", time.monotonic() - began, (repr(error),))


def run_case(releases: Releases, robot: KillRobot, case: Case) -> Seen:
    """Kill once, on the way from the release that the robot runs; then be the controller until all is quiet."""
    began, old = time.monotonic(), robot.journal().current
    assert old is not None
    version = BAD if case.release == "bad" else next_good(old.version)
    order = releases.order(robot.name, version)
    handover = HANDOVER_AUTO if case.takeover == BESIDE else HANDOVER_NEVER
    order = replace(order, switch=replace(order.switch, handover=handover))
    robot.hold_at(case.moment, case.when)
    with ThreadPoolExecutor(1) as asks:
        asks.submit(robot.submit, order)
        _until_stopped(robot, order, asks)
        _kill(robot, case.victim)
    state = robot.finish(order)
    robot.set_free()
    robot.until("health", robot.well)
    wrong = _wrong(releases, robot, order, old.version)
    return Seen(case, robot.name, state.outcome, time.monotonic() - began, tuple(wrong))


def next_good(version: str) -> str:
    """Return the good release that comes after one of them, or after 1.0.0."""
    return GOOD[(GOOD.index(version) + 1) % len(GOOD)] if version in GOOD else GOOD[0]


def _until_stopped(robot: KillRobot, order: UpdateOrder, asks: ThreadPoolExecutor) -> None:
    """Be the controller until the updater stands still at the case's moment."""
    confirmed = False

    def stopped() -> bool:
        nonlocal confirmed
        if robot.stopped():
            return True
        state = robot.state()
        if state is not None and state.awaiting_confirmation and not confirmed:
            asks.submit(robot.confirm, order)
            confirmed = True
        over = state is not None and (state.state, state.order_id) == ("idle", order.order_id)
        over = over and not robot.journal().tidy_due and not robot.stopped()
        assert not over, f"the order ended without this transition: {state}"
        return False

    robot.until("the transition", stopped)


def _kill(robot: KillRobot, victim: str) -> None:
    if victim == UPDATER:
        robot.set_free()
    elif victim == ENGINE:
        robot.lab.kill_service(robot.name, "dockerd")
        robot.go()
    else:
        robot.lab.power_cycle(robot.name)


def _wrong(releases: Releases, robot: KillRobot, order: UpdateOrder, old: str) -> list[str]:
    """Return what does not fit: parts of the robot, what it says of itself, and what `fleet status` says of it."""
    wrong, journal, state = robot.half_states(), robot.journal(), robot.state()
    assert journal.last is not None
    assert journal.current is not None
    assert state is not None
    runs, last = journal.current.version, journal.last
    right = {"committed": order.version, "reverted": old, "refused": old}
    if order.version == BAD:
        del right["committed"]
    if last.order_id != order.order_id or right.get(last.outcome) != runs:
        wrong.append(f"order {last.order_id} is {last.outcome} ({last.reason}), and {runs} runs")
    if (state.state, state.outcome, state.order_id) != ("idle", last.outcome, last.order_id):
        wrong.append(f"fleet-updater status says {state.state}, {state.outcome}")
    lines = [line for line in robot.ask("history", "--json") if line["order_id"] == order.order_id]
    if [line["outcome"] for line in lines] != [last.outcome]:
        wrong.append(f"history says {[line['outcome'] for line in lines]}")
    (row,) = releases.site.fleet_json("status", "--robots", robot.name)["robots"]
    if (row["release"], row["image_digest"]) != (runs, journal.current.image.partition("@")[2]):
        wrong.append(f"fleet status says {row['release']}, {row['image_digest']}")
    if row["state"] != "idle" or row["health"] not in ("ok", "degraded"):
        wrong.append(f"fleet status says {row['state']}, {row['health']}")
    return wrong


def report(seen: Sequence[Seen]) -> str:
    """Return the last line: how many cases, and how many of them ended in between."""
    return f"{len(seen)} cases, {sum(1 for each in seen if each.wrong)} half states"
