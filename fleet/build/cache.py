"""Locks in the operator's cache: what is fetched or made there is fetched or made once."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleet.cache_folder import cache_dir
from fleet.errors import OutsideError

GiveUp = Callable[[], bool]

_POLL_S = 0.2


@contextmanager
def locked(name: str, what: str, *, deadline_s: float, give_up: GiveUp = lambda: False) -> Iterator[None]:
    """Hold the lock ``name`` of this machine's user. Raises OutsideError when another process keeps it too long.

    ``give_up`` is asked while waiting; when it says yes, OutsideError too.

    The kernel lets go of it when the process dies, whatever the reason.
    """
    path = cache_dir() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise OutsideError(
            f"cannot write to the cache {cache_dir()}: {error}",
            hint="set XDG_CACHE_HOME to a folder that you may write",
        ) from error
    with file:
        _acquire(file.fileno(), what, deadline_s, give_up)
        yield


def is_locked(name: str) -> bool:
    """Say whether some process of this machine's user holds the lock ``name`` now."""
    try:
        with (cache_dir() / "locks" / f"{name}.lock").open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _acquire(descriptor: int, what: str, deadline_s: float, give_up: GiveUp) -> None:
    ends = time.monotonic() + deadline_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= ends or give_up():
                raise OutsideError(
                    f"another fleet process on this machine is still working on {what}",
                    hint="wait for it, or find it with `ps aux | grep fleet` and stop it",
                ) from error
        time.sleep(_POLL_S)
