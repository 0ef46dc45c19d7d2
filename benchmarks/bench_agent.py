"""What the health agent costs: memory and CPU, against a bare `python -m http.server` in the same run.

    python benchmarks/bench_agent.py [--seconds 30]

The claim: at most 40 MB resident and 1 % of one core while it supervises an executor that reports four times a second,
reads the machine every two seconds, and is asked for `/healthz`, `/report` and `/metrics` once a second by somebody
else. Measured from /proc of the agent's process alone, after a warm-up; the executor is a stand-in without ROS and
engine. The machine is an Orin's tree (tests/fakes/machines), so that as many files are read as on a robot. The
yardstick is a process that imports http.server and is asked as often. Exit code 1 when a claim does not hold.
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
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.contract.codec import canonical_json  # noqa: E402
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig, Thresholds  # noqa: E402
from tests.fakes.robots.machine_tree import write_machine  # noqa: E402

RSS_LIMIT_KB = 40 * 1000
CPU_LIMIT = 0.01
MODELS = 4
WARM_UP_S = 3.0
PAGES = ("/healthz", "/report", "/metrics")
READY_S = 60.0

EXECUTOR = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from runtime.contract.engine.build import Percentiles
from runtime.contract.node.health import ModelHealth, SelfTest
from runtime.health.process.status import ExecutorStatus, StatusSender, SERVING
sender = StatusSender.from_environment()
test, times = SelfTest(True, 1.0, 0.9, "fine"), Percentiles(10.0, 11.0, 12.0, 10.0, 512)
frames = 0
def models():
    return tuple(ModelHealth(f"model_{{i}}", "fp16", "sha256:" + "ab" * 32, "cd" * 32, "active", test, times, times,
                             30.0, 30.0, frames, 3, 0) for i in range({MODELS}))
while sender.send(ExecutorStatus(os.getpid(), SERVING, "active", time.monotonic(), models())):
    frames += 7
    time.sleep(0.25)
"""
AGENT = f"""
import dataclasses, sys
from runtime.health.agent import Agent
from runtime.health.settings import AgentSettings
settings = dataclasses.replace(AgentSettings.from_environment(), executor=(sys.executable, "-S", "-c", {EXECUTOR!r}))
agent = Agent(settings)
print(agent.port, flush=True)
sys.exit(agent.run())
"""
YARDSTICK = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    rss_kb: int
    cpu_share: float
    """Of one core."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        agent = measure(AGENT, environment(Path(folder)), PAGES, seconds)
    bare = measure(YARDSTICK, dict(os.environ), ("/", "/", "/"), seconds)
    figures = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "seconds": seconds,
        "agent": {"rss_mb": round(agent.rss_kb / 1000, 1), "cpu_percent": round(100 * agent.cpu_share, 3)},
        "bare_http_server": {"rss_mb": round(bare.rss_kb / 1000, 1), "cpu_percent": round(100 * bare.cpu_share, 3)},
        "rss_ratio": round(agent.rss_kb / bare.rss_kb, 2),
    }
    print(json.dumps(figures, indent=1))
    failed = []
    if agent.rss_kb > RSS_LIMIT_KB:
        failed.append(f"resident {agent.rss_kb} kB, limit {RSS_LIMIT_KB} kB")
    if agent.cpu_share > CPU_LIMIT:
        failed.append(f"{agent.cpu_share:.2%} of a core, limit {CPU_LIMIT:.0%}")
    for claim in failed:
        print(f"FAILED: {claim}", file=sys.stderr)
    return 1 if failed else 0


def environment(folder: Path) -> dict[str, str]:
    """The agent's environment, with what the runtime image sets."""
    write_machine(folder / "machine", "l4t-36")
    models = tuple(
        ModelRuntime(
            f"model_{index}", "fp16", "sha256:" + "ab" * 32,
            (InputBinding("x", f"/camera_{index}", "sensor_msgs/msg/Image", "rgb8", 480, 640),),
            (OutputBinding("y", f"~/out_{index}", "tensor"),), Thresholds(50.0, 10.0, 100.0),
        )
        for index in range(MODELS)
    )  # fmt: skip
    config = folder / "runtime.json"
    config.write_bytes(canonical_json(RuntimeConfig(models)))
    lines = (ROOT / "images/runtime/runtime.env").read_text(encoding="utf-8").splitlines()
    image = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    (folder / "node").mkdir()
    ours = {
        "JETFLEET_CONFIG": str(config), "JETFLEET_HEALTH_PORT": "0", "JETFLEET_HOST_ROOT": str(folder / "machine"),
        "JETFLEET_NODE_DIR": str(folder / "node"),
    }  # fmt: skip
    return {**os.environ, **image, **ours, "PYTHONPATH": str(ROOT)}


def measure(program: str, environment: dict[str, str], pages: tuple[str, ...], seconds: float) -> Cost:
    """Run a server, ask it every second, and return what its process took."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wait_ready(port, pages[0])
        ask_for(port, pages, WARM_UP_S)
        cpu, begun = cpu_seconds(process.pid), time.monotonic()
        ask_for(port, pages, seconds)
        share = (cpu_seconds(process.pid) - cpu) / (time.monotonic() - begun)
        return Cost(resident_kb(process.pid), share)
    finally:
        process.terminate()
        process.wait(30)


def wait_ready(port: int, page: str) -> None:
    end = time.monotonic() + READY_S
    while get(port, page) != 200:
        if time.monotonic() > end:
            raise SystemExit(f"{page} is not 200 after {READY_S:g} s")
        time.sleep(0.1)


def ask_for(port: int, pages: tuple[str, ...], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for page in pages:
            if get(port, page) != 200:
                raise SystemExit(f"{page} is not 200")
        time.sleep(1.0)


def get(port: int, page: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def cpu_seconds(pid: int) -> float:
    """User and system time of the process alone, its children not counted."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
