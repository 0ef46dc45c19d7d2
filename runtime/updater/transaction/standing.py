"""What a robot's root and what it has seen mean for its state, as others are told it. Pure over what holds the root."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional

from runtime.contract.robot.root import HeldRoot, TrustRoot
from runtime.contract.robot.update import UpdateState
from runtime.updater.state.records import Journal
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, OLDEST_SANE_TIME
from runtime.updater.transaction.trust import at


def with_trust(
    state: UpdateState, journal: Journal, held_root: Callable[[], Optional[HeldRoot]], now: float
) -> UpdateState:
    """Return ``state`` with what the root says. A root that cannot be read is no consent to anything, and is told."""
    try:
        held = held_root()
    except WorldError as error:
        return replace(state, root_version=0, stale=error.message)
    root = None if held is None else held.root
    return replace(
        state,
        unsigned=root is not None and root.unsigned,
        root_version=0 if root is None else root.version,
        has_root=held is not None and bool(held.signed.statement),
        stale=why_stale(journal, root, now),
    )


def clock_trouble(journal: Journal, now: float) -> str:
    """Say why this robot's clock cannot tell what has expired; empty when nothing speaks against it."""
    if now < OLDEST_SANE_TIME:
        return "the robot's clock was never set: it says {}".format(at(now))
    floor, seen, desired = journal.floor, journal.newest, journal.desired
    newest = max(
        floor.accepted_at if floor else 0.0,
        seen.issued_at if seen else 0.0,
        desired.statement.issued_at if desired else 0.0,
    )
    if now < newest - MAX_CLOCK_DIFFERENCE_S:
        return "it is {} here, before the {} at which something was signed that this robot has".format(
            at(now), at(newest)
        )
    return ""


def why_stale(journal: Journal, root: Optional[TrustRoot], now: float) -> str:
    """Say why this robot does not know what the newest release is; empty when it does, or need not.

    An unsigned fleet, and one whose root says so (``max_newest_s`` of 0), have no such statement.
    """
    if root is None or root.unsigned or not root.version or root.max_newest_s <= 0.0:
        return ""
    trouble = clock_trouble(journal, now)
    if trouble:
        return "held: " + trouble
    seen = journal.newest
    if seen is None:
        return "no statement of the newest release was ever seen here" if journal.current is not None else ""
    if now > seen.expires_at:
        text = "the last statement of the newest release ({}, generation {}) expired at {}, {:.1f} days ago"
        late = (now - seen.expires_at) / 86400
        return text.format(seen.version, seen.generation, at(seen.expires_at), late)
    return ""
