"""A hub in memory, and one that lies. `fleet.ports.HubClient` without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from fleet.errors import HubError
from fleet.ports import HubPage, HubRow, WaitingRobot
from fleet.signing.ssh_signature import read_key
from runtime.contract.node.report import SignedReport
from runtime.contract.robot.desired import Pins
from tests.fakes.clock import FakeClock


class FakeHub:
    """Keeps the newest report of each robot and key, as a hub does."""

    def __init__(self, clock: FakeClock | None = None, *, url: str = "https://hub.test:8443") -> None:
        self.url = url
        self.clock = clock or FakeClock()
        self.pins: Pins | None = None
        self.down = ""
        """Why it does not answer."""
        self.asked = 0
        self.lie: Callable[[HubRow], HubRow] = lambda row: row
        self._rows: dict[tuple[str, str], tuple[float, HubRow]] = {}

    def post(self, envelope: SignedReport) -> None:
        """Take a report, as POST /v1/reports does with one that it keeps."""
        which = (envelope.robot, read_key(envelope.key).fingerprint)
        first, before = self._rows.get(which, (self.clock.now(), None))
        if before is None or before.envelope is None or before.envelope.sequence < envelope.sequence:
            self._rows[which] = (first, HubRow(envelope.robot, self.clock.now(), envelope))

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        self._answer()
        pinned = set(self.pins.robots) - set(self.pins.retired) if self.pins else set()
        names = sorted(name for name in {robot for robot, _ in self._rows} | pinned if name > after)
        rows = tuple(self.lie(self._shown(name)) for name in names[:limit])
        return HubPage(rows, names[limit - 1] if len(names) > limit else None)

    def robot(self, name: str) -> HubRow | None:
        self._answer()
        row = self._shown(name)
        known = row.envelope is not None or (self.pins is not None and name in self.pins.robots)
        return self.lie(row) if known else None

    def waiting(self) -> tuple[WaitingRobot, ...]:
        self._answer()
        found = []
        for (name, fingerprint), (first, row) in self._rows.items():
            pinned = self._pinned(name)
            if fingerprint != pinned and not (self.pins and name in self.pins.retired):
                found.append(WaitingRobot(name, fingerprint, first, row.received_at or 0.0, pinned or None, _key(row)))
        return tuple(sorted(found, key=lambda each: (each.first_seen_at, each.robot)))

    def _shown(self, name: str) -> HubRow:
        kept = [(first, which[1], row) for which, (first, row) in self._rows.items() if which[0] == name]
        pinned = self._pinned(name)
        if pinned:
            kept = [each for each in kept if each[1] == pinned]
        kept.sort(key=lambda each: each[:2])
        return dataclasses.replace(kept[0][2]) if kept else HubRow(name, None, None)

    def _pinned(self, name: str) -> str:
        key = self.pins.robots.get(name, "") if self.pins else ""
        return read_key(key).fingerprint if key else ""

    def _answer(self) -> None:
        self.asked += 1
        if self.down:
            raise HubError(f"the hub {self.url} cannot be asked: {self.down}", hint="start it")


def _key(row: HubRow) -> str:
    return row.envelope.key if row.envelope is not None else ""
