"""A registry on 127.0.0.1 for this robot's Engine: what it asks for is brought, checked, and then given."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import threading
from http.server import HTTPServer
from typing import Any, Dict

from runtime.contract.bounded_http import BoundedHandler, BoundedServer
from runtime.updater.fetching.download import Download, Downloads
from runtime.updater.fetching.errors import Stopped, UpstreamError
from runtime.updater.fetching.peer import Kernel
from runtime.updater.robot.throwaway_name import REPOSITORY
from runtime.updater.storage.blob_store import BlobStore

_PATH = re.compile(r"/v2/([a-z0-9/-]{1,100})/(manifests|blobs)/(sha256:[0-9a-f]{64})(?:\?[!-~]{0,200})?")
_RANGE = re.compile(r"bytes=(\d{1,18})-", re.ASCII)
_PIECE = 256 * 1024


class Loopback:
    """Serves until :meth:`close`. ``asked``: how many requests came, to tell an Engine that does not reach us.

    Answered are root and the user of this process, by the kernel's word, and under a name that only this fetch and its
    Engine know: other users of the robot, and containers in its network, get nothing and end nothing.
    """

    def __init__(self, downloads: Downloads, store: BlobStore) -> None:
        self.asked = 0
        self.error: Exception = Stopped()
        self.failed = threading.Event()
        self.repository = "{}/{}".format(REPOSITORY, secrets.token_hex(16))
        """Under which the Engine asks."""
        handler = type("Handler", (_Handler,), {"loopback": self, "downloads": downloads, "store": store})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = "127.0.0.1:{}".format(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="loopback", daemon=True).start()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._server.connections

    def fail(self, error: Exception) -> None:
        """Remember why the Engine did not get what it asked for."""
        if not self.failed.is_set():
            self.error = error
            self.failed.set()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(BoundedServer, HTTPServer):
    allowed = frozenset((0, os.geteuid()))
    kernel = Kernel()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take connections of root and of ourselves alone."""
        return self.kernel.uid_of(client_address[:2], request.getsockname()[:2]) in self.allowed


class _Handler(BoundedHandler):
    protocol_version = "HTTP/1.1"
    head_s = 60.0
    answer_s = 120.0
    loopback: Loopback
    downloads: Downloads
    store: BlobStore

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing; the Engine tries TLS first, which is no request."""

    def do_HEAD(self) -> None:  # noqa: N802
        """As GET, without the body."""
        self._serve()

    def do_GET(self) -> None:  # noqa: N802
        """Answer /v2/, manifests and blobs by digest."""
        self._serve()

    def _serve(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # nobody reads a body here
        if self.path.rstrip("/") == "/v2":
            self.loopback.asked += 1
            return self._answer(200, {"Content-Type": "application/json"}, b"{}")
        match = _PATH.fullmatch(self.path)
        if match is None or not hmac.compare_digest(match.group(1), self.loopback.repository):
            return self._answer(404, {}, b"")
        self.loopback.asked += 1
        kind, digest = match.group(2), match.group(3)
        if kind == "manifests" and not self.downloads.knows_manifest(digest):
            return self._answer(404, {}, b"")
        try:
            return self._manifest(digest) if kind == "manifests" else self._blob(digest)
        except (UpstreamError, Stopped, OSError) as error:
            if not isinstance(error, ConnectionError):
                self.loopback.fail(error)
            self.close_connection = True

    def _manifest(self, digest: str) -> None:
        kind, body = self.downloads.manifest(digest)
        self._answer(200, {"Content-Type": kind, "Docker-Content-Digest": digest}, body)

    def _blob(self, digest: str) -> None:
        download = self.downloads.blob(digest)
        if download is None:
            self._answer(404, {}, b"")
            return
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = min(int(match.group(1)), download.size) if match else 0
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        if match:
            headers["Content-Range"] = "bytes {}-{}/{}".format(start, download.size - 1, download.size)
        self._head(206 if match else 200, headers, download.size - start)
        if self.command == "GET":
            self._send(download, start)

    def _send(self, download: Download, start: int) -> None:
        """Wait until the blob is whole and checked: the Engine gets no byte that is not."""
        self.wfile.flush()
        download.ended.wait()
        if download.error is not None:
            raise download.error
        with self.store.whole(download.digest).open("rb") as file:
            file.seek(start)
            for piece in iter(lambda: file.read(_PIECE), b""):
                self.wfile.write(piece)

    def _answer(self, status: int, headers: Dict[str, str], body: bytes) -> None:
        self._head(status, headers, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: Dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
