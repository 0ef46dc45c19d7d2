"""Every socket of a robot, served as on a robot, for inputs that nobody would write."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.node.health import HealthReport
from runtime.contract.robot.power import ServingOrders
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import Signed
from runtime.health.http.server import HealthServer, json_page, pages
from runtime.health.process.status import ExecutorStatus, StatusSender, status_pair
from runtime.updater.daemon.believed import Believed
from runtime.updater.daemon.serve import answer
from runtime.updater.daemon.updater import Updater
from runtime.updater.fetching.download import Downloads
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.fetching.link import Link, Patience
from runtime.updater.fetching.loopback import Loopback
from runtime.updater.power.mode_keeper import PowerKeeper, Rules
from runtime.updater.power.nvpmodel import Nvpmodel
from runtime.updater.power.power_service import MAX_REQUEST_BYTES, PowerService
from runtime.updater.robot.json_socket import Server, ask
from runtime.updater.robot.real_world import RealWorld, exchange
from runtime.updater.storage.blob_store import BlobStore
from tests.fakes.robots.robot_world import FakeWorld, order
from tests.harness.fuzz import bent, document

WAIT_S = 60.0
HEX = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Door:
    """One socket. ``knock`` gives it an input; ``works`` raises AssertionError when it answers no good request more."""

    name: str
    corpus: Sequence[bytes]
    knock: Callable[[bytes], None]
    works: Callable[[], None]
    clients: int = 8
    """That knock at the same time."""


def knock(door: Door, inputs: int, seed: int) -> None:
    """Give ``inputs`` bent inputs to a socket; look now and then whether it works still."""
    made = islice(bent(door.corpus, random.Random(f"{door.name} {seed}")), inputs)
    door.works()
    with ThreadPoolExecutor(door.clients) as clients:
        while some := list(islice(made, 2000)):
            for _ in clients.map(door.knock, some):
                pass
            door.works()


def _sender(connect: Callable[[], socket.socket]) -> Callable[[bytes], None]:
    """Return what sends an input, ends it, and reads what comes until the other side hangs up."""

    def send(given: bytes) -> None:
        with connect() as connection, contextlib.suppress(ConnectionError, BrokenPipeError):
            connection.settimeout(WAIT_S)
            connection.sendall(given)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    return send


def _unix(path: Path) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(path))
        return connection

    return connect


def _tcp(port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


@contextlib.contextmanager
def doors(folder: Path) -> Iterator[tuple[Door, ...]]:
    """Open all sockets below ``folder``, whose path must be short."""
    with contextlib.ExitStack() as stack:
        yield (
            stack.enter_context(_updater(folder)),
            stack.enter_context(_power(folder)),
            stack.enter_context(_agent(folder, tcp=True)),
            stack.enter_context(_agent(folder, tcp=False)),
            stack.enter_context(_loopback(folder)),
            _report(),
            _status(),
            _orders(),
        )


class _Waiting(FakeWorld):
    """A world whose time passes as in any, and whose driver leaves the processor to others meanwhile."""

    def sleep(self, seconds: float) -> None:
        self.wake.wait(0.02)
        self.wake.clear()
        super().sleep(seconds)


@contextlib.contextmanager
def _updater(folder: Path) -> Iterator[Door]:
    """The updater's own socket, its daemon driving."""
    root = folder / "robot"
    (root / "state").mkdir(parents=True)
    updater = Updater(root / "state", _Waiting(root), "amr-001", "test")
    updater.start()
    driver = threading.Thread(target=updater.run, daemon=True)
    driver.start()
    keeper = PowerKeeper(Nvpmodel(root), Rules, lambda _line: None)
    believed = Believed(root, RealWorld(root, machine=root), updater, lambda: ("amr-001", "warehouse"))

    def make() -> Believed:
        return believed

    server = Server(
        folder / "u.sock", lambda request, peer: answer(updater, keeper, request, root, lambda: believed, peer.uid)
    )
    threading.Thread(target=server.serve, daemon=True).start()
    requests: list[dict[str, Any]] = [
        {"verb": "status"},
        {"verb": "attest"},
        {"verb": "take-root", "roots": [to_dict(Signed(TrustRoot("warehouse", 0, unsigned=True).text))]},
        {"verb": "take-newest", "signed": to_dict(Signed("{}"))},
        {"verb": "take-updater", "zipapp": "AAAA", "signed": None, "version": "1.0", "trial_s": 90.0},
        {"verb": "logs", "tail": 5, "since": ""},
        {"verb": "submit", "order": to_dict(order("1"))},
        {"verb": "abort", "order_id": "order-1", "reason": "because"},
        {"verb": "confirm", "order_id": "order-1"},
        {"verb": "revert", "reason": "x", "order_id": "", "override": ""},
        {"verb": "history", "count": 5},
        {"verb": "pin", "release": "1.1.0"},
        {"verb": "power"},
        {"verb": "keep", "version": "1"},
        {"verb": "recover"},
    ]

    def works() -> None:
        assert ask(folder / "u.sock", {"verb": "status"}, WAIT_S)["robot"] == "amr-001"
        assert driver.is_alive()

    corpus = [canonical_json(request) + b"\n" for request in requests]
    yield Door("the updater's socket", corpus, _sender(_unix(folder / "u.sock")), works)
    updater.stop()


@contextlib.contextmanager
def _power(folder: Path) -> Iterator[Door]:
    service = PowerService(folder, PowerKeeper(Nvpmodel(folder), Rules, lambda _line: None), lambda _line: None)
    service.start()
    path = service._path

    def works() -> None:
        assert "mode" in ask(path, {"verb": "power"}, WAIT_S)

    corpus = [b'{"verb": "power", "want": "25W", "why": "busy"}\n', b'{"verb": "power"}\n', b"x" * MAX_REQUEST_BYTES]
    yield Door("the power socket", corpus, _sender(_unix(path)), works)
    service.stop()


@contextlib.contextmanager
def _agent(folder: Path, *, tcp: bool) -> Iterator[Door]:
    report: HealthReport = document(HealthReport, random.Random(1))
    routes = pages(lambda: report, lambda: 0.0, lambda: b"x 1\n")
    routes["/verify"] = lambda query: json_page(HTTPStatus.OK, query)
    server = HealthServer(0 if tcp else folder / "h.sock", routes)
    server.start()
    connect = _tcp(server.port) if tcp else _unix(folder / "h.sock")

    def works() -> None:
        with connect() as connection:
            status, body = exchange(connection, "/report", WAIT_S)
        assert (status, body[:1]) == (200, b"{")

    corpus = [
        b"GET /report HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET /verify?seconds=3 HTTP/1.1\r\nAccept: a\r\n\r\n",
        b"HEAD /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    ]
    yield Door("the agent's port" if tcp else "the agent's socket", corpus, _sender(connect), works)
    server.close()


class _NoRegistry:
    """A registry that nobody may ask here: everything that is asked for is unknown."""

    def get(self, path: str, headers: dict[str, str]) -> Any:
        raise UpstreamError(f"asked for {path}")


@contextlib.contextmanager
def _loopback(folder: Path) -> Iterator[Door]:
    stop = threading.Event()
    link = Link(0, stop)
    store = BlobStore(folder / "blobs")
    downloads = Downloads(store, _NoRegistry(), link, lambda: Patience(link, 1.0, stop, lambda _text: None))  # type: ignore[arg-type]
    downloads._manifests[HEX] = ("application/json", b"{}")
    loopback = Loopback(downloads, store)

    def works() -> None:
        url = f"http://{loopback.address}/v2/{loopback.repository}/manifests/{HEX}"
        with urllib.request.urlopen(url, timeout=WAIT_S) as found:
            assert found.read() == b"{}"
        assert not loopback.failed.is_set(), loopback.error

    corpus = [
        f"GET /v2/{loopback.repository}/{kind}/{HEX} HTTP/1.1\r\nHost: x\r\nRange: bytes=5-\r\n\r\n".encode()
        for kind in ("manifests", "blobs")
    ]
    corpus.append(b"GET /v2/ HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /v2/ HTTP/1.1\r\n\r\n")
    port = int(loopback.address.rpartition(":")[2])
    yield Door("the fetch's loopback", corpus, _sender(_tcp(port)), works)
    loopback.close()


def _report() -> Door:
    """The daemon asks a container's agent: here the container answers what it likes."""
    body = canonical_json(document(HealthReport, random.Random(2)))
    head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    def answered(given: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(OSError, ValueError):
            theirs.sendall(given)
            theirs.shutdown(socket.SHUT_WR)
            exchange(ours, "/report", WAIT_S)
        ours.close()

    def works() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(head + body)
            theirs.shutdown(socket.SHUT_WR)
            assert exchange(ours, "/report", WAIT_S) == (200, body)

    return Door("a container's answer", [head + body, b"HTTP/1.1 503 x\r\n\r\n{}"], answered, works, clients=1)


def _status() -> Door:
    """The executor tells the agent how it is."""
    receiver, theirs = status_pair()
    status: ExecutorStatus = document(ExecutorStatus, random.Random(3))

    def told(given: bytes) -> None:
        theirs.send(given or b"x")
        receiver.newest()

    def works() -> None:
        theirs.send(canonical_json(status))
        assert receiver.newest() == status

    return Door("the executor's status", [canonical_json(status)], told, works, clients=1)


def _orders() -> Door:
    """The agent orders the executor to serve less."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender = StatusSender(ours)
    orders: ServingOrders = document(ServingOrders, random.Random(4))

    def ordered(given: bytes) -> None:
        theirs.send(given or b"x")
        sender.orders()

    def works() -> None:
        theirs.send(canonical_json(orders))
        assert sender.orders() == orders

    return Door("the executor's orders", [canonical_json(orders)], ordered, works, clients=1)
