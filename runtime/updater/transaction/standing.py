"""What a robot's root and what it has seen mean for its state, as others are told it. Pure over what holds the root."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Protocol

from runtime.contract.robot.root import HeldRoot
from runtime.contract.robot.update import UpdateState
from runtime.updater.state.records import Journal
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.newest import why_stale


class HasRoot(Protocol):
    """What holds a robot's trust root: its world, or the folder alone."""

    def held_root(self) -> Optional[HeldRoot]:
        """See `runtime.updater.state.world.World.held_root`."""
        ...


def with_trust(state: UpdateState, journal: Journal, holder: HasRoot, now: float) -> UpdateState:
    """Return ``state`` with what the root says. A root that cannot be read is no consent to anything, and is told."""
    try:
        held = holder.held_root()
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
