"""Reading sysfs and procfs: small files that may be missing, forbidden, empty, or not ready to answer."""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 16 * 1024
"""More than any of these files holds; /proc/meminfo has 2 KB."""


def read_text(path: Path) -> str | None:
    """Return a file's text without the whitespace around it, or None when it cannot be read now.

    By file descriptor: a thermal zone of a powered-off engine answers EAGAIN on Jetson, which Python's buffered files
    turn into a TypeError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, MAX_BYTES).decode("utf-8", "replace").strip("\0 \t\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_int(path: Path) -> int | None:
    """Return a file's number, or None when it holds none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def entries(folder: Path, prefix: str = "") -> list[Path]:
    """Return what a folder holds, ``zone2`` before ``zone10``; empty when it cannot be read."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]  # noqa: PTH208 - a third of the cost
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]
