"""A TCP link to a real server that breaks after so many bytes."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class BreakingLink:
    """Forwards connections; the first ones break (RST towards the server's side too) after their number of bytes."""

    def __init__(self, target: str, after_bytes: Sequence[int], at_patch: int | None) -> None:
        self._patches_left = at_patch
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._left = list(after_bytes)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.broken = 0
        self.carried_up = 0

    def serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._carry, args=(client,))
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self._stop.is_set():
                for key, _ in selector.select(0.05):
                    assert isinstance(key.fileobj, socket.socket)
                    if not self._forward(key.fileobj, key.data, upwards=key.fileobj is client):
                        return

    def _forward(self, source: socket.socket, sink: socket.socket, *, upwards: bool) -> bool:
        try:
            data = source.recv(1 << 16)
            if upwards and self._swallows(data):
                return False
            sink.sendall(data)
        except OSError:
            return False
        return bool(data) and not (upwards and self._wears_out(len(data)))

    def _swallows(self, data: bytes) -> bool:
        """A client waits for the answer before its next request: each begins what is received."""
        if self._patches_left is None or not data.startswith(b"PATCH "):
            return False
        self._patches_left -= 1
        if self._patches_left:
            return False
        self._patches_left = None
        self.broken += 1
        return True

    def _wears_out(self, count: int) -> bool:
        self.carried_up += count
        if not self._left or count <= 1024:  # only bodies wear the link down
            return False
        self._left[0] -= count
        if self._left[0] >= 0:
            return False
        self._left.pop(0)
        self.broken += 1
        return True


@contextmanager
def breaking_link(
    target: str, *, after_bytes: Sequence[int] = (), at_patch: int | None = None
) -> Iterator[BreakingLink]:
    """Run one for the length of the block: breaks after so many bytes, or at the so-manieth PATCH, which is lost."""
    link = BreakingLink(target, after_bytes, at_patch)
    thread = threading.Thread(target=link.serve)
    thread.start()
    try:
        yield link
    finally:
        link.close()
        thread.join(timeout=10)
        link.listener.close()
