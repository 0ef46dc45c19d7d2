"""The lab as an object: bring it up, take it down, look into its robots."""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import DockerException
from docker.models.containers import Container

from fleetbox import containers, images, keys, network
from fleetbox.exec_channel import ChannelClosed, Channels, run_request, socket_request
from fleetbox.spec import USER, LabError, LabSpec, RobotSpec
from fleetbox.waiting import wait_for

LOCK_DEADLINE_S = 600
REGISTRY_DEADLINE_S = 30
SSH_DEADLINE_S = 30
ENGINE_DEADLINE_S = 90
CAMERA_DEADLINE_S = 60
UPDATER_SOCKET = "/run/jetfleet/updater.sock"
EXEC_MARGIN_S = 60
"""A command ends at its own deadline; so much later its client is ended, if a busy Engine has not said so."""


@dataclass(frozen=True)
class Output:
    """How a command inside a robot ended."""

    exit_code: int
    stdout: str
    stderr: str

    def check(self) -> str:
        """Return stdout; LabError when the command failed."""
        if self.exit_code != 0:
            raise LabError(f"command ended with {self.exit_code}: {(self.stderr or self.stdout).strip()[-2000:]}")
        return self.stdout


class Lab:
    """One lab on one Docker Engine. Construction talks to nobody; LabError says what went wrong and what to do."""

    def __init__(self, spec: LabSpec, say: Callable[[str], None]) -> None:
        self.spec = spec
        self._say = say
        self._client: docker.DockerClient | None = None
        self._channels = Channels(self._started_at)

    # ── up and down ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def client(self) -> docker.DockerClient:
        """The Docker Engine's client. Raises LabError when no Engine answers."""
        if self._client is None:
            try:
                self._client = docker.from_env(timeout=120)
                self._client.ping()
            except DockerException as error:
                self._client = None
                raise LabError(f"no Docker Engine answers: {error}", "run `make setup`") from error
        return self._client

    def up(self) -> None:
        """Make and start what is missing, then wait until every part answers. Can be called at any time."""
        with self.locked():
            containers.refuse_foreign(self.client, self.spec)
            network.ensure_network(self.client, self.spec, containers.labels(self.spec))
            keys.ensure_keys(self.spec)
            registry_image, robot_image = self.images()
            containers.ensure_registry(self.client, self.spec, registry_image)
            for robot in self.spec.robots:
                containers.ensure_robot(self.client, self.spec, robot, robot_image)
            containers.remove_images(self.client, keep={registry_image, robot_image})
            self.wait_ready()

    def images(self) -> tuple[str, str]:
        """Return the tags of the registry's and the robots' image; build what was never built from this content."""
        registry = images.ensure_registry_image(self.client, self._say)
        return registry, images.ensure_robot_image(self.client, self.spec, self._say)

    def down(self) -> int:
        """Remove robots, registry, volumes and the network; return how many things were removed."""
        with self.locked():
            return containers.remove_everything(self.client, self.spec)

    def fresh_robots(self) -> int:
        """Remove all robots, volumes included; `up` makes them as just flashed. The registry keeps what it has."""
        with self.locked():
            return containers.remove_robots(self.client, self.spec)

    def wait_ready(self) -> None:
        """Wait for the registry and for all robots, side by side. Raises LabError at a deadline."""
        self.wait_registry()
        with ThreadPoolExecutor(len(self.spec.robots)) as pool:
            for done in [pool.submit(self.wait_robot, robot.name) for robot in self.spec.robots]:
                done.result()

    def wait_registry(self) -> None:
        """Wait until the registry's API answers."""
        wait_for(f"the registry at {self.spec.registry_address}", self.registry_reason, REGISTRY_DEADLINE_S)

    def wait_robot(self, name: str, *, camera: bool = True) -> None:
        """Wait for the robot's sshd, its Engine, and (a ROS process has to start for it) a first camera image."""
        robot = self.robot(name)
        hint = f"look into it: docker logs {robot.container}; docker exec {robot.container} ls /var/log/jetfleet-lab"
        wait_for(f"sshd of {name} at {robot.address}", lambda: self.ssh_reason(name), SSH_DEADLINE_S, hint)
        wait_for(f"the Engine inside {name}", lambda: self.engine_reason(name), ENGINE_DEADLINE_S, hint)
        if camera:
            wait_for(f"a camera image inside {name}", lambda: self.camera_reason(name), CAMERA_DEADLINE_S, hint)

    # ── looking and doing ────────────────────────────────────────────────────────────────────────────────────────

    def robot(self, name: str) -> RobotSpec:
        """Return the robot of that name. Raises LabError for an unknown one."""
        for robot in self.spec.robots:
            if robot.name == name:
                return robot
        raise LabError(f"the lab has no robot {name!r}", f"it has {', '.join(r.name for r in self.spec.robots)}")

    def container(self, name: str) -> Container:
        """Return the robot's container. Raises LabError when it does not exist."""
        found = containers.find(self.client, self.robot(name).container)
        if found is None:
            raise LabError(f"{name} is not there", "run `make lab-up`")
        return found

    def exec(self, name: str, argv: Sequence[str], *, user: str = "root", deadline_s: float = 60) -> Output:
        """Run a command inside the robot, without SSH; exit code 124 past the deadline, 125 when it does not run.

        137: the robot lost its power meanwhile.
        """
        return self._in_robot(name, run_request(argv, deadline_s), user, deadline_s)

    def ask_updater(self, name: str, verb: str, deadline_s: float = 60) -> dict[str, Any] | None:
        """Ask the robot's updater through its socket, as `fleet-updater VERB` does without being a process each time.

        None while it does not answer. Raises LabError when it refuses.
        """
        request = socket_request(UPDATER_SOCKET, {"verb": verb}, deadline_s)
        output = self._in_robot(name, request, "root", deadline_s)
        if output.exit_code != 0 or not output.stdout.endswith("\n"):
            return None
        answer: dict[str, Any] = json.loads(output.stdout)
        if not answer["ok"]:
            raise LabError(f"the updater of {name} refuses {verb}: {answer['error']}")
        value: dict[str, Any] = answer["value"]
        return value

    def _in_robot(self, name: str, request: dict[str, Any], user: str, deadline_s: float) -> Output:
        robot = self.robot(name)
        try:
            said = self._channels.run(robot.container, user, request, deadline_s + EXEC_MARGIN_S)
        except TimeoutError:
            return Output(124, "", f"no end within {deadline_s:g} s")
        except ChannelClosed as error:
            if containers.find(self.client, robot.container) is None:
                raise LabError(f"{name} is not there", "run `make lab-up`") from error
            return Output(125, "", f"{name} does not run, or takes no commands: {error}")
        return Output(said.exit_code, said.stdout.decode(), said.stderr.decode())

    def _started_at(self, container: str) -> str:
        """Return since when a container runs; empty when it does not."""
        found = containers.find(self.client, container)
        return str(found.attrs["State"]["StartedAt"]) if found is not None and found.status == "running" else ""

    def close(self) -> None:
        """End what is kept open to robots; it opens again by itself."""
        self._channels.close()

    def ssh(self, name: str, command: str, *, deadline_s: float = 30) -> Output:
        """Run a shell command over SSH as the operator does; exit code 255 when the connection failed."""
        argv = ["ssh", *self.ssh_options(), f"{USER}@{self.robot(name).address}", command]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline_s, check=False)
        except subprocess.TimeoutExpired:
            return Output(124, "", f"no answer within {deadline_s:g} s")
        return Output(done.returncode, done.stdout, done.stderr)

    def ssh_options(self) -> list[str]:
        """Return options for OpenSSH's client: the lab's key, its known hosts, no questions, short deadlines."""
        settings = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "5",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(keys.known_hosts(self.spec)),
        }
        return ["-F", "none", "-i", str(self.spec.key), *(f"-o{key}={value}" for key, value in settings.items())]

    def camera(self, name: str, count: int = 1, deadline_s: float = 20) -> dict[str, Any]:
        """Receive ``count`` images with a real subscriber inside the robot; return what probe.py reports."""
        argv = ["env", *_camera_environment(), "/opt/camera/bin/python", "/opt/camera/probe.py"]
        argv += ["--count", str(count), "--deadline", str(deadline_s)]
        output = self.exec(name, argv, user=USER, deadline_s=deadline_s + 20)
        lines = output.stdout.strip().splitlines()
        if not lines:
            raise LabError(f"the camera probe in {name} ended with {output.exit_code}: {output.stderr.strip()[-500:]}")
        report: dict[str, Any] = json.loads(lines[-1])
        return report

    # ── why not yet ──────────────────────────────────────────────────────────────────────────────────────────────

    def robot_reason(self, name: str) -> str | None:
        """Return None when all of the robot answers, else the first thing that does not."""
        found = containers.find(self.client, self.robot(name).container)
        if found is None or found.status != "running":
            return "does not exist (make lab-up)" if found is None else f"container is {found.status} (make lab-up)"
        for part, probe in (("sshd", self.ssh_reason), ("Engine", self.engine_reason), ("camera", self.camera_reason)):
            reason = probe(name)
            if reason is not None:
                return f"{part}: {reason}"
        return None

    def registry_reason(self) -> str | None:
        """Return None when the registry answers, else why it does not."""
        try:
            with urllib.request.urlopen(f"http://{self.spec.registry_address}/v2/", timeout=3) as answer:
                return None if answer.status == 200 else f"status {answer.status}"
        except (OSError, urllib.error.URLError) as error:
            return str(error)

    def ssh_reason(self, name: str) -> str | None:
        """Return None when the robot lets us in, else why it does not."""
        output = self.ssh(name, "true", deadline_s=10)
        return None if output.exit_code == 0 else output.stderr.strip() or f"ssh ended with {output.exit_code}"

    def engine_reason(self, name: str) -> str | None:
        """Return None when the robot's Engine answers, else why it does not."""
        output = self.exec(name, ["docker", "version", "--format", "{{.Server.Version}}"], deadline_s=10)
        return None if output.exit_code == 0 else (output.stderr or output.stdout).strip()

    def camera_reason(self, name: str) -> str | None:
        """Return None when an image arrives inside the robot, else what was seen instead."""
        try:
            report = self.camera(name, deadline_s=5)
        except LabError as error:
            return str(error)
        return None if report["received"] else f"none arrived; publishers on the topic: {report['publishers']}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time in this checkout."""
        self.spec.home.mkdir(parents=True, exist_ok=True)
        with (self.spec.home / "lock").open("w") as file:
            deadline = time.monotonic() + LOCK_DEADLINE_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise LabError(f"another lab command holds {file.name} for {LOCK_DEADLINE_S} s") from error
                    time.sleep(0.2)
            yield


def _camera_environment() -> list[str]:
    """Return the settings under which the camera publishes (see init.py); a subscriber needs the same transport."""
    return [
        "FASTDDS_DEFAULT_PROFILES_FILE=/opt/camera/fastdds.xml",
        "ROS_DOMAIN_ID=0",
        "ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
        "ROS_LOG_DIR=/tmp/probe-log",
    ]
