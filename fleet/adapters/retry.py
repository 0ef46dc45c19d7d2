"""How patiently something outside is asked again: one policy and one loop for all adapters."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently."""

    tries: int = 4
    base_s: float = 0.5
    """Before the second try; doubles each time, plus up to half of it at random."""
    cap_s: float = 15.0
    """No single wait is longer, whatever Retry-After says."""

    def wait_s(self, failures: int, retry_after_s: float | None = None) -> float:
        """Return seconds to wait after so many failures in a row."""
        backoff = self.base_s * 2.0 ** (failures - 1) * (1 + random.random() / 2)  # noqa: S311  (jitter, no secret)
        return min(max(backoff, retry_after_s or 0.0), self.cap_s)


def retried(attempt: Callable[[], T], transient: type[E], tries: int, pause: Callable[[int, E], None]) -> T:
    """Return what ``attempt`` returns; after an error that may pass, ``pause(failures, error)`` and try again.

    The error of the last of ``tries`` is raised, and every other error at once.
    """
    for failures in range(1, tries + 1):
        try:
            return attempt()
        except transient as error:  # noqa: PERF203
            if failures == tries:
                raise
            pause(failures, error)
    raise AssertionError("unreachable: the last try raises")
