"""Robots as their reports show them: every page of a hub is read with care, and each report held against the pins.

A hub that hides, replays, mixes up or never ends is seen here. What it shows counts only where the robot's pinned key
signed it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.errors import HubError
from fleet.parallel import REQUESTS, side_by_side
from fleet.plan.observed import Observed
from fleet.ports import HubClient, HubRow
from fleet.signing.reports import FORGED, NONE, RETIRED, STALE, UNPINNED, VERIFIED, ReportVerdict, judge_report
from runtime.contract.printable import printable
from runtime.contract.robot.desired import Pins

_ONE_BY_ONE = 8
"""So few robots are asked for by name; more come in pages."""
_STRANGERS = 5000
"""Robots beyond those pinned and asked for that a hub may list."""
HINTS = {
    UNPINNED: "compare the fingerprint with the one at the robot (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)",
    FORGED: "find out who writes to the hub; a reinstalled robot has a new key: fleet enroll accept",
    RETIRED: "take it out of the manifest, or accept its key again: fleet enroll accept",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What reports are held against."""

    pins: Pins
    now: float
    """Unix seconds of our clock."""
    reachable_s: float
    """An older report is stale."""
    known: Mapping[str, int]
    """Robot → highest sequence that was seen before."""


def read_reports(hub: HubClient, robots: Sequence[str], asked: Asked) -> dict[str, ReportVerdict]:
    """Return what is to be thought of each robot's newest report. Raises HubError for a hub that cannot be asked."""
    if len(robots) <= _ONE_BY_ONE:
        found = side_by_side(hub.robot, robots, workers=REQUESTS)
        rows = {name: row for name, row in zip(robots, found, strict=True) if row is not None}
        unreadable: dict[str, str] = {}
        for name, row in rows.items():
            if row.robot != name:
                unreadable[name] = f"the hub answers with {printable(row.robot, 64)}"
    else:
        rows, unreadable = _pages(hub, len(asked.pins.robots) + len(robots) + _STRANGERS)
    return {name: _judged(name, rows, unreadable, asked) for name in robots}


def _judged(name: str, rows: Mapping[str, HubRow], unreadable: Mapping[str, str], asked: Asked) -> ReportVerdict:
    if name in unreadable:
        return ReportVerdict(name, FORGED, f"what the hub shows for it is no report: {unreadable[name]}")
    row = rows.get(name)
    verdict = judge_report(
        name,
        row.envelope if row is not None else None,
        asked.pins,
        now=asked.now,
        reachable_s=asked.reachable_s,
        known=asked.known,
    )
    came_now = row is not None and row.received_at is not None and asked.now - row.received_at < asked.reachable_s
    if verdict.standing == STALE and verdict.report is not None and verdict.report.at < asked.now and came_now:
        # Words alone: the hub is not believed, and the robot's own time is what was signed.
        words = f"{verdict.problem}, and came to the hub just now: is the robot's clock behind?"
        verdict = dataclasses.replace(verdict, problem=words)
    return verdict


def _pages(hub: HubClient, most: int) -> tuple[dict[str, HubRow], dict[str, str]]:
    """Read every page. Names only ever grow: a hub that repeats itself, or never ends, is left with HubError."""
    rows: dict[str, HubRow] = {}
    unreadable: dict[str, str] = {}
    after = ""
    while True:
        page = hub.robots(after)
        for row in page.rows:
            rows.setdefault(row.robot, row)
        unreadable.update(page.unreadable)
        if page.next is None:
            return rows, unreadable
        if page.next <= after or not (page.rows or page.unreadable):
            raise HubError(f"the hub {hub.url} repeats its list of robots", hint="see what answers there")
        if len(rows) + len(unreadable) > most:
            raise HubError(
                f"the hub {hub.url} lists more than {most} robots, and has no end", hint="see what answers there"
            )
        after = page.next


def as_observed(verdict: ReportVerdict) -> Observed:
    """Return a robot as a plan sees it: one whose report does not count was not reached, or cannot be asked.

    Of one whose report is stale its last words are there too, and it counts as not reached.
    """
    report = verdict.report
    if verdict.standing == VERIFIED and report is not None:
        return Observed(
            verdict.robot,
            True,
            state=report.attestation.state,
            attestation=report.attestation,
            fetched_at=report.at,
            pull=report.pull,
        )
    away = verdict.standing in (STALE, NONE)
    return Observed(
        verdict.robot,
        not away,
        verdict.problem,
        "" if away else HINTS.get(verdict.standing, ""),
        needs_bootstrap=verdict.standing == UNPINNED,
        state=report.attestation.state if report is not None else None,
        attestation=report.attestation if report is not None else None,
        fetched_at=report.at if report is not None else 0.0,
        pull=report.pull if report is not None else None,
    )
