"""Frames from one process to another: our executor against the node that people write first, in the same run.

A camera publishes raw images at 30 Hz; a small network looks at each; the camera collects the answers and how old
their frames are then. Ours runs as on a robot: agent and executor, shared-memory transport and malloc of the image.
The peer has stock transport and malloc, reliable QoS of depth 10, and makes everything anew for each frame. Then a
model slower than the camera: frames must stay young and every drop counted. Prints tables and one JSON line; exit
code 1 when a claim does not hold.

    python -m benchmarks.bench_frames [--seconds 60] [--only SIZE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.frames.network import write_network, write_runtime
from runtime.contract.codec import from_json
from runtime.contract.node.health import HealthReport, ModelHealth
from tests.harness import share

ROOT = Path(__file__).parents[1]
HZ = 30.0
SIZES = {"640x480": (640, 480), "1280x720": (1280, 720)}
CPU_CLAIM, AGE_CLAIM = 0.5, 1 / 3
"""At 1280x720: our CPU per frame and p99 frame age, as shares of the peer's."""
SLOW_CLAIM = 2.0
"""A model slower than its camera: p99 frame age in inference times (p99)."""
START_S, STOP_S = 120.0, 30.0


@dataclass(frozen=True)
class Run:
    """One node at one size."""

    sent: int
    answers: int
    age_p50_ms: float
    age_p99_ms: float
    cpu_ms: float
    """CPU time of the node's process per frame it answered."""
    lost: int
    """Frames without an answer."""
    counted: int | None = None
    """Drops that the node itself reports for the same frames."""
    inference_p99_ms: float | None = None


def main() -> int:
    arguments = parse_arguments()
    frames = int(arguments.seconds * HZ)
    sizes = {arguments.only: SIZES[arguments.only]} if arguments.only else SIZES
    with tempfile.TemporaryDirectory(prefix="jetfleet-frames-") as name:
        folder = Path(name)
        found = {size: both(folder / size, width, height, frames) for size, (width, height) in sizes.items()}
        slow = slow_model(folder / "slow", frames)
    verdicts = judge(found, slow)
    load = [round(load, 1) for load in os.getloadavg()]
    print(f"load average {load[0]} of the last minute, {load[1]} of five, {load[2]} of fifteen")
    print(json.dumps({
        "benchmark": "frames", "seconds": arguments.seconds, "load_average": load,
        "sizes": {size: {who: asdict(run) for who, run in runs.items()} for size, runs in found.items()},
        "slow": asdict(slow), "claims": dict(verdicts),
    }))  # fmt: skip
    return 0 if all(holds for _, holds in verdicts) else 1


def both(folder: Path, width: int, height: int, frames: int) -> dict[str, Run]:
    """Measure peer and executor at one size, one after the other."""
    folder.mkdir(parents=True)
    source = folder / "network.onnx"
    write_network(source)
    write_runtime(folder, source, height, width)
    runs = {"naive": naive(source, width, height, frames), "executor": executor(folder, width, height, frames)}
    print(f"\n{width}x{height} rgb8, {HZ:g} Hz, {frames} frames, age of a frame when its answer arrives")
    print(f"{'':10}{'answered':>12}{'age p50':>10}{'age p99':>10}{'CPU a frame':>13}{'drops counted':>15}")
    for who, run in runs.items():
        counted = "-" if run.counted is None else run.counted
        print(
            f"{who:10}{f'{run.answers}/{run.sent}':>12}{run.age_p50_ms:>8.1f}ms{run.age_p99_ms:>8.1f}ms"
            f"{run.cpu_ms:>11.2f}ms{counted:>15}",
            flush=True,
        )
    return runs


def slow_model(folder: Path, frames: int) -> Run:
    """Measure the executor with a network that takes longer than the time between two frames."""
    folder.mkdir(parents=True)
    source = folder / "network.onnx"
    write_network(source, repeats=1000)
    width, height = SIZES["640x480"]
    write_runtime(folder, source, height, width)
    run = executor(folder, width, height, frames)
    print(
        f"\nslow model at 640x480: inference p99 {run.inference_p99_ms:.1f} ms, frame age p99 {run.age_p99_ms:.1f} ms, "
        f"{run.answers} of {run.sent} answered, {run.counted} drops counted of {run.lost}"
    )
    return run


def judge(found: dict[str, dict[str, Run]], slow: Run) -> list[tuple[str, bool]]:
    verdicts = []
    for size, runs in found.items():
        ours = runs["executor"]
        verdicts.append((f"{size}: no frame lost by the executor", ours.lost == 0 and ours.counted == 0))
    if "1280x720" in found:
        ours, peer = found["1280x720"]["executor"], found["1280x720"]["naive"]
        cpu, age = ours.cpu_ms / peer.cpu_ms, ours.age_p99_ms / peer.age_p99_ms
        verdicts.append((f"1280x720: CPU a frame {cpu:.2f} of the peer's (claim <= {CPU_CLAIM})", cpu <= CPU_CLAIM))
        verdicts.append((f"1280x720: p99 age {age:.2f} of the peer's (claim <= {AGE_CLAIM:.2f})", age <= AGE_CLAIM))
    assert slow.inference_p99_ms is not None
    times = slow.age_p99_ms / slow.inference_p99_ms
    verdicts.append((f"slow model: p99 age {times:.2f} inference times (claim <= {SLOW_CLAIM})", times <= SLOW_CLAIM))
    verdicts.append((f"slow model: {slow.counted} drops counted, {slow.lost} frames lost", slow.counted == slow.lost))
    for claim, holds in verdicts:
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    return verdicts


# ── the two nodes ──


def naive(source: Path, width: int, height: int, frames: int) -> Run:
    """Run the peer with stock settings."""
    environment = base_environment(source.parent)
    command = [sys.executable, "-m", "benchmarks.frames.naive", str(source)]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            node.stdout.readline()
            camera, cpu_ms = camera_against(
                node.pid, environment, width, height, frames, ["--reliable", "--depth", "10"]
            )
        finally:
            stop(node)
    return run_of(camera, cpu_ms)


def executor(folder: Path, width: int, height: int, frames: int) -> Run:
    """Run agent and executor as the image does; the executor's own counters must tell the same story."""
    environment = image_environment(folder)
    with agent(folder, environment) as port:
        report = until_ready(port)
        pid = report.executor.pid
        assert pid is not None
        marks: list[ModelHealth] = []
        camera, cpu_ms = camera_against(
            pid, environment, width, height, frames, [], lambda: marks.append(report_at(port).models[0])
        )
        after = report_at(port).models[0]
    run = run_of(camera, cpu_ms)
    assert after.inference_ms is not None
    counted = after.drops - marks[0].drops
    return Run(**{**asdict(run), "counted": counted, "inference_p99_ms": after.inference_ms.p99})


def camera_against(
    pid: int,
    environment: dict[str, str],
    width: int,
    height: int,
    frames: int,
    options: list[str],
    begin: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], float]:
    """Run the camera; return what it saw and the CPU milliseconds a frame that process ``pid`` took meanwhile."""
    command = [
        sys.executable, "-m", "benchmarks.frames.camera", "--width", str(width), "--height", str(height),
        "--hz", str(HZ), "--frames", str(frames), *options,
    ]  # fmt: skip
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as camera:
        try:
            assert camera.stdout is not None
            if not camera.stdout.readline():
                raise SystemExit("bench_frames: the camera ended before it began (its words are above)")
            begin()
            before = cpu_seconds(pid)
            seen: dict[str, Any] = json.loads(camera.stdout.readline())
            took = cpu_seconds(pid) - before
        finally:
            stop(camera)
    return seen, took / max(1, seen["answers"]) * 1e3


def run_of(camera: dict[str, Any], cpu_ms: float) -> Run:
    sent, answers, age = camera["sent"], camera["answers"], camera["age_ms"]
    if not answers:
        raise SystemExit("bench_frames: no frame was answered")
    return Run(sent, answers, age["p50"], age["p99"], cpu_ms, sent - answers)


@contextmanager
def agent(folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """Run the health agent, which runs the executor; yield the port it answers on."""
    log = (folder / "agent.log").open("w+")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "runtime.health"], env=environment, cwd=ROOT, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield port_in(folder / "agent.log")
        except BaseException:
            print((folder / "agent.log").read_text(), file=sys.stderr)
            raise
        finally:
            stop(process)


def port_in(log: Path) -> int:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if "health on http://127.0.0.1:" in line:
                return int(line.rpartition(":")[2])
        time.sleep(0.1)
    raise SystemExit(f"bench_frames: the agent did not say its port within {START_S:g} s")


def until_ready(port: int) -> HealthReport:
    """Wait until every model is loaded, self-tested and active."""
    end = time.monotonic() + START_S
    while True:
        report = report_at(port)
        if report.executor.lifecycle == "active" and all(model.state == "active" for model in report.models):
            return report
        if time.monotonic() > end:
            raise SystemExit(f"bench_frames: not active within {START_S:g} s: {report}")
        time.sleep(0.2)


def report_at(port: int) -> HealthReport:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/report", timeout=10) as answer:
        return from_json(HealthReport, answer.read())


def base_environment(folder: Path) -> dict[str, str]:
    """Stock settings, on a ROS domain of this run."""
    ours = ("FASTDDS", "FASTRTPS", "MALLOC_", "ROS_", "RMW_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "ROS_DOMAIN_ID": str(share.ros_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(folder / "log"),
        "PYTHONPATH": str(ROOT),
    }


def image_environment(folder: Path) -> dict[str, str]:
    """The runtime image's own settings, and a folder for locks of this run's own."""
    node = folder / "node"
    node.mkdir(exist_ok=True)
    lines = (ROOT / "images/runtime/runtime.env").read_text().splitlines()
    return {
        **base_environment(folder),
        **dict(line.split("=", 1) for line in lines if line and not line.startswith("#")),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "images/runtime/fastdds.xml"),
        "JETFLEET_CONFIG": str(folder / "runtime.json"),
        "JETFLEET_ENGINES_DIR": str(folder / "engines"),
        "JETFLEET_HEALTH_PORT": "0",
        "JETFLEET_NODE_DIR": str(node),
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, threads included (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of frames at 30 Hz, for each node and size")
    parser.add_argument("--only", choices=sorted(SIZES), help="measure this size alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
