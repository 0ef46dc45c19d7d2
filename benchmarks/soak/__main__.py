"""An hour of a robot's day: 30 Hz of 640x480 images, the executor killed and hung, engines exchanged, probes all along.

    python -m benchmarks.soak [--minutes 60] [--kills 20] [--swaps 20] [--domain 87]

In the first half the executor is killed (SIGKILL) and hung (SIGSTOP) in turn, and read in the middle of each life; in
the second half one executor gets an engine put in and taken away in turn, and is read before the next. Where this user
may make them, /dev/shm and the network are private ones: what others leave in shared memory is not counted, and no
interface comes or goes (Fast DDS goes over to UDP for that). Prints every reading, each claim, and one JSON line; exit
code 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.bench_frames import ROOT
from benchmarks.soak.judge import LIFE, SWAP, Row, judge, table
from benchmarks.soak.readings import Probes, held, shared
from benchmarks.soak.robot import HZ, Robot, robot

PRIVATE = "JETFLEET_SOAK_PRIVATE"
"""Set in the process that has a /dev/shm and a network of its own."""
ENTER = "mount -t tmpfs tmpfs /dev/shm && ip link set lo up"
READ_AT = 0.6
"""Share of a period after which a reading is taken."""


class Soak:
    """The schedule, and what was read."""

    def __init__(self, one: Robot, minutes: float, kills: int, swaps: int) -> None:
        self.rows: list[Row] = []
        self._robot, self._kills, self._swaps = one, kills, swaps
        self._half = minutes * 60 / 2
        self._begun = time.monotonic()

    def run(self) -> None:
        """Do everything, at its time or as soon as what came before is done."""
        self._robot.serving(restarts=0)
        self._begun = time.monotonic()
        event = "started"
        for index in range(self._kills):
            period = self._half / self._kills
            self._wait(READ_AT * period, since=time.monotonic())
            self._read(LIFE, event)
            self._wait((index + 1) * period)
            number = signal.SIGSTOP if index % 2 else signal.SIGKILL
            killed = time.monotonic()
            self._robot.end_executor(number)
            ended = self._robot.serving(restarts=index + 1).executor.last_exit
            event = f"{number.name}, back in {time.monotonic() - killed:.1f} s"
            print(f"{event}: {ended}", flush=True)
        for index in range(self._swaps):
            period = self._half / self._swaps
            model = self._robot.swap().models[0]
            self._wait(READ_AT * period, since=time.monotonic())
            self._read(SWAP, f"swap {index + 1}: {model.serving}")
            self._wait(self._half + (index + 1) * period)

    def _wait(self, seconds: float, since: float | None = None) -> None:
        time.sleep(max(0.0, (self._begun if since is None else since) + seconds - time.monotonic()))

    def _read(self, kind: str, event: str) -> None:
        report = self._robot.report()
        assert report.executor.pid is not None
        model = report.models[0]
        row = Row(
            time.monotonic() - self._begun, kind, event, held(self._robot.agent), held(report.executor.pid),
            held(self._robot.camera), shared(), model.frames, model.drops, model.errors,
        )  # fmt: skip
        self.rows.append(row)
        lines = list(table([row]))
        print("\n".join(lines if len(self.rows) == 1 else lines[1:]), flush=True)


def main() -> int:
    arguments = parse_arguments()
    if PRIVATE not in os.environ and may_be_private():
        script = f'{ENTER} && exec "$0" -m benchmarks.soak "$@"'
        command = ["unshare", "-m", "-n", "sh", "-c", script, sys.executable, *sys.argv[1:]]
        os.chdir(ROOT)
        os.execvpe(command[0], command, {**os.environ, PRIVATE: "1"})
    with tempfile.TemporaryDirectory(prefix="jetfleet-soak-") as name:
        return soak(Path(name), arguments)


def soak(folder: Path, arguments: argparse.Namespace) -> int:
    with robot(folder, arguments.domain) as one:
        probes = Probes(one.port)
        run = Soak(one, arguments.minutes, arguments.kills, arguments.swaps)
        probes.start()
        try:
            run.run()
        finally:
            probes.stop()
        last = one.report()
    whose = "private" if PRIVATE in os.environ else "the machine's"
    print(f"\n/dev/shm and network: {whose}; load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print(f"camera: {one.counted['sent']} frames at {HZ:g} Hz, {one.counted['answers']} answers")
    print(f"probes: {probes.asked} asked, slowest {probes.slowest_s * 1e3:.0f} ms, {probes.codes}")
    print("\n".join(probes.unanswered))
    done = last.executor.restarts == arguments.kills and one.swaps == arguments.swaps
    verdicts = [
        (f"{last.executor.restarts} executors ended and replaced, {one.swaps} engines exchanged", done),
        *judge(run.rows, len(probes.unanswered)),
    ]
    for claim, holds in verdicts:
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    print(json.dumps({
        "benchmark": "soak", "minutes": arguments.minutes, "rows": [asdict(row) for row in run.rows],
        "probes": {"asked": probes.asked, "unanswered": len(probes.unanswered), "slowest_s": probes.slowest_s},
        "camera": one.counted, "claims": dict(verdicts),
    }))  # fmt: skip
    return 0 if all(holds for _, holds in verdicts) else 1


def may_be_private() -> bool:
    """Say whether this user may have a /dev/shm and a network of its own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run(["unshare", "-m", "-n", "sh", "-c", ENTER], check=False, capture_output=True).returncode == 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--domain", type=int, default=87, help="ROS_DOMAIN_ID, which nobody else should use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
