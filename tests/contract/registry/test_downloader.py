"""`fleet.ports.Downloader` over a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleet.adapters.http_download import HttpDownloader
from fleet.errors import OutsideError

CONTENT = bytes(range(256)) * 9000
PIN = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the first ``fails`` answers say 503, ``cuts`` of the others break off half way."""

    fails = cuts = requests = 0
    moved_to = ""
    shown: frozenset[str] = frozenset()
    """What came as Authorization."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests += 1
        server.shown |= {self.headers.get("Authorization", "")}
        if server.moved_to:
            self.send_response(302)
            self.send_header("Location", server.moved_to)
            self.end_headers()
        elif self.path != "/model.onnx":
            self.send_error(404)
        elif server.fails:
            server.fails -= 1
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            cut, server.cuts = bool(server.cuts), max(0, server.cuts - 1)
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if cut else CONTENT)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def fetch(server: Server, to: Path, *, path: str = "/model.onnx", sha256: str = PIN) -> None:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    HttpDownloader(pause=lambda _: None).fetch(url, to, sha256=sha256)


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("trouble", [{"fails": 2}, {"cuts": 2}, {"fails": 1, "cuts": 1}])
def test_passing_trouble_is_retried(server: Server, tmp_path: Path, trouble: dict[str, int]) -> None:
    vars(server).update(trouble)
    fetch(server, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == CONTENT
    assert server.requests == 3


@pytest.mark.parametrize(
    ("trouble", "more", "word", "requests"),
    [
        ({"fails": 99}, {}, "503", 4),
        ({}, {"path": "/gone"}, "404", 1),
        ({}, {"sha256": "0" * 64}, "manifest pins 000000000000", 1),
    ],
)
def test_lasting_trouble_is_said_and_leaves_nothing(
    server: Server, tmp_path: Path, trouble: dict[str, int], more: dict[str, str], word: str, requests: int
) -> None:
    vars(server).update(trouble)
    with pytest.raises(OutsideError, match=word) as caught:
        fetch(server, tmp_path / "model.onnx", **more)
    assert caught.value.hint
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []
    assert server.requests == requests


def test_netrc_is_not_read_nor_at_a_redirect(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost login a password b\nmachine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Server(("127.0.0.1", 0), Handler) as first:
        first.moved_to = f"http://localhost:{server.server_port}/model.onnx"
        thread = threading.Thread(target=first.serve_forever)
        thread.start()
        fetch(first, tmp_path / "model.onnx")
        first.shutdown()
        thread.join(10)
    assert (first.shown, server.shown) == ({""}, {""})


def test_nobody_listening_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"127\.0\.0\.1:1/"):
        HttpDownloader(pause=lambda _: None).fetch("http://127.0.0.1:1/m", tmp_path / "m", sha256=PIN)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="only http and https"):
        HttpDownloader().fetch("file:///etc/passwd", tmp_path / "m", sha256=PIN)
