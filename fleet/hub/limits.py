"""How much one sender may ask of the hub: buckets of tokens, bounded in number."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What the hub takes from others before it says no."""

    address_rate: float = 200.0
    """Requests a second of one address; many robots may stand behind one (NAT, a proxy)."""
    address_burst: float = 2000.0
    robot_rate: float = 0.5
    """Reports a second of one robot, once its signature fits."""
    robot_burst: float = 60.0
    body_s: float = 30.0
    """How long a body may take to arrive."""
    header_s: float = 15.0
    """How long a request's head may take to arrive, and a connection may be open without one."""
    connections: int = 4000
    page: int = 500
    """Robots of one answer."""
    page_bytes: int = 8 * 1024 * 1024
    """Of one answer, more or less: the last report of it may go beyond."""


class Buckets:
    """Tokens by sender. Not for several threads."""

    def __init__(self, rate: float, burst: float, monotonic: Callable[[], float], most: int = 20000) -> None:
        self._rate, self._burst, self._most = rate, burst, most
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str) -> int:
        """Take a token; return 0, or in how many seconds there is one."""
        now = self._monotonic()
        left, at = self._left.pop(sender, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[sender] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
        if len(self._left) > self._most:  # the one that was silent longest
            self._left.popitem(last=False)
        return 0 if left >= 1.0 else max(1, math.ceil((1.0 - left) / self._rate))
