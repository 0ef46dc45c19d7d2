"""Which release to go back to. The way back is the way there: `run.roll_out` with the earlier release. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import UsageError
from fleet.rollout.audit import ROLLBACK, ROLLOUT, SUCCEEDED, AuditRecord, committed, ran

_NOTHING = "nothing is published yet: run fleet publish"


def choose_target(history: Sequence[AuditRecord], published: Sequence[str], version: str | None = None) -> str:
    """Return the version to go back to: ``version`` where given, else the one before the last that succeeded.

    ``history`` is newest first. Only rollouts of the whole fleet that succeeded count, and only those that robots
    committed; a rollback takes everything after its target off the list, so going back twice goes back two versions.
    Where the newest rollout failed and yet left robots on its version, the last that succeeded is the target.
    Raises UsageError.
    """
    ran = [each for each in published if each in versions_committed(history)]
    if version is not None:
        if version not in published:
            raise UsageError(
                f"version {version} is not published; {_listed(ran)}",
                hint="fleet history shows what ran when" if published else _NOTHING,
            )
        return version
    path = _path(history)
    for candidate in reversed(path if _left_behind(history, path) else path[:-1]):
        if candidate in published:
            return candidate
    raise UsageError(
        f"there is no earlier successful rollout to go back to ({_listed(ran)})",
        hint="name the version: fleet rollback VERSION" if published else _NOTHING,
    )


def versions_committed(history: Sequence[AuditRecord]) -> frozenset[str]:
    """Return the versions that a robot committed in one of these rollouts, of the whole fleet or of some robots."""
    return frozenset(record.version for record in history if record.kind in (ROLLOUT, ROLLBACK) and ran(record))


def _path(history: Sequence[AuditRecord]) -> list[str]:
    """Return the versions that led to the present one, oldest first, each once."""
    path: list[str] = []
    for record in reversed(history):
        if not _of_the_fleet(record) or record.outcome != SUCCEEDED or not ran(record):
            continue
        if record.version in path:
            del path[path.index(record.version) :]
        path.append(record.version)
    return path


def _left_behind(history: Sequence[AuditRecord], path: Sequence[str]) -> bool:
    """Say whether the newest rollout did not succeed, and robots are on its version all the same."""
    newest = next((record for record in history if _of_the_fleet(record) and committed(record)), None)
    return newest is not None and newest.outcome != SUCCEEDED and newest.version not in path[-1:]


def _of_the_fleet(record: AuditRecord) -> bool:
    return record.kind in (ROLLOUT, ROLLBACK) and not record.selector


def _listed(versions: Sequence[str]) -> str:
    if not versions:
        return "robots committed none yet"
    return f"published, and committed by robots, are {', '.join(versions[-8:])}"
