"""Simulated robots against one real hub and one real registry: p50 and p99 of a report and of a poll, and a whole read.

    python benchmarks/bench_hub.py [--robots 500] [--rounds 4] [--senders 8] [--database URL] [--rate R] [--limit 1.0]

Each robot has a key of its own and signs for real; the hub is `fleet hub` as a process, which verifies and stores for
real. Reports are made beforehand, so that what is measured is the hub's time, and come as fast as ``senders``
connections carry them, or ``rate`` a second. ``--database``: postgresql://… ; a new SQLite file when not given. Exit
code 1 when the p99 of a report is over ``limit`` seconds, or a report was not taken.

A poll is what a robot asks when nothing changed: HEAD of the desired statement with the digest that it knows.

For comparison: 10,000 robots that report every 5 minutes and poll every minute are 33 reports and 167 polls a second.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fleet.adapters.http_hub import RequestsHub  # noqa: E402
from fleet.adapters.registry.oci_registry import OciRegistry  # noqa: E402
from fleet.link.reported import Asked, read_reports  # noqa: E402
from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes  # noqa: E402
from runtime.contract.codec import canonical_json  # noqa: E402
from tests.fakes.pull_robots import FLEET, PullRobot, pins_of  # noqa: E402
from tests.fakes.registries.registry_process import find_registry_binary, registry_process  # noqa: E402

WORDS = 6000
"""Bytes of a report before it is compressed: what `attest` says with two models."""


def main() -> int:
    arguments = _arguments()
    robots = [PullRobot(f"amr-{number:05}") for number in range(arguments.robots)]
    with tempfile.TemporaryDirectory(prefix="jetfleet-bench-") as name:
        folder = Path(name)
        (folder / "pins.json").write_bytes(canonical_json(pins_of(*robots)))
        hub, url = _start(folder, arguments.database or str(folder / "hub.sqlite"))
        try:
            return max(_measure(robots, url, hub.pid, arguments), _poll(folder, arguments))
        finally:
            hub.terminate()
            hub.wait(30)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robots", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4, help="reports of each robot")
    parser.add_argument("--senders", type=int, default=8, help="connections at once")
    parser.add_argument("--rate", type=float, default=0.0, help="reports a second, of all; 0: as fast as it goes")
    parser.add_argument("--database", default="")
    parser.add_argument("--limit", type=float, default=1.0, help="seconds that the p99 of a report may take")
    return parser.parse_args()


def _start(folder: Path, database: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "fleet.cli.main", "hub", "--json", "--listen", "127.0.0.1:0"]
    command += ["--pins", str(folder / "pins.json"), "--database", database]
    hub = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert hub.stdout
    text = ""
    for line in hub.stdout:
        text += line
        if line == "}\n":
            return hub, str(json.loads(text)["listening"])
    raise SystemExit("the hub did not begin; its words are above")


def _measure(robots: Sequence[PullRobot], url: str, pid: int, arguments: argparse.Namespace) -> int:
    seconds: list[float] = []
    refused: dict[int, int] = {}
    wall = 0.0
    cpu = _cpu_s(pid)
    for _ in range(arguments.rounds):
        bodies = [canonical_json(robot.report(time.time(), padding="x" * WORDS)) for robot in robots]
        began = time.monotonic()
        for status, took in _send(bodies, url, arguments.senders, arguments.rate):
            seconds.append(took)
            if status != 202:
                refused[status] = refused.get(status, 0) + 1
        wall += time.monotonic() - began
    cpu = _cpu_s(pid) - cpu
    p50, p99 = _percentiles(seconds)
    read_s = _read(robots, url)
    count = len(seconds)
    print(f"{len(robots)} robots, {count} reports, {arguments.senders} senders: {count / wall:.0f} reports a second")
    print(
        f"a report: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; hub {cpu / count * 1000:.1f} ms of CPU for each"
    )
    print(f"hub's memory {_memory_mb(pid):.0f} MB; all robots read and verified in {read_s:.2f} s")
    print(f"not taken: {refused or 'none'}")
    return int(bool(refused) or p99 > arguments.limit)


def _send(bodies: Sequence[bytes], url: str, senders: int, rate: float) -> list[tuple[int, float]]:
    parts = urlsplit(url)
    began = time.monotonic()

    def share(first: int) -> list[tuple[int, float]]:
        link = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        found = []
        for at in range(first, len(bodies), senders):
            if rate:
                time.sleep(max(0.0, began + at / rate - time.monotonic()))
            sent = time.monotonic()
            link.request("POST", "/v1/reports", bodies[at], {"Content-Type": "application/json"})
            answer = link.getresponse()
            answer.read()
            found.append((answer.status, time.monotonic() - sent))
        link.close()
        return found

    with ThreadPoolExecutor(senders) as pool:
        return [each for part in pool.map(share, range(senders)) for each in part]


def _poll(folder: Path, arguments: argparse.Namespace) -> int:
    """Ask a registry for the desired statement as often as the robots report; say how long an answer takes."""
    binary = find_registry_binary()
    if binary is None:
        print("polls: not measured, the registry is missing (make setup)")
        return 0
    with registry_process(binary, folder) as address:
        registry = OciRegistry(address, plain_http=True)
        registry.push_blob("fleet/desired", Bytes.of(b"{}"))
        empty = Descriptor(EMPTY, Bytes.of(b"{}").digest, 2)
        digest = registry.put_manifest("fleet/desired", "desired", manifest_bytes(empty, [empty]), MANIFEST)
        headers = {"Accept": MANIFEST, "If-None-Match": f'"{digest}"'}

        def share(_: int) -> list[float]:
            link = http.client.HTTPConnection(address, timeout=60)
            found = []
            for _ in range(arguments.robots * arguments.rounds // arguments.senders):
                began = time.monotonic()
                link.request("HEAD", "/v2/fleet/desired/manifests/desired", headers=headers)
                answer = link.getresponse()
                answer.read()
                assert answer.status in (200, 304), answer.status
                found.append(time.monotonic() - began)
            link.close()
            return found

        began = time.monotonic()
        with ThreadPoolExecutor(arguments.senders) as pool:
            seconds = [each for part in pool.map(share, range(arguments.senders)) for each in part]
    p50, p99 = _percentiles(seconds)
    rate = len(seconds) / (time.monotonic() - began)
    print(f"a poll: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms; {rate:.0f} polls a second")
    return int(p99 > arguments.limit)


def _read(robots: Sequence[PullRobot], url: str) -> float:
    began = time.monotonic()
    names = [robot.name for robot in robots]
    found = read_reports(RequestsHub(url), names, Asked(pins_of(*robots), time.time(), 900.0, {}))
    wrong = [verdict.problem for verdict in found.values() if not verdict.counts]
    assert not wrong, wrong[:3]
    assert {verdict.report.fleet for verdict in found.values() if verdict.report} == {FLEET}
    return time.monotonic() - began


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
