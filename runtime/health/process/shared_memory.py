"""Removes what dead processes left in /dev/shm: Fast DDS segments are RAM, and a killed node frees none of it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

SHM_DIR = Path("/dev/shm")  # noqa: S108 - where Fast DDS keeps them
#: Lock file of one participant's segment, or of a port's reader.
#: ``fastrtps_`` is Fast DDS 2 (Humble), ``fastdds_`` is Fast DDS 3.
_LOCK_NAME = re.compile(r"(?:fastrtps|fastdds)_(?:[0-9a-f]{16}|port[0-9]+)_el")
MIN_AGE_S = 2.0
"""A younger file may belong to a participant that has not locked it yet."""
MAX_FILES = 4096


def remove_leftovers(directory: Path = SHM_DIR, *, min_age_s: float = MIN_AGE_S) -> int:
    """Delete segments whose owner is dead, and return the bytes freed.

    The owner holds an exclusive ``flock`` on ``<segment>_el`` for as long as it lives, in whatever container: a lock
    that can be taken is a lock nobody holds.

    The same goes for ports, of which the next node takes that of the last one. Fast DDS would use the dead reader's
    port again. Seen with 3.x: when the reader had hung for 5 s before its end, the next one stayed deaf ("Failed
    init_port …: open_and_lock_file failed", 0 of 10 frames back to itself). A port that is gone is made again.
    """
    freed = 0
    try:
        locks = sorted(path for path in directory.iterdir() if _LOCK_NAME.fullmatch(path.name))
    except OSError:
        return 0
    for lock in locks[:MAX_FILES]:
        freed += _remove_if_dead(lock, min_age_s)
    return freed


def _remove_if_dead(lock: Path, min_age_s: float) -> int:
    segment = lock.with_name(lock.name[: -len("_el")])
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's
        return 0
    try:
        if time.time() - os.fstat(descriptor).st_mtime < min_age_s:
            return 0
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = segment.stat().st_blocks * 512 if segment.exists() else 0
        segment.unlink(missing_ok=True)
        segment.with_name(f"sem.{segment.name}_mutex").unlink(missing_ok=True)  # a port's
        lock.unlink(missing_ok=True)
    except OSError:  # locked: its owner lives
        return 0
    finally:
        os.close(descriptor)
    return size
