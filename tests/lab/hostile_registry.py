"""A registry that somebody took over, between a robot and the real one. Not a test module."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HONEST, OTHER_BYTES, ENDLESS, MANIFEST, ELSEWHERE = "honest", "other bytes", "endless", "endless manifest", "elsewhere"
DRIP = "drip"
"""A byte a second, for ever: never silent, and never done."""
STORE = "/store/"
"""Where ``elsewhere`` leads: asks for a password."""
KEPT = ("Content-Type", "Docker-Content-Digest", "Content-Range", "Docker-Distribution-Api-Version")


class HostileRegistry(ThreadingHTTPServer):
    """Passes on what is asked of the real registry at ``real``; ``mode`` says what becomes of blobs and manifests."""

    daemon_threads = True

    def __init__(self, address: str, real: str) -> None:
        self.real, self.mode = real, HONEST
        self.spoiled: list[str] = []
        """Paths of which the answer was not the real one."""
        self.told: list[str] = []
        """Authorization headers that came."""
        super().__init__((address, 0), _Handler)

    @property
    def address(self) -> str:
        return f"{self.server_address[0]!s}:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Robots hang up: on TLS that is none, and on what they do not want."""


class _Handler(BaseHTTPRequestHandler):
    server: HostileRegistry

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        return

    def _answer(self) -> None:
        authorization = self.headers.get("Authorization")
        if authorization:
            self.server.told.append(authorization)
        if self.path.startswith(STORE):
            self._ends(401, {"WWW-Authenticate": 'Basic realm="store"', "Content-Length": "0"})
            return
        mode, get = self.server.mode, self.command == "GET"
        blob, manifest = get and "/blobs/" in self.path, get and "/manifests/" in self.path
        if mode == ELSEWHERE and blob:
            self.server.spoiled.append(self.path)
            self._ends(307, {"Location": f"http://{self.server.address}{STORE}", "Content-Length": "0"})
        elif (mode == ENDLESS and blob) or (mode == MANIFEST and manifest):
            self.server.spoiled.append(self.path)
            self._ends(200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" " * 65536)
        elif mode == DRIP and blob:
            self.server.spoiled.append(self.path)
            self._ends(200, {"Content-Type": "application/octet-stream", "Content-Length": "40000000"})
            with contextlib.suppress(OSError):
                while self.server.mode == DRIP:
                    self.wfile.write(b"x")
                    time.sleep(1.0)
        else:
            self._pass_on(mode == OTHER_BYTES and blob)

    def _ends(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _pass_on(self, spoil: bool) -> None:
        asked = {name: ", ".join(self.headers.get_all(name, ())) for name in ("Accept", "Range")}
        connection = http.client.HTTPConnection(self.server.real, timeout=60)
        try:
            connection.request(self.command, self.path, headers={name: value for name, value in asked.items() if value})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if spoil and answer.status in (200, 206):
            self.server.spoiled.append(self.path)
            body = bytes(byte ^ 0xFF for byte in body)
        length = answer.getheader("Content-Length") or str(len(body))
        kept = {name: value for name in KEPT if (value := answer.getheader(name))}
        self._ends(answer.status, {**kept, "Content-Length": length})
        self.wfile.write(body)


@contextlib.contextmanager
def hostile_registry(address: str, real: str) -> Iterator[HostileRegistry]:
    """Run one on ``address`` until the end of the block."""
    server = HostileRegistry(address, real)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10.0)
