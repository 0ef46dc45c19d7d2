"""One operator's checkout against the lab: the example fleet under its own registry prefix, and the real command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fleetbox.running import RunningLab

from fleet.cache_folder import cache_dir

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 420.0
RUNTIME = """project=jetfleet
test "$(cat /var/lib/jetfleet/serve/active 2>/dev/null)" != b || project=jetfleet-b
docker ps --all --quiet --no-trunc --filter label=com.docker.compose.project=$project \\
  --filter label=com.docker.compose.service=runtime"""
"""Prints the id of the container that serves, whichever of the two projects it is in."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.stdout)


@dataclass
class Site:
    """A manifest folder and the `fleet` that reads it."""

    lab: RunningLab
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    scope: tuple[str, ...] = ()
    """The robots that the test uses; all when empty. Those of the others may be without power."""

    @classmethod
    def create(cls, lab: RunningLab, folder: Path, prefix: str) -> Site:
        """Copy the example fleet, as a clean checkout would have it."""
        shutil.copytree(ROOT / "manifests", folder)
        (folder / "known_hosts").unlink(missing_ok=True)
        site = cls(lab, folder)
        manifest = site.manifest()
        manifest["defaults"]["identity_file"] = str(lab.key)
        manifest["defaults"]["update"] = {"handover": "stop-start"}
        manifest["rollout"] = {"waves": [1, "100%"], "soak": "2s", "ready_timeout": "90s", "confirm_timeout": "30s"}
        site.save(manifest)
        site.move(f"{lab.registry}/{prefix}")
        return site

    def move(self, address: str) -> None:
        """Point the manifest at a place in a registry, and at the robots of its lab."""
        manifest = self.manifest()
        manifest["registry"]["address"] = address
        for robot in manifest["robots"]:
            robot["host"] = self.lab.robots[robot["name"]]
        self.save(manifest)
        pins = self.folder / "known_hosts"
        if pins.exists():
            lines = pins.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines):
                name = line.partition(",")[0]
                if name in self.lab.robots:  # `name,address kind key`: the lab's robots of one name have one key
                    lines[number] = f"{name},{self.lab.robots[name]} {line.partition(' ')[2]}"
            pins.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def prefix(self) -> str:
        """The manifest's place in the registry."""
        return str(self.manifest()["registry"]["address"]).partition("/")[2]

    @property
    def robots(self) -> tuple[str, ...]:
        """The robots that the test uses."""
        return self.scope or tuple(self.lab.robots)

    @property
    def only(self) -> tuple[str, ...]:
        """The options that name them."""
        return ("--robots", ",".join(self.scope)) if self.scope else ()

    def manifest(self) -> dict[str, Any]:
        """Return fleet.yaml as plain values."""
        loaded: dict[str, Any] = yaml.safe_load((self.folder / "fleet.yaml").read_text(encoding="utf-8"))
        return loaded

    def save(self, manifest: dict[str, Any]) -> None:
        """Write fleet.yaml."""
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")

    def set_version(self, version: str, *, scout: str | None = None) -> None:
        """Raise the version; put the scout's model to another precision."""
        manifest = self.manifest()
        manifest["version"] = version
        if scout:
            manifest["groups"]["scout"]["models"][0]["precision"] = scout
        self.save(manifest)

    def lock_alone(self, cache: Path) -> None:
        """Let this site share no locks with other workers, so that its builder containers can be told from theirs."""
        shared = cache_dir()
        cache = cache / "jetfleet"
        cache.mkdir(parents=True)
        for folder in shared.iterdir() if shared.is_dir() else ():
            if folder.name != "locks":
                (cache / folder.name).symlink_to(folder)
        self.environment["XDG_CACHE_HOME"] = str(cache.parent)

    def owner(self) -> str:
        """Return the label of this site's builder containers, after `lock_alone`."""
        cache = (Path(self.environment["XDG_CACHE_HOME"]) / "jetfleet").resolve()
        return f"{socket.gethostname()}/{hashlib.sha256(str(cache).encode()).hexdigest()[:12]}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `fleet` in a process group of its own, as a terminal does."""
        # A robot's tests break it as root over the same login; that it can be taken away is a test of its own.
        privileged = {"JETFLEET_PRIVILEGED_LOGIN": "1"}
        environment = {**os.environ, "FLEET_MANIFEST": str(self.folder), **privileged, **self.environment}
        command = [str(Path(sys.executable).with_name("fleet")), *arguments]
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def fleet(self, *arguments: str, code: int | Sequence[int] = 0) -> Result:
        """Run `fleet` to its end; the test fails when its exit code is another than ``code``."""
        return finish(self.start(*arguments), code)

    def fleet_json(self, *arguments: str, code: int | Sequence[int] = 0) -> Any:
        """Run `fleet … --json` and return its document."""
        at = arguments.index("--") if "--" in arguments else len(arguments)
        return self.fleet(*arguments[:at], "--json", *arguments[at:], code=code).json

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what every robot attests, by name. Robots may be offline."""
        document = self.fleet_json("status", *self.only, code=(0, 6))
        return {robot["name"]: robot for robot in document["robots"]}

    def releases(self) -> dict[str, str | None]:
        """Return the release that each robot runs."""
        return {name: robot["release"] for name, robot in self.status().items()}

    def until_well(self, deadline_s: float = 240.0) -> dict[str, dict[str, Any]]:
        """Wait until every robot is `ok` (a busy machine makes a camera's rate degraded for a while)."""
        ends = time.monotonic() + deadline_s
        while True:
            while time.monotonic() < ends and any(self.health(name) != "ok" for name in self.robots):
                time.sleep(0.1)
            robots = self.status()
            unwell = {name: robot for name, robot in robots.items() if robot["health"] != "ok"}
            if not unwell:
                return robots
            assert time.monotonic() < ends, f"not well within {deadline_s:g} s: {unwell}"

    def health(self, robot: str) -> str:
        """Return the state that the robot's agent reports, past SSH and without a process; empty when none comes."""
        attested = self.lab.ask_updater(robot, "attest") or {}
        return str(json.loads(attested.get("report_json") or "{}").get("state", ""))

    def containers(self) -> dict[str, str]:
        """Return the id of each robot's runtime container, from its own Engine."""
        return {name: self.container(name) for name in self.robots}

    def container(self, robot: str) -> str:
        """Return the id of the robot's container that serves; tests before may have left it in either project."""
        found = self.lab.exec(robot, ["sh", "-c", RUNTIME]).check().strip()
        assert found, f"{robot} has no runtime container"
        return found


def finish(process: subprocess.Popen[str], code: int | Sequence[int]) -> Result:
    """Wait for a command and check its exit code."""
    try:
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"{process.args!r} did not end within {DEADLINE_S:g} s\n{stdout}\n{stderr}") from None
    wanted = [code] if isinstance(code, int) else list(code)
    assert process.returncode in wanted, f"exit code {process.returncode}, not {wanted}\n{stdout}\n{stderr}"
    return Result(process.returncode, stdout, stderr)
