"""How a process ended, for a person."""

from __future__ import annotations

import signal

_MEANING = {
    102: ", by ROS: the middleware that RMW_IMPLEMENTATION names is not in this image",
    4: ", abandoned at its own deadline",
    -signal.SIGBUS: ", a mapped file had no memory: is /dev/shm full?",
}
"""What exit codes of the executor (runtime.executor.main) and of rcl (102, rmw_implementation_identifier_check.c), and,
below 0, signals say beyond the number."""


def describe_exit(code: int, why: str) -> str:
    """Return a sentence for an exit code as ``subprocess`` gives it; ``why``: what is known beyond it, or nothing."""
    how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
    how += _MEANING.get(code, "")
    return f"{how} ({why})" if why else how


def _signal_name(number: int) -> str:
    """The real-time signals between the first and the last have no names."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)
