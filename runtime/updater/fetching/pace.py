"""A registry that gives a byte now and then is no registry: connections are ended that bring less than a least rate.

Looked at from a thread of its own: whoever reads may be waiting inside Python's HTTP for the rest of a line.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple

from runtime.updater.fetching.errors import UpstreamError

#: Bytes a second over so many seconds, counted while a connection is open. A link of 2G brings five times as much.
LEAST_BYTES_PER_S, LEAST_OVER_S = 1024, 90.0
LOOK_S = 1.0
_HINT = "check the registry and the robot's link; what came is kept, and the next attempt continues there"


class Pace:
    """One for all connections of a fetch. ``moved``: says how many bytes came so far."""

    def __init__(
        self,
        moved: Callable[[], int],
        least: int = LEAST_BYTES_PER_S,
        over_s: float = LEAST_OVER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slow: Optional[UpstreamError] = None
        """Why nothing more is read; set once."""
        self._moved, self._least, self._over_s, self._clock = moved, least, over_s, clock
        self._lock = threading.Lock()
        self._open: Dict[Any, Optional[socket.socket]] = {}
        self._busy_s, self._looked = 0.0, clock()
        self._samples: Deque[Tuple[float, int]] = deque([(0.0, moved())])

    def watch(self, stop: threading.Event) -> None:
        """Look every second until ``stop`` is set, or the registry is too slow. For a thread."""
        while self.slow is None and not stop.wait(LOOK_S):
            self.look()

    def opened(self, connection: Any, line: Optional[socket.socket] = None) -> None:
        """Count the time from now on. ``connection``: an ``http.client.HTTPConnection``.

        ``line``: its socket, once there is one. The connection gives it away where the answer is to be the last one
        (`Connection: close`, HTTP/1.0), and the answer that reads on cannot be asked for it.
        """
        with self._lock:
            self._open[connection] = line

    def closed(self, connection: Any) -> None:
        """Count it no more. Twice is fine."""
        with self._lock:
            self._open.pop(connection, None)

    def look(self) -> None:
        """Take one sample; hang up everywhere when too little came."""
        with self._lock:
            now = self._clock()
            passed, self._looked = now - self._looked, now
            if not self._open:
                return
            self._busy_s += passed
            moved = self._moved()
            self._samples.append((self._busy_s, moved))
            while len(self._samples) > 1 and self._busy_s - self._samples[1][0] >= self._over_s:
                self._samples.popleft()
            busy_s, before = self._samples[0]
            span_s = self._busy_s - busy_s
            if span_s < self._over_s or moved - before >= self._least * span_s:
                return
            text = "the registry gave {} bytes in {:.0f} s, less than {} bytes a second"
            self.slow = UpstreamError(text.format(moved - before, span_s, self._least), _HINT, transient=True)
            for connection, line in list(self._open.items()):
                _hang_up(line or connection.sock)


def _hang_up(line: Optional[socket.socket]) -> None:
    try:
        if line is not None:
            line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed, or not open yet: its own deadline ends it
