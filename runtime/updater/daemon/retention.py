"""Which releases stay on the robot's disk because somebody said so. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from runtime.contract.robot.update import RunningRelease
from runtime.updater.state.records import Journal
from runtime.updater.state.transitions import kept_releases
from runtime.updater.transaction.update_state import Rejected


def pinned(journal: Journal, name: str) -> Journal:
    """Keep a release until it is unpinned: ``current``, ``previous``, or a version on disk. Raises Rejected."""
    release = _named(journal, name)
    if release is None:
        there = sorted({kept.version for kept in kept_releases(journal)})
        hint = "on it: {}".format(", ".join(there)) if there else "roll one out first"
        raise Rejected("refused", "there is no release {} on this robot's disk".format(name), hint)
    if release in journal.pinned:
        return journal
    return replace(journal, pinned=(*journal.pinned, release))


def unpinned(journal: Journal, version: str) -> Journal:
    """Keep a release no longer; it goes with the next cleaning unless something else needs it. Raises Rejected."""
    left = tuple(release for release in journal.pinned if release.version != version)
    if left == journal.pinned:
        there = ", ".join(release.version for release in journal.pinned)
        raise Rejected("refused", "{} is not pinned".format(version), "pinned: {}".format(there or "nothing"))
    return replace(journal, pinned=left, tidy_due=True)


def _named(journal: Journal, name: str) -> Optional[RunningRelease]:
    if name in ("current", "previous"):
        found: Optional[RunningRelease] = journal.current if name == "current" else journal.previous
        return found
    return next((release for release in kept_releases(journal) if release.version == name), None)
