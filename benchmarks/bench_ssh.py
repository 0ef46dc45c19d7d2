"""Ask many robots for their state over one real sshd, with `ssh` itself beside it in the same run.

    python -m benchmarks.bench_ssh [--robots 200 1000] [--parallel 64] [--limit 1.0]

Every address of 127/8 is a robot of its own; what it answers is made by the project's stand-in for an updater, kept
in files, and printed by a program at the other end. Printed for each size: wall, CPU and memory of the process (the
robots' sshd shares the machine, so wall is the rig's), connections and commands a robot as the server counted them, and
what `ssh -G` costs: once without and once with answers kept on disk. The claim: for one connection and one command,
fleet's CPU a robot is at most ``--limit`` times that of one `ssh` process with the same key exchange. Exit code 1 when
it is not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.adapters.ssh.ssh_shell import SshShells
from fleet.adapters.system_clock import SystemClock
from fleet.link import robot as robot_client
from fleet.ports import RobotAddress
from runtime.contract.codec import canonical_json
from tests.contract.hosts.local_sshd import LocalSshd
from tests.fakes.clock import FakeClock
from tests.fakes.robots.updater import FakeUpdater

PROGRAM = """#!/bin/sh
set -- $SSH_CONNECTION
echo "$3" >>"${0%/*}/commands"
exec cat "${0%/*}/answers/$3"
"""
KEX = "curve25519-sha256@libssh.org"


@dataclass(frozen=True)
class Row:
    """One measurement."""

    what: str
    robots: int
    wall_s: float
    cpu_s: float
    memory_mb: float
    connections: int
    commands: int
    resolved: int
    """Runs of `ssh -G`."""

    def __str__(self) -> str:
        each = 1000 * self.cpu_s / self.robots
        return (
            f"{self.what:<28} {self.robots:>6} {self.wall_s:>8.2f} {self.cpu_s:>8.2f} {each:>9.1f} "
            f"{self.memory_mb:>7.0f} "
            f"{self.connections / self.robots:>6.1f} {self.commands / self.robots:>6.1f} {self.resolved:>7}"
        )


def heading() -> str:
    return f"{'':<28} robots   wall s    CPU s  ms/robot  MB rss  conn.  comm.  ssh -G"


def addresses(count: int) -> list[str]:
    return [f"127.{10 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}" for n in range(count)]


def lay_out(folder: Path, count: int) -> None:
    """Write what each robot answers, and the program that says it."""
    (folder / "answers").mkdir(exist_ok=True)
    clock = FakeClock()
    for number, address in enumerate(addresses(count)):
        state = FakeUpdater(f"robot-{number}", clock, version="1.0.0").state
        (folder / "answers" / address).write_bytes(canonical_json(state))
    program = folder / "fleet-updater"
    program.write_text(PROGRAM)
    program.chmod(0o755)


def ask_all(folder: Path, port: int, count: int, parallel: int) -> dict[str, Any]:
    """Ask every robot once, as `fleet status` does; in a process of its own."""
    shells = SshShells(folder / "known_hosts", ssh_config=folder / "config")
    robot_client.COMMAND_PATH = str(folder / "fleet-updater")  # type: ignore[attr-defined]
    clock = SystemClock()

    def one(item: tuple[int, str]) -> bool:
        number, address = item
        client = robot_client.RobotClient(
            RobotAddress(f"robot-{number}", address, port, "root", str(folder / "id")), shells, clock
        )
        try:
            return client.observe().state is not None
        finally:
            client.close()

    with ThreadPoolExecutor(parallel) as pool:
        fine = sum(pool.map(one, enumerate(addresses(count))))
    return {"fine": fine, "resolved": shells.resolver.calls}


def measured(what: str, count: int, folder: Path, command: list[str], environment: dict[str, str]) -> Row:
    log, seen = folder / "sshd.log", folder / "commands"
    seen.write_text("")
    before = log.read_bytes().count(b"Accepted publickey")
    usage, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    out, _ = process.communicate(timeout=1500)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise SystemExit(f"{what}: exit code {process.returncode}")
    told = json.loads(out) if out.startswith(b"{") else {"fine": count, "resolved": 0, "rss": 0}
    if told["fine"] != count:
        raise SystemExit(f"{what}: {told['fine']} of {count} robots answered")
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    connections = log.read_bytes().count(b"Accepted publickey") - before
    commands = len(seen.read_text().splitlines())
    return Row(what, count, wall, cpu, told.get("rss", 0) / 1024, connections, commands, told["resolved"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robots", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--limit", type=float, default=1.0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        folder, port, count = asked.child
        found = ask_all(Path(folder), int(port), int(count), asked.parallel)
        print(json.dumps({**found, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-ssh-") as name:
        return compare(Path(name), asked.robots, asked.parallel, asked.limit)


def compare(folder: Path, sizes: list[int], parallel: int, limit: float) -> int:
    server = LocalSshd(folder)
    server.start("MaxSessions 100", "UseDNS no", "LogLevel INFO")
    try:
        key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"* {key}\n")
        (folder / "config").write_text(
            f"Host *\n  KexAlgorithms {KEX}\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
        )
        print(heading())
        worst = 0.0
        for count in sizes:
            lay_out(folder, count)
            worst = max(worst, compare_one(folder, server.port, count, parallel))
    finally:
        server.stop()
    print(f"\nfleet's CPU a robot is {worst:.2f} times that of `ssh`; at most {limit:g} are claimed")
    return 0 if worst <= limit else 1


def compare_one(folder: Path, port: int, count: int, parallel: int) -> float:
    cache = folder / f"cache-{count}"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("SSH_AUTH_SOCK", None)
    child = [sys.executable, "-m", "benchmarks.bench_ssh", "--parallel", str(parallel)]
    child += ["--child", str(folder), str(port), str(count)]
    first = measured("fleet, configuration unknown", count, folder, child, environment)
    known = measured("fleet, configuration known", count, folder, child, environment)
    (folder / "hosts").write_text("\n".join(addresses(count)) + "\n")
    words = f"-F {folder}/config -p {port} -i {folder}/id -o BatchMode=yes root@{{}} {folder}/fleet-updater status"
    line = f"xargs -a {folder}/hosts -P 16 -I{{}} ssh {words} >/dev/null"
    beside = measured("ssh, 16 at a time", count, folder, ["sh", "-c", line], environment)
    resolve = f"xargs -a {folder}/hosts -P 2 -I{{}} ssh -F {folder}/config -G {{}} >/dev/null 2>&1"
    asked = measured("ssh -G alone", count, folder, ["sh", "-c", resolve], environment)
    for row in (first, known, beside, asked):
        print(row, flush=True)
    return known.cpu_s / beside.cpu_s


if __name__ == "__main__":
    sys.exit(main())
