"""CPUs for threads. Linux pins a thread, and what it starts later: an engine's own threads go where its loader is."""

from __future__ import annotations

import os
from collections.abc import Sequence


class Affinity:
    """Pins threads from inside of them, and remembers what could not be done."""

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: CPUs that this robot does not have."""
        return tuple(self._notes.values())

    def pin(self, what: str, cpus: Sequence[int]) -> None:
        """Pin the calling thread to ``cpus``; none means any. With one of them missing here nothing is pinned: half of
        a reservation is none. Never raises."""
        if not cpus:
            return
        try:
            here = os.sched_getaffinity(0)
            if missing := sorted(set(cpus) - here):
                self._notes[what] = (
                    f"{what} is not pinned: CPU {_listed(missing)} is not among this container's "
                    f"({_listed(sorted(here))}); correct resources in the manifest"
                )
                return
            os.sched_setaffinity(0, cpus)
            self._notes.pop(what, None)
        except OSError as error:
            self._notes[what] = f"{what} is not pinned to CPU {_listed(cpus)}: {error.strerror}"


def _listed(cpus: Sequence[int]) -> str:
    return ", ".join(str(cpu) for cpu in cpus)
