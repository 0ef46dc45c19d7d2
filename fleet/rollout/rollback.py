"""Which release to go back to. The way back is the way there: `run.roll_out` with the earlier release. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.errors import UsageError
from fleet.rollout.audit import ROLLBACK, ROLLOUT, SUCCEEDED, AuditRecord

_NOTHING = "nothing is published yet: run fleet publish"


def choose_target(history: Sequence[AuditRecord], published: Sequence[str], version: str | None = None) -> str:
    """Return the version to go back to: ``version`` where given, else the one before the last that succeeded.

    ``history`` is newest first. Only rollouts of the whole fleet that succeeded count; a rollback takes everything
    after its target off the list, so going back twice goes back two versions. Raises UsageError.
    """
    if version is not None:
        if version not in published:
            raise UsageError(
                f"version {version} is not published; published are {_listed(published)}",
                hint="fleet history shows what ran when" if published else _NOTHING,
            )
        return version
    path = _path(history)
    for candidate in reversed(path[:-1]):
        if candidate in published:
            return candidate
    raise UsageError(
        f"there is no earlier successful rollout to go back to (published are {_listed(published)})",
        hint="name the version: fleet rollback VERSION" if published else _NOTHING,
    )


def _path(history: Sequence[AuditRecord]) -> list[str]:
    """Return the versions that led to the present one, oldest first, each once."""
    path: list[str] = []
    for record in reversed(history):
        if record.kind not in (ROLLOUT, ROLLBACK) or record.outcome != SUCCEEDED or record.selector:
            continue
        if record.version in path:
            del path[path.index(record.version) :]
        path.append(record.version)
    return path


def _listed(versions: Sequence[str]) -> str:
    return ", ".join(versions[-8:]) if versions else "none"
