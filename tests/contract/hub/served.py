"""A hub that listens for real, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from fleet.adapters.system_clock import SystemClock
from fleet.hub.app import Hub
from fleet.hub.database import open_database
from fleet.hub.limits import HubLimits
from fleet.hub.pinned import KnownPins
from fleet.hub.serve import HubServer, Listen
from fleet.hub.store import Keep, ReportStore
from fleet.ports import Clock
from runtime.contract.codec import to_dict
from runtime.contract.node.report import SignedReport
from runtime.contract.robot.desired import Pins
from tests.fakes.pull_robots import FLEET

DEADLINE_S = 60.0


class PinnedNow:
    """Pins that a test changes."""

    def __init__(self) -> None:
        self.pins: Pins | None = None

    def __call__(self) -> Pins | None:
        return self.pins


@dataclass
class Served:
    """A hub at an address."""

    url: str
    hub: Hub
    store: ReportStore
    given: PinnedNow
    log: list[str]

    def post(self, envelope: SignedReport | bytes) -> requests.Response:
        body = {"json": to_dict(envelope)} if isinstance(envelope, SignedReport) else {"data": envelope}
        return requests.post(f"{self.url}/v1/reports", timeout=DEADLINE_S, **body)

    def get(self, path: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(self.url + path, headers=named, timeout=DEADLINE_S)

    def pin(self, pins: Pins | None) -> None:
        self.given.pins = pins
        self.hub.pins.refresh()


@contextmanager
def served(
    url: str,
    *,
    keep: Keep | None = None,
    limits: HubLimits | None = None,
    token: str = "",
    clock: Clock | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Served]:
    given, log = PinnedNow(), list[str]()
    clock = clock or SystemClock()
    engine = open_database(url)
    store = ReportStore(engine, keep)
    hub = Hub(FLEET, store, KnownPins(given, clock, log.append, 0.0), clock, token=token, limits=limits, say=log.append)
    where: list[Listen] = []
    ready = threading.Event()

    def listening(at: Listen) -> None:
        where.append(at)
        ready.set()

    cert, key = tls or (None, None)
    server = HubServer(hub, Listen("127.0.0.1", 0, cert, key), listening)
    thread = threading.Thread(target=server.run, name="test-hub")
    thread.start()
    try:
        assert ready.wait(DEADLINE_S)
        yield Served(where[0].url, hub, store, given, log)
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        engine.dispose()
        assert not thread.is_alive()


def names(document: Any) -> list[str]:
    return [each["robot"] for each in document["robots"]]
