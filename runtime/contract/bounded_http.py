"""HTTP servers on a robot, bounded: connections, threads, bytes of a request's head, seconds for each part of it.

Whoever can connect may be anybody on the machine. Python's own server gives each a thread of its own for as long as it
likes. Stdlib only and Python 3.8; imported by processes that serve HTTP, never by the updater's daemon.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn
from typing import Any, Dict, Optional

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 16 * 1024
TOO_LONG = b"HTTP/1.0 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"


class BoundedServer(ThreadingMixIn):
    """Mix in before a TCPServer or UnixStreamServer: at most ``max_connections`` threads.

    When all are taken, the connection that has been sending its request for the longest time makes room: many that say
    nothing do not keep one out that asks something.
    """

    daemon_threads = True
    request_queue_size = 128
    """Connections that the kernel holds until they are accepted."""
    max_connections = MAX_CONNECTIONS
    wait_s = 1.0
    """For a connection to end when there are too many; then the new one is hung up on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._counting = threading.Condition()
        self._open: Dict[Any, Optional[bool]] = {}
        """Connection → whether its request is still on the way, None: it was told to go; oldest first."""
        super().__init__(*arguments, **options)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own, or hang up where there are too many."""
        with self._counting:
            if len(self._open) >= self.max_connections:
                self._make_room()
            room = self._counting.wait_for(lambda: len(self._open) < self.max_connections, self.wait_s)
            if room:
                self._open[request] = True
        if room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and close it."""
        with self._counting:
            self._open.pop(request, None)
            self._counting.notify()
        super().shutdown_request(request)  # type: ignore[misc]

    def mark(self, request: Any, reading: bool) -> None:
        """Note whether the connection's request is on the way, or being answered."""
        with self._counting:
            if self._open.get(request) is not None:
                del self._open[request]
                self._open[request] = reading

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or is told to go, is no news; a defect is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[misc]

    def _make_room(self) -> None:
        oldest = next((request for request, reading in self._open.items() if reading), None)
        if oldest is None:
            return
        self._open[oldest] = None
        try:
            oldest.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it went by itself


class BoundedHandler(BaseHTTPRequestHandler):
    """Reads each request's head whole, within ``head_s`` and ``max_head_bytes``, before any of it is looked at."""

    head_s = 5.0
    """From the first byte awaited to the last of a head; also how long a connection may stay without a request."""
    answer_s = 5.0
    """For each write of an answer."""
    max_head_bytes = MAX_HEAD_BYTES

    def setup(self) -> None:
        """Read from the connection itself: a buffered file cannot keep a deadline."""
        super().setup()
        self.rfile.close()
        self._rest = b""

    def handle_one_request(self) -> None:
        """Read one head, then answer it."""
        mark = getattr(self.server, "mark", None)
        head = self._read_head()
        if head is None:
            self.close_connection = True
            return
        if mark is not None:
            mark(self.connection, False)
        self.rfile = io.BytesIO(head)
        self.connection.settimeout(self.answer_s)
        super().handle_one_request()
        if mark is not None:
            mark(self.connection, True)

    def _read_head(self) -> Optional[bytes]:
        deadline = time.monotonic() + self.head_s
        found = bytearray(self._rest)
        while True:
            end = _end_of_head(found)
            if end:
                self._rest = bytes(found[end:])
                return bytes(found[:end])
            left = deadline - time.monotonic()
            if left <= 0.0:
                return None
            try:
                if len(found) > self.max_head_bytes:
                    self.connection.settimeout(left)
                    self.connection.sendall(TOO_LONG)
                    return None
                self.connection.settimeout(left)
                piece = self.connection.recv(4096)
            except OSError:
                return None
            if not piece:
                return None
            found += piece


def _end_of_head(found: bytearray) -> int:
    """Return how many bytes a whole head has; 0 while it is not whole."""
    ends = [at + len(mark) for mark in (b"\r\n\r\n", b"\n\n") for at in (found.find(mark),) if at >= 0]
    return min(ends, default=0)
