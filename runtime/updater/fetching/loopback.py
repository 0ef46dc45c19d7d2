"""A registry on 127.0.0.1 for this robot's Engine: what it asks for is brought, checked, and then given."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict

from runtime.updater.fetching.download import Download, Downloads
from runtime.updater.fetching.errors import Stopped, UpstreamError
from runtime.updater.storage.blob_store import BlobStore

_PATH = re.compile(r"^/v2/[^?]+/(manifests|blobs)/(sha256:[0-9a-f]{64})$")
_RANGE = re.compile(r"^bytes=(\d+)-$")
_PIECE = 256 * 1024


class Loopback:
    """Serves until :meth:`close`. ``asked``: how many requests came, to tell an Engine that does not reach us."""

    def __init__(self, downloads: Downloads, store: BlobStore) -> None:
        self.asked = 0
        self.error: Exception = Stopped()
        self.failed = threading.Event()
        handler = type("Handler", (_Handler,), {"loopback": self, "downloads": downloads, "store": store})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = "127.0.0.1:{}".format(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="loopback", daemon=True).start()

    def fail(self, error: Exception) -> None:
        """Remember why the Engine did not get what it asked for."""
        if not self.failed.is_set():
            self.error = error
            self.failed.set()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An Engine that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loopback: Loopback
    downloads: Downloads
    store: BlobStore

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing; the Engine tries TLS first, which is no request."""

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._serve()

    def do_GET(self) -> None:
        """Answer /v2/, manifests and blobs by digest."""
        self._serve()

    def _serve(self) -> None:
        self.loopback.asked += 1
        if self.path.rstrip("/") == "/v2":
            return self._answer(200, {"Content-Type": "application/json"}, b"{}")
        match = _PATH.match(self.path)
        if match is None:
            return self._answer(404, {}, b"")
        try:
            return self._manifest(match.group(2)) if match.group(1) == "manifests" else self._blob(match.group(2))
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
        match = _RANGE.match(self.headers.get("Range", ""))
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
