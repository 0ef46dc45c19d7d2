"""What readers are shown: the newest report of each robot, page by page, and who waits to be accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet.hub.limits import HubLimits
from fleet.hub.pinned import KnownPins, PinnedKeys
from fleet.hub.store import Kept, ReportStore, Row

MOST_HISTORY = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Robots in the order of their names."""

    rows: tuple[tuple[str, Row | None], ...]
    """Name, and what is known of it; None for a pinned robot that never reported."""
    more: bool
    etag: str


class Reading:
    """Answers readers from what is kept."""

    def __init__(self, store: ReportStore, pins: KnownPins, limits: HubLimits) -> None:
        self._store, self._pins, self._limits = store, pins, limits

    def page(self, after: str, limit: int) -> Page:
        """Return which robots follow ``after``, without their reports."""
        pins = self._pins.now()
        limit = max(1, min(limit, self._limits.page))
        known = self._known(after, limit + 1)
        names = set(known) | set(pins.after(after, limit + 1) if pins else ())
        chosen = sorted(names)[: limit + 1]
        rows = tuple((name, _shown(known.get(name, ()), pins)) for name in chosen[:limit])
        said = json.dumps([(name, row and (row.fingerprint, row.sequence, row.received_at)) for name, row in rows])
        etag = hashlib.sha256(f"{after} {limit} {said}".encode()).hexdigest()[:32]
        return Page(rows, len(chosen) > limit, f'"{etag}"')

    def _known(self, after: str, limit: int) -> dict[str, list[Row]]:
        """Return rows by name, of ``limit`` names at least where there are so many."""
        found: dict[str, list[Row]] = {}
        last = after
        while len(found) <= limit:
            rows = self._store.rows(last, self._limits.page)
            for row in rows:
                found.setdefault(row.name, []).append(row)
            if len(rows) < self._limits.page:
                break
            # The last name may have more rows than came: ask for it as a whole.
            last = rows[-1].name
            found[last] = self._store.rows(name=last, limit=self._limits.page)
        return found

    def document(self, page: Page) -> dict[str, Any]:
        """Return a page with its reports; it ends early where they are large."""
        robots: list[dict[str, Any]] = []
        size, step = 0, 50
        for at in range(0, len(page.rows), step):
            part = page.rows[at : at + step]
            kept = self._store.newest([row for _, row in part if row is not None])
            for name, row in part:
                found = kept.get((name, row.fingerprint)) if row is not None else None
                robots.append(_robot(name, found))
                size += len(found.envelope) if found else 100
                if size >= self._limits.page_bytes and len(robots) < len(page.rows):
                    return {"robots": robots, "next": name}
        return {"robots": robots, "next": page.rows[-1][0] if page.more else None}

    def robot(self, name: str) -> dict[str, Any] | None:
        """Return one robot; None when it is neither known nor pinned."""
        row, pinned = self._one(name)
        if row is None:
            return _robot(name, None) if pinned else None
        return _robot(name, self._store.newest([row]).get((name, row.fingerprint)))

    def history(self, name: str, limit: int) -> dict[str, Any] | None:
        """Return a robot's reports, newest first; None when it is neither known nor pinned."""
        row, pinned = self._one(name)
        if row is None:
            return {"robot": name, "reports": []} if pinned else None
        reports: list[dict[str, Any]] = []
        size = 0
        for kept in self._store.history(name, row.fingerprint, max(1, min(limit, MOST_HISTORY))):
            size += len(kept.envelope)
            if reports and size > self._limits.page_bytes:
                break
            reports.append({"received_at": kept.received_at, "envelope": json.loads(kept.envelope)})
        return {"robot": name, "reports": reports}

    def waiting(self) -> list[dict[str, Any]]:
        """Return the robots whose key no pin names, those that were seen first first."""
        pins, found, last = self._pins.now(), [], ""
        while True:
            rows = self._store.rows(last, self._limits.page)
            found += [row for row in rows if not _is_pinned(row, pins)]
            if len(rows) < self._limits.page:
                break
            found = [row for row in found if row.name != rows[-1].name]
            found += [
                row
                for row in self._store.rows(name=rows[-1].name, limit=self._limits.page)
                if not _is_pinned(row, pins)
            ]
            last = rows[-1].name
        found.sort(key=lambda row: (row.first_seen_at, row.name))
        found = found[: 2 * self._store.keep.strangers]
        kept = self._store.newest(found)
        return [
            {
                "robot": row.name,
                "fingerprint": row.fingerprint,
                "key": _key(kept.get((row.name, row.fingerprint))),
                "first_seen_at": row.first_seen_at,
                "received_at": row.received_at,
                "pinned": pins.fingerprint(row.name) or None if pins else None,
            }
            for row in found
        ]

    def _one(self, name: str) -> tuple[Row | None, bool]:
        pins = self._pins.now()
        rows = self._store.rows(name=name, limit=self._limits.page)
        return _shown(rows, pins), bool(pins and pins.fingerprint(name))


def _shown(rows: Sequence[Row], pins: PinnedKeys | None) -> Row | None:
    """Return the row of the pinned key; of a robot without a pin the one that was there first."""
    if not rows or pins is None or not pins.fingerprint(rows[0].name):
        return rows[0] if rows else None
    return next((row for row in rows if row.fingerprint == pins.fingerprint(row.name)), None)


def _is_pinned(row: Row, pins: PinnedKeys | None) -> bool:
    return pins is not None and (pins.fingerprint(row.name) == row.fingerprint or pins.retired(row.name))


def _key(kept: Kept | None) -> str:
    """Return the public key of an envelope; empty when it is gone meanwhile."""
    return "" if kept is None else str(json.loads(kept.envelope).get("key", ""))


def _robot(name: str, kept: Kept | None) -> dict[str, Any]:
    if kept is None:
        return {"robot": name, "received_at": None, "envelope": None}
    return {"robot": name, "received_at": kept.received_at, "envelope": json.loads(kept.envelope)}
