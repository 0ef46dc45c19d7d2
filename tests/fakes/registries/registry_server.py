"""A small registry over real HTTP whose faults a test orders one by one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Fault:
    """What happens instead of an answer, ``times`` times, to requests whose ``METHOD /path`` matches."""

    match: str
    action: str
    """status | reset | truncate | corrupt | hang | ignore_range | drip (a byte now and then) | drip_last (the same, and
    the connection is closed afterwards) | drip_head (the same, of the headers) | endless (a body without an end)."""
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after_bytes: int = 0
    """reset: bytes of the request's body taken in before the link breaks; truncate: bytes of the answer sent."""


@dataclass
class Seen:
    """One request, as it arrived."""

    method: str
    path: str
    authorization: str
    content_range: str
    range: str
    length: int
    cookie: str = ""


class FaultyRegistry:
    """State of the server: blobs, uploads, tags, faults, and every request seen."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.manifests: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.auth = "none"
        """none | basic | token."""
        self.challenge: str | None = None
        """In place of the usual WWW-Authenticate; empty: a 401 without one."""
        self.free: tuple[str, ...] = ()
        """Paths that want no Authorization, and refuse one."""
        self.users = {"robot": "s3cret"}
        self.refresh_token = ""
        self.tokens: dict[str, str] = {}
        """Token → scopes."""
        self.token_lifetime = 300
        self.deny_scope = ""
        self.chunked = True
        self.max_body = 1 << 40
        """Requests with more are refused with 413, as a proxy with a limit does."""
        self.relative_location = True
        self.tag_pages: list[list[str]] = []
        self.host = ""
        self.scheme = "http"
        self.stop = threading.Event()

    def methods(self) -> list[str]:
        return [one.method for one in self.seen]

    def fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.match, line):
                fault.times -= 1
                return fault
        return None


@contextmanager
def faulty_registry(tls: ssl.SSLContext | None = None) -> Iterator[FaultyRegistry]:
    """Run one on 127.0.0.1 for the length of the block."""
    state = FaultyRegistry()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # links break on purpose here
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        state.scheme = "https"
    state.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyRegistry

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = self.headers
        self.state.seen.append(
            Seen(
                self.command,
                self.path,
                headers.get("Authorization", ""),
                headers.get("Content-Range", ""),
                headers.get("Range", ""),
                length,
                headers.get("Cookie", ""),
            )
        )
        fault = self.state.fault(f"{self.command} {self.path}")
        if fault and fault.action == "reset":
            return self._reset(fault)
        body = self.rfile.read(length)
        if length > self.state.max_body:
            return self._answer(413, {}, b"<html>413 Request Entity Too Large</html>")
        if fault and fault.action == "hang":
            self.state.stop.wait(30)
            self.close_connection = True
            return None
        if fault and fault.action in ("drip_head", "endless"):
            return self._without_end(fault)
        if fault and fault.action == "status":
            return self._answer(fault.status, fault.headers, fault.body)
        if urlsplit(self.path).path == "/token":
            return self._token(body)
        if not self._allowed():
            return self._challenge()
        return self._route(body, fault)

    def _without_end(self, fault: Fault) -> None:
        """Send headers a byte at a time, or a body without a length, until the client has enough."""
        self.close_connection = True
        piece = b"x"
        if fault.action == "endless":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            piece = b"100000\r\n" + b"\0" * (1 << 20) + b"\r\n"
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with suppress(OSError):
            while not self.state.stop.wait(0.0 if fault.action == "endless" else 0.02):
                self.wfile.write(piece)

    def _reset(self, fault: Fault) -> None:
        taken = self.rfile.read(fault.after_bytes)
        upload = self.state.uploads.get(self._upload_id())
        if upload is not None:
            upload.extend(taken)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    # ── auth ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _allowed(self) -> bool:
        header = self.headers.get("Authorization", "")
        if self.state.free and self.path.startswith(self.state.free):
            return not header
        if self.state.auth == "basic":
            return header in {self._basic(user) for user in self.state.users}
        if self.state.auth == "token":
            return header.removeprefix("Bearer ") in self.state.tokens
        return True

    def _basic(self, user: str) -> str:
        return "Basic " + base64.b64encode(f"{user}:{self.state.users[user]}".encode()).decode()

    def _challenge(self) -> None:
        realm = f"{self.state.scheme}://{self.state.host}/token"
        value = (
            'Basic realm="registry"'
            if self.state.auth == "basic"
            else f'Bearer realm="{realm}",service="registry.test"'
        )
        error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        value = value if self.state.challenge is None else self.state.challenge
        self._answer(401, {"WWW-Authenticate": value} if value else {}, json.dumps(error).encode())

    def _token(self, body: bytes) -> None:
        query = parse_qs(body.decode() if self.command == "POST" else urlsplit(self.path).query)
        if self.command == "POST":
            allowed = query.get("refresh_token") == [self.state.refresh_token]
        else:
            header = self.headers.get("Authorization", "")
            allowed = not self.state.users or header in {self._basic(user) for user in self.state.users}
        scopes = " ".join(query.get("scope", []))
        if not allowed or (self.state.deny_scope and self.state.deny_scope in scopes):
            return self._answer(401, {}, b'{"details":"incorrect username or password"}')
        token = uuid.uuid4().hex
        self.state.tokens[token] = scopes
        answer = {"token": token, "expires_in": self.state.token_lifetime}
        return self._answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    # ── registry ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _route(self, body: bytes, fault: Fault | None) -> None:
        path = urlsplit(self.path).path  # a proxy gets the whole URL
        if path == "/v2/":
            return self._answer(200, {}, b"{}")
        if "/blobs/uploads/" in path:
            return self._upload(body)
        if match := re.search(r"/blobs/(sha256:[0-9a-f]{64})$", path):
            return self._blob(match[1], fault)
        if match := re.search(r"/manifests/(.+)$", path):
            return self._manifest(match[1], body, fault)
        if path.endswith("/tags/list"):
            return self._tags()
        return self._answer(404, {}, b"page not found")

    def _upload_id(self) -> str:
        return urlsplit(self.path).path.rpartition("/")[2]

    def _upload(self, body: bytes) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if self.command == "POST":
            name = uuid.uuid4().hex
            self.state.uploads[name] = bytearray()
            return self._answer(202, self._upload_headers(name, self.path.partition("?")[0] + name))
        name = self._upload_id()
        upload = self.state.uploads.get(name)
        if upload is None:
            return self._answer(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"unknown"}]}')
        if self.command == "DELETE":
            del self.state.uploads[name]
            return self._answer(204, {})
        if self.command == "GET":
            return self._answer(204, self._upload_headers(name, self.path))
        return self._append(name, upload, body) if self.command == "PATCH" else self._finish(name, upload, body, query)

    def _append(self, name: str, upload: bytearray, body: bytes) -> None:
        if not self.state.chunked:
            return self._answer(405, {}, b'{"errors":[{"code":"UNSUPPORTED","message":"no chunks"}]}')
        start = int(self.headers["Content-Range"].partition("-")[0])
        if start != len(upload):
            return self._answer(416, self._upload_headers(name, self.path))
        upload.extend(body)
        return self._answer(202, self._upload_headers(name, self.path))

    def _finish(self, name: str, upload: bytearray, body: bytes, query: dict[str, list[str]]) -> None:
        content = bytes(upload) + body
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if query.get("digest") != [digest]:
            return self._answer(
                400, {}, b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}'
            )
        self.state.blobs[digest] = content
        del self.state.uploads[name]
        return self._answer(201, {"Docker-Content-Digest": digest})

    def _upload_headers(self, name: str, path: str) -> dict[str, str]:
        prefix = "" if self.state.relative_location else f"http://{self.state.host}"
        last = max(len(self.state.uploads[name]) - 1, 0)
        return {"Location": f"{prefix}{path.partition('?')[0]}?_state=opaque", "Range": f"0-{last}"}

    def _blob(self, digest: str, fault: Fault | None) -> None:
        content = self.state.blobs.get(digest)
        if content is None:
            return self._answer(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')
        status, headers = 200, {"Docker-Content-Digest": digest}
        wanted = self.headers.get("Range", "")
        if wanted and not (fault and fault.action == "ignore_range"):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        return self._answer(status, headers, content, fault)

    def _manifest(self, reference: str, body: bytes, fault: Fault | None) -> None:
        if self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self.state.manifests[reference] = self.state.manifests[digest] = body
            return self._answer(201, {"Docker-Content-Digest": digest})
        content = self.state.manifests.get(reference)
        if content is None:
            return self._answer(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        headers = {"Docker-Content-Digest": "sha256:" + hashlib.sha256(content).hexdigest()}
        headers["Content-Type"] = "application/vnd.oci.image.manifest.v1+json"
        return self._answer(200, headers, content, fault)

    def _tags(self) -> None:
        page = int(parse_qs(urlsplit(self.path).query).get("page", ["0"])[0])
        headers = {}
        if page + 1 < len(self.state.tag_pages):
            headers["Link"] = f'<{urlsplit(self.path).path}?page={page + 1}>; rel="next"'
        self._answer(200, headers, json.dumps({"tags": self.state.tag_pages[page]}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"", fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if fault and fault.action == "drip_last":
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.action == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault and fault.action == "truncate":
            body = body[: fault.after_bytes]
            self.close_connection = True
        if fault and fault.action in ("drip", "drip_last"):
            with suppress(OSError):
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    if self.state.stop.wait(0.02):
                        return
            return
        self.wfile.write(body)
