"""Roll a release out to many robots over one real sshd; what `fleet status` costs stands beside it in the same run.

    python -m benchmarks.bench_ssh_rollout [--robots 50 200] [--parallel 16 64] [--limit 6.0]

Every address of 127/8 is a robot of its own, played in memory by one process of its own: the project's stand-in for an
updater, with a real clock. The registry is real, its engines are stand-ins. Printed for each size: wall, CPU and memory
of `fleet` (the robots' sshd shares the machine, so wall is the rig's), connections and commands a robot. The claim: a
robot's rollout costs at most ``--limit`` times the CPU of asking it once. Exit code 1 when it does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_ssh import Row, addresses, heading, measured
from fleet.adapters.system_clock import SystemClock
from fleet.cli import main as cli
from fleet.cli.wiring import Wiring
from fleet.link import robot as robot_client
from fleet.plan.diff import runtime_recipes
from fleet.publish.artifact import push_engine
from fleet.publish.base import upload_base
from tests.contract.hosts.local_sshd import LocalSshd
from tests.fakes.registries.publishing import docker_archive, engine_folder, image_config, tar_of
from tests.fakes.registries.registry_process import find_registry_binary, registry_process
from tests.fakes.robots import updater as played

ROOT = Path(__file__).resolve().parents[1]
STEP_S = 0.2
"""Six steps from an order to its confirmation."""
PROGRAM = """#!{python} -IS
import json, os, socket, sys
address = os.environ["SSH_CONNECTION"].split()[2]
with open({folder!r} + "/commands", "a") as log:
    log.write(address + "\\n")
words = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as line:
    line.connect({folder!r} + "/robots.sock")
    asked = {{"address": address, "words": words, "stdin": sys.stdin.read() if words[0] == "submit" else ""}}
    line.sendall(json.dumps(asked).encode())
    line.shutdown(socket.SHUT_WR)
    answer = json.load(line.makefile())
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["exit_code"])
"""
MANIFEST = """apiVersion: jetfleet/v1
fleet: warehouse
version: 1.0.0
registry: {{address: "{registry}/fleet{count}", plain_http: true}}
trust: unsigned
profiles: [profiles/sim-x86.yaml]
models: [models/sign_text.yaml]
defaults: {{profile: sim-x86, user: root, port: {port}, identity_file: {folder}/id}}
groups:
  amr: {{models: [{{model: sign_text, precision: fp32}}]}}
robots:
{robots}
rollout: {{waves: [1, 10%, 100%], soak: 1s, parallel: {parallel}}}
"""


class Robots(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """All robots, in memory; one is made when it is first asked."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, path: str) -> None:
        super().__init__(path, Asked)
        self.lock, self.robots = threading.Lock(), dict[str, played.FakeUpdater]()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            robot = self.robots.setdefault(
                asked["address"],
                played.FakeUpdater(asked["address"], SystemClock()),  # type: ignore[arg-type]
            )
            result = robot(asked["words"], asked["stdin"])
        return {"exit_code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}


class Asked(socketserver.StreamRequestHandler):
    """One command of one robot."""

    server: Robots

    def handle(self) -> None:
        self.wfile.write(json.dumps(self.server.answer(json.loads(self.rfile.read()))).encode())


def play(folder: str) -> int:
    """Play the robots until the process is ended."""
    played.STEP_S = STEP_S
    Robots(f"{folder}/robots.sock").serve_forever()
    return 0


def child(program: str, words: list[str]) -> int:
    """Run a verb of `fleet` with the robots' program; print how many robots are as they should be."""
    robot_client.COMMAND_PATH = program  # type: ignore[attr-defined]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = cli.run([*words, "--json"], as_json=True)
    robots = json.loads(told.getvalue())["robots"]
    fine = sum(robot.get("outcome") == "committed" or robot.get("state") == "idle" for robot in robots)
    print(json.dumps({"fine": fine, "resolved": 0, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
    return code


def lay_out(folder: Path, port: int, registry: str, count: int) -> Path:
    """Write a fleet of ``count`` robots and publish its release; return its folder."""
    made = folder / f"fleet{count}"
    for part in ("models", "profiles"):
        shutil.copytree(ROOT / "manifests" / part, made / part)
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    found = addresses(count)
    (made / "known_hosts").write_text("".join(f"r{n},[{at}]:{port} {key}\n" for n, at in enumerate(found)))
    write(made, folder, port, registry, count, parallel=16)
    wiring = Wiring(made)
    prefix = wiring.desired.registry.prefix
    for spec in wiring.desired.engines.values():
        engine = made / "engine"
        report = engine_folder(engine, spec.key, model=spec.model, precision=spec.precision)
        push_engine(wiring.registry, f"{prefix}/engines", spec.key, engine, report=report)
    for recipe in runtime_recipes(wiring.desired):
        layers = [tar_of({"etc/base": b"debian" * 1000})]
        upload_base(wiring.registry, f"{prefix}/bases", recipe.tag, [docker_archive(layers, image_config(layers))])
    subprocess.run(
        [sys.executable, "-m", "fleet.cli.main", "publish", "-m", str(made)], check=True, capture_output=True
    )
    return made


def write(made: Path, folder: Path, port: int, registry: str, count: int, *, parallel: int) -> None:
    robots = "\n".join(f"  - {{name: r{n}, host: {at}, group: amr}}" for n, at in enumerate(addresses(count)))
    text = MANIFEST.format(registry=registry, count=count, port=port, folder=folder, robots=robots, parallel=parallel)
    (made / "fleet.yaml").write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robots", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--parallel", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--limit", type=float, default=6.0)
    parser.add_argument("--play", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.play:
        return play(asked.play)
    if asked.child:
        return child(asked.child[0], asked.child[1:])
    binary = find_registry_binary()
    assert binary is not None, "no docker-registry binary: make setup"
    with tempfile.TemporaryDirectory(prefix="bench-rollout-") as name:
        folder = Path(name)
        (folder / "registry").mkdir()
        server = LocalSshd(folder)
        server.start("MaxSessions 100", "UseDNS no", "LogLevel INFO")
        try:
            with registry_process(binary, folder / "registry") as registry:
                return compare(folder, server.port, registry, asked.robots, asked.parallel, asked.limit)
        finally:
            server.stop()


def compare(folder: Path, port: int, registry: str, sizes: list[int], parallel: list[int], limit: float) -> int:
    program = folder / "fleet-updater"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    environment.pop("SSH_AUTH_SOCK", None)
    worst = 0.0
    print(heading())
    for count in sizes:
        made = lay_out(folder, port, registry, count)
        for width in parallel:
            write(made, folder, port, registry, count, parallel=width)
            status, rollout = rows(folder, made, count, width, environment)
            for row in (status, rollout):
                print(row, flush=True)
            worst = max(worst, rollout.cpu_s / status.cpu_s)
    print(f"\na robot's rollout costs {worst:.2f} times the CPU of asking it once; at most {limit:g} are claimed")
    return 0 if worst <= limit else 1


def rows(folder: Path, made: Path, count: int, width: int, environment: dict[str, str]) -> tuple[Row, Row]:
    """Ask robots that run nothing, then roll out to them."""
    (folder / "robots.sock").unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.bench_ssh_rollout"]
    robots = subprocess.Popen([*command, "--play", str(folder)])
    try:
        while not (folder / "robots.sock").exists():
            assert robots.poll() is None, "the robots' process ended"
            time.sleep(0.05)
        child_ = [*command, "--child", str(folder / "fleet-updater")]
        asked = [*child_, "status", "-m", str(made)]
        rolled = [*child_, "rollout", "--yes", "-m", str(made)]
        measured("warm", count, folder, asked, environment)
        return (
            measured("fleet status", count, folder, asked, environment),
            measured(f"fleet rollout, parallel {width}", count, folder, rolled, environment),
        )
    finally:
        robots.terminate()
        robots.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
