"""Of the two containers that a robot may have, is it this one's turn to serve? The updater's token says so.

Read by the executor, which serves or stands by, and by the agent, which holds the TCP port only while it is our turn.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from runtime.contract.node.health import TurnHealth
from runtime.contract.node.serving import token_text
from runtime.health.process.supervisor import Snapshot

_MAX_BYTES = 64
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Token:
    """The updater's word, as the container of one slot reads it. For any thread."""

    def __init__(self, path: Path, slot: str) -> None:
        self._path, self.mine = path, token_text(slot).strip()
        self._named: bool | None = None

    @property
    def elsewhere(self) -> bool:
        """It names another container. Where there is no token, nobody hands over, and nobody is named."""
        try:
            with self._path.open("rb") as file:
                said = file.read(_MAX_BYTES).decode("ascii", "replace").strip()
        except FileNotFoundError:
            self._named = None
        except OSError:
            return self._named is False  # what it said last holds
        else:
            self._named = said == self.mine
        return self._named is False

    @property
    def there(self) -> bool:
        """Whether there was a token at the last look."""
        return self._named is not None


def turn_health(slot: str, process: Snapshot) -> TurnHealth:
    """The report's part about turns and memory."""
    status = process.status
    return TurnHealth(
        slot=slot,
        exclusive=status is not None and status.exclusive,
        standing_by="" if status is None else status.standing_by,
        memory_bytes=resident_bytes(pid for pid in (os.getpid(), process.pid) if pid is not None),
    )


def resident_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int | None:
    """Return the resident memory of processes together; None when one of them is gone."""
    try:
        return sum(int((proc / str(pid) / "statm").read_text("ascii").split()[1]) * _PAGE for pid in pids)
    except (OSError, ValueError, IndexError):
        return None
