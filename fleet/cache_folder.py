"""Where the operator's cache lies: what can be made or fetched again, so that it may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path

from fleet.errors import OutsideError


def cache_dir() -> Path:
    """Return ``$XDG_CACHE_HOME/jetfleet``, by default ``~/.cache/jetfleet``. Raises OutsideError without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "jetfleet"
    except RuntimeError as error:
        raise OutsideError(
            "this user has no home folder for a cache", hint="set XDG_CACHE_HOME to a folder that you may write"
        ) from error
