"""Waiting, always to a deadline, always for something that has a name."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleetbox.spec import LabError

Probe = Callable[[], str | None]
"""Returns None when the thing is there, else one line that says why not yet."""

POLL_S = 0.2


def wait_for(what: str, probe: Probe, deadline_s: float, hint: str = "") -> float:
    """Call ``probe`` until it returns None; return the seconds it took. Raises LabError at the deadline."""
    started = time.monotonic()
    while True:
        reason = probe()
        waited = time.monotonic() - started
        if reason is None:
            return waited
        if waited >= deadline_s:
            raise LabError(f"waited {deadline_s:.0f} s for {what}: {reason}", hint)
        time.sleep(POLL_S)
