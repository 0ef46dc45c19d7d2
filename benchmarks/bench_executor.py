"""What the executor costs before any engine: memory and CPU of the process with rclpy, node, threads and transport.

    python -m benchmarks.bench_executor [--seconds 20]

The claim: at most 120 MB resident without an engine, its shared-memory segment counted apart. Started as the image
starts it, on a configuration without models, so that nothing of a backend is in it. The yardstick is a bare rclpy node
with the same transport. Read from /proc of the process; exit code 1 when the claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_frames import ROOT, START_S, cpu_seconds, image_environment, stop
from benchmarks.soak.readings import Held, held
from runtime.contract.codec import canonical_json
from runtime.contract.node.runtime_config import RuntimeConfig

LIMIT_KB = 120 * 1000
EXECUTOR = ("-m", "runtime.executor")
BARE = (
    "-c",
    "import rclpy; rclpy.init(); node = rclpy.create_node('bare'); print('is active', flush=True); rclpy.spin(node)",
)


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    memory: Held
    cpu_share: float
    """Of one core."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    ours, bare = measure(EXECUTOR, seconds), measure(BARE, seconds)
    print(json.dumps({
        "machine": platform.processor() or platform.machine(), "python": platform.python_version(), "seconds": seconds,
        "load_average": os.getloadavg(), "executor_without_engine": figures(ours), "bare_rclpy_node": figures(bare),
    }, indent=1))  # fmt: skip
    if ours.memory.own_kb > LIMIT_KB:
        print(f"FAILED: resident {ours.memory.own_kb} kB, limit {LIMIT_KB} kB", file=sys.stderr)
        return 1
    return 0


def figures(cost: Cost) -> dict[str, float]:
    """As printed."""
    return {
        "rss_mb": round(cost.memory.own_kb / 1000, 1),
        "shared_mb": round(cost.memory.shared_kb / 1000, 1),
        "cpu_percent": round(100 * cost.cpu_share, 2),
    }


def measure(program: Sequence[str], seconds: float) -> Cost:
    """Run a program until it says that it is active, and read what it takes."""
    with tempfile.TemporaryDirectory() as name, active(program, Path(name)) as pid:
        cpu, begun = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        return Cost(held(pid), (cpu_seconds(pid) - cpu) / (time.monotonic() - begun))


@contextmanager
def active(program: Sequence[str], folder: Path) -> Iterator[int]:
    """Run a program on a configuration without models; yield its pid once it says that it is active."""
    (folder / "runtime.json").write_bytes(canonical_json(RuntimeConfig(())))
    log = folder / "said"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, *program], env=image_environment(folder), cwd=ROOT, stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            end = time.monotonic() + START_S
            while "is active" not in log.read_text():
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit(f"bench_executor: not active:\n{log.read_text()}")
                time.sleep(0.1)
            yield process.pid
        finally:
            stop(process)


if __name__ == "__main__":
    sys.exit(main())
