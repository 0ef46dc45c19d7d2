"""What a process holds, what lies in shared memory, and whether the agent answers."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

SHM = Path("/dev/shm")
PAGES = ("/healthz", "/readyz", "/report")
PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 10.0
LOOKS, LOOK_EVERY_S = 5, 0.05
"""A descriptor that lives for one request or one read is not growth: the least of several looks counts."""


@dataclass(frozen=True)
class Held:
    """What one process holds at one moment."""

    own_kb: int
    """Resident, without shared memory (RssAnon + RssFile of proc(5)), kB."""
    shared_kb: int
    """Resident shared memory, kB (RssShmem)."""
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Shared:
    """What lies in /dev/shm."""

    files: int
    allocated: int
    """Bytes of memory taken."""


def held(pid: int) -> Held:
    """Read one process. Raises OSError when it is gone."""
    descriptors = []
    for _ in range(LOOKS):
        descriptors.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        time.sleep(LOOK_EVERY_S)
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    value = {name: int(status[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem", "Threads")}
    return Held(value["RssAnon"] + value["RssFile"], value["RssShmem"], min(descriptors), value["Threads"])


def shared(directory: Path = SHM) -> Shared:
    """Read /dev/shm; a file that goes away meanwhile is not counted."""
    sizes = [size for path in directory.iterdir() if (size := _allocated(path)) is not None]
    return Shared(len(sizes), sum(sizes))


def _allocated(path: Path) -> int | None:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return None


@dataclass
class Probes:
    """Asks every page once a second, as Docker, a rollout and Prometheus would, from a thread of its own."""

    port: int
    asked: int = 0
    unanswered: list[str] = field(default_factory=list)
    """When and why, a sentence each."""
    slowest_s: float = 0.0
    codes: dict[str, dict[int, int]] = field(default_factory=lambda: {page: {} for page in PAGES})
    """Page → status → how often."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join(2 * PROBE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            for page in PAGES:
                self._ask(page)
            self._stop.wait(PROBE_EVERY_S)

    def _ask(self, page: str) -> None:
        self.asked += 1
        begun = time.monotonic()
        try:
            code = status_of(self.port, page)
        except (OSError, ValueError) as error:
            self.unanswered.append(f"{time.strftime('%H:%M:%S')} {page}: {type(error).__name__}: {error}")
        else:
            self.codes[page][code] = self.codes[page].get(code, 0) + 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)


def status_of(port: int, page: str) -> int:
    """Ask for a page; an answer has a status and a JSON document. Raises OSError, ValueError."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=PROBE_TIMEOUT_S) as answer:
            json.loads(answer.read())
            return int(answer.status)
    except urllib.error.HTTPError as error:  # 503 is an answer
        json.loads(error.read())
        return error.code
