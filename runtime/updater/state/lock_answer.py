"""What the node's update lock says at one moment. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

FREE, HELD, SILENT = "free", "held", "silent"


@dataclass(frozen=True)
class LockAnswer:
    """What the lock says at one moment."""

    state: str
    """free | held | silent; only free lets an update begin."""
    reasons: Tuple[str, ...] = ()
    """One sentence each; for a person, and for the order's ``reason``."""
