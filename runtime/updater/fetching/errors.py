"""What can go wrong between the robot and the registry."""

from __future__ import annotations


class UpstreamError(Exception):
    """The registry, or the way to it. ``transient``: trying again may help, ``after_s`` seconds from now or later."""

    def __init__(self, message: str, hint: str = "", transient: bool = False, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.message = message
        self.hint = hint
        self.transient = transient


class Cannot(Exception):
    """Only the Engine itself can fetch this: a sentence that says why."""


class Stopped(Exception):
    """The fetch is being ended."""
