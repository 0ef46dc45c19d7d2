"""What the container's confinement costs: one image, engine and camera, with Docker's defaults and with the options of
compose/robot.compose.yaml, in turns.

    python -m benchmarks.bench_container IMAGE [--seconds 15] [--rounds 3]

IMAGE is a runtime base image (`docker images jetfleet/bases`). The camera is a process of user 1000 in a container of
its own, 1280x720 at 30 Hz. All are in a network namespace that nobody else uses, so that bytes on `lo` are ours:
images that come by UDP are seen there. CPU is that of the container's control group. Prints a line each round and one
JSON object; exit code 1 when an image came by UDP or was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.frames.network import write_network, write_runtime

ROOT = Path(__file__).parents[1]
NAME = f"jetfleet-bench-{os.getpid()}"
ARMS: dict[str, Sequence[str]] = {
    "Docker's defaults": (),
    "robot.compose.yaml": (
        "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--read-only", "--tmpfs=/tmp:size=64m,mode=1777",
        "--pids-limit=512",
    ),
}  # fmt: skip
START_S = 120.0
REPORT = (
    "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9310/report', timeout=5).read().decode())"
)
LO = "print(next(line.split()[1] for line in open('/proc/net/dev') if line.strip().startswith('lo:')))"
UDP_BYTES_PER_S = 10e6
"""A camera's images are 83 MB a second; discovery and reports are less than one."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory(prefix="jetfleet-container-") as name:
        folder = Path(name)
        write_network(folder / "network.onnx")
        write_runtime(folder, folder / "network.onnx", 720, 1280)
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        try:
            run("net", given.image, "--network=none", "--user=0", "--entrypoint=sleep", after=["3600"])
            camera = ["/camera.py", "1280", "720", "30"]
            mount = f"--volume={ROOT}/benchmarks/outside_camera.py:/camera.py:ro"
            run("camera", given.image, *SHARED, mount, "--entrypoint=python3", after=camera)
            for _ in range(given.rounds):
                for arm, options in ARMS.items():
                    found[arm].append(one_round(given.image, folder, options, given.seconds))
                    print(arm, json.dumps(found[arm][-1]), flush=True)
        finally:
            docker("rm", "--force", *(f"{NAME}-{part}" for part in ("net", "camera", "runtime")), check=False)
    middle = {arm: {key: median(one[key] for one in rounds) for key in rounds[0]} for arm, rounds in found.items()}
    print(json.dumps({"benchmark": "container", "load_average": os.getloadavg(), "median": middle}))
    bad = [
        one for rounds in found.values() for one in rounds if one["lo_mb_per_s"] * 1e6 > UDP_BYTES_PER_S or one["lost"]
    ]
    return 1 if bad else 0


SHARED = (f"--network=container:{NAME}-net", "--ipc=host", "--user=1000:1000")


def one_round(image: str, folder: Path, options: Sequence[str], seconds: float) -> dict[str, float]:
    """Run the container once, and read what it took and gave in ``seconds``."""
    places = (
        f"--volume={folder}:/bench:ro", "--env=JETFLEET_CONFIG=/bench/runtime.json",
        "--env=JETFLEET_ENGINES_DIR=/bench/engines", "--env=JETFLEET_ROBOT=bench",
    )  # fmt: skip
    container = run("runtime", image, *SHARED, *options, *places)
    try:
        ends = time.monotonic() + START_S
        while not (said := report()) or said["models"][0]["frames"] < 60:
            if time.monotonic() > ends:
                raise SystemExit(f"no frames within {START_S:g} s: {docker('logs', f'{NAME}-runtime', check=False)}")
            time.sleep(0.5)
        before, cpu, lo, begun = said["models"][0], cpu_seconds(container), lo_bytes(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begun
        cpu, lo = cpu_seconds(container) - cpu, lo_bytes() - lo
        after = report()["models"][0]
        return {
            "frames": after["frames"] - before["frames"],
            "lost": after["causes"].get("lost", 0) - before["causes"].get("lost", 0),
            "cpu_percent": round(100 * cpu / took, 1),
            "inference_p50_ms": round(after["inference_ms"]["p50"], 2),
            "inference_p99_ms": round(after["inference_ms"]["p99"], 2),
            "frame_age_p50_ms": round(after["frame_age_ms"]["p50"], 2),
            "frame_age_p99_ms": round(after["frame_age_ms"]["p99"], 2),
            "lo_mb_per_s": round(lo / took / 1e6, 2),
        }
    finally:
        docker("rm", "--force", f"{NAME}-runtime")


def run(part: str, image: str, *options: str, after: Sequence[str] = ()) -> str:
    """Start a container; return its id."""
    return docker("run", "--detach", f"--name={NAME}-{part}", *options, image, *after).strip()


def docker(*words: str, check: bool = True) -> str:
    ran = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=120)
    if check and ran.returncode:
        raise SystemExit(f"docker {words[0]}: {ran.stderr}")
    return ran.stdout + ("" if check else ran.stderr)


def report() -> Any:
    """The agent's report; nothing while it does not answer."""
    text = docker("exec", f"{NAME}-runtime", "python3", "-I", "-S", "-c", REPORT, check=False)
    return json.loads(text) if text.startswith("{") else None


def lo_bytes() -> int:
    return int(docker("exec", f"{NAME}-net", "python3", "-I", "-S", "-c", LO))


def cpu_seconds(container: str) -> float:
    """CPU that the container's processes took so far, by its control group (v1 or v2)."""
    pid = docker("inspect", "--format={{.State.Pid}}", container).strip()
    groups = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        groups.update(dict.fromkeys(names.split(","), path.lstrip("/")))
    root = Path("/sys/fs/cgroup")
    if "cpuacct" in groups:
        return int((root / "cpuacct" / groups["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
    return int((root / groups[""] / "cpu.stat").read_text().split()[1]) / 1e6


if __name__ == "__main__":
    sys.exit(main())
