"""The robots of one worker. A test has them put where it begins; nothing else of the lab is shared but what is read.

`WorkerBay.put` is quick for a robot that no test has touched since, and makes any other one from nothing, out of the
state that was kept of it: what a failed test left behind goes no further.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fleetbox import containers
from fleetbox.bay import Bay
from fleetbox.containers import KeptState
from fleetbox.exec_channel import close_all
from fleetbox.lab import Lab
from fleetbox.running import RunningLab
from fleetbox.spec import LabError, LabSpec

from tests.lab.road import Road
from tests.lab.shared import FIRST, SharedRoad, shared_road
from tests.lab.site import Site

CAMERA_HZ = 2.0
"""Twice what the example model wants at least. At 5 Hz a third of what the suite computes was inference."""
LAST_BAY = 14
"""As many as a /24 has addresses for."""
WELL_S = 240

LOOK = r"""
cd /var/lib/jetfleet && cat state/journal.json state/history.jsonl state/robot.json serve/active trust-root/* 2>&1
readlink current previous updater/in-use; ls -A . state releases updater /usr/local/bin /etc/docker /etc/docker/certs.d
docker ps --all --quiet --no-trunc | xargs -r docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.State.Status}}'
docker image ls --all --no-trunc --format '{{.ID}} {{.Repository}} {{.Digest}}'
grep -E 'tmpfs /var/lib|small' /proc/mounts; ls /tmp/*.pid /run/jetfleet-lab/*.hold /run/jetfleet-lab/faults
iptables -S INPUT; cat /sys/class/net/eth0/carrier
"""
"""All by which a robot shows that somebody did something with it."""

WELL = """
import json, subprocess, sys, time, urllib.request
ends, said = time.monotonic() + {deadline}, "nothing yet"
while time.monotonic() < ends:
    time.sleep(0.05)
    try:
        with urllib.request.urlopen("http://127.0.0.1:9310/report", timeout=5) as answer:
            report = json.load(answer)
        said = json.dumps(report)
        if not (report["ready"] and report["state"] == "ok"):
            continue
        ran = subprocess.run(["fleet-updater", "status", "--json"], capture_output=True, text=True)
        said = ran.stdout + ran.stderr
        if ran.returncode == 0 and json.loads(said)["state"] == "idle":
            sys.exit(0)
    except (OSError, ValueError, KeyError) as error:
        said = repr(error)
sys.exit("not well within {deadline} s: " + said)
"""


class WorkerBay:
    """One bay that nobody else uses, for as long as this object lives."""

    def __init__(self, bay: Bay, scratch: Path, key: str) -> None:
        self.bay = bay
        self.running: RunningLab = bay.running
        self._scratch, self._key = scratch, key
        self._copies = 0
        self._marks: dict[str, str] = {}

    # ── what all workers share ──

    @property
    def shared(self) -> SharedRoad:
        """The releases that were published once for all workers."""
        return shared_road(self.bay, self._key)

    def published(self) -> Road:
        """Return a checkout of where the shared releases were published: to read, and to publish the same again."""
        return self._checkout(self.shared.prefix)

    def road(self, version: str = "1.2.0") -> Road:
        """Return a checkout with a registry prefix of its own, in which the shared releases are published.

        Its manifest is that of ``version``: 1.2.0, whose model is spoiled, or 1.0.0.
        """
        self._copies += 1
        shared = self.shared.prefix
        prefix = f"{shared}-bay{self.bay.spec.bay}-{self._copies}"
        self.bay.copy_repositories(shared, prefix)
        return self._checkout(prefix, version)

    def _checkout(self, prefix: str, version: str = "1.2.0") -> Road:
        self._copies += 1
        folder = self._scratch / str(self._copies)
        shutil.copytree(self.shared.first if version == "1.0.0" else self.shared.folder, folder)
        site = Site(self.running, folder)
        site.move(f"{self.running.registry}/{prefix}")
        return Road(site, self.shared.builds, self.shared.publishes)

    # ── robots ──

    def on_first(self, *robots: str, version: str = "1.2.0") -> Road:
        """Put robots (all by default) on 1.0.0, bootstrapped and well, and return a new checkout; see `road`."""
        made = self.road(version)
        self.put(*robots)
        made.site.scope = robots
        return made

    def put(self, *robots: str, state: str = FIRST) -> None:
        """Have robots (all by default) be as they were when ``state`` was kept; the bay's others lose their power."""
        robots = robots or tuple(self.running.robots)
        self.bay.off([name for name in self.running.robots if name not in robots])
        with ThreadPoolExecutor(len(robots)) as pool:
            list(pool.map(lambda name: self._put(name, state), robots))

    def put_alone(self, robot: str) -> None:
        """Put one robot on 1.0.0 from nothing; the bay's others stay as they are."""
        self.forget(robot)
        self._put(robot, FIRST)

    def keep(self, robot: str, state: str) -> None:
        """Keep what a robot is now under a name, and put it there."""
        self.bay.keep(robot, self._own(robot, state))
        self.put(robot, state=state)

    def fresh(self, *robots: str) -> None:
        """Make robots as just flashed, and cut the power of the bay's others."""
        self.bay.off([name for name in self.running.robots if name not in robots])
        self.forget(*robots)
        self.bay.put(robots, {})

    def on_first_with_systemd(self, robot: str) -> Road:
        """Put one robot on 1.0.0 as `on_first` does, under systemd, which knows nothing of the updater yet."""
        made = self.road()
        self.bay.off([name for name in self.running.robots if name != robot])
        self.forget(robot)
        self.bay.put_systemd(robot, (KeptState(self.shared.states[robot]),))
        made.site.scope = (robot,)
        return made

    def with_own_registry(self) -> RunningLab:
        """Return the robots with a registry that no other worker has: with all releases in it, and to be broken."""
        assert self.shared
        return self.bay.with_own_registry()

    def rest(self) -> None:
        """Cut the power of all robots: no test of this worker needs them for now."""
        self.bay.off(list(self.running.robots))
        close_all()

    def forget(self, *robots: str) -> None:
        """Have robots made from nothing when they are put somewhere next, whatever they look like."""
        for name in robots:
            self._marks.pop(name, None)

    def _put(self, name: str, state: str) -> None:
        if self._untouched(name, state):
            return
        try:
            self._make(name, state)
        except LabError as error:
            print(f"lab: {name} did not come up from {state!r}, once more: {error}")
            self._make(name, state)

    def _make(self, name: str, state: str) -> None:
        self._marks.pop(name, None)
        first = KeptState(self.shared.states[name])
        states = (first,) if state == FIRST else (first, self._own(name, state))
        self.bay.put([name], {name: states})
        self._well(name)
        self._marks[name] = self._look(name, state)

    def _untouched(self, name: str, state: str) -> bool:
        mark = self._marks.get(name)
        try:
            if mark is None or self._look(name, state) != mark:
                return False
            self._well(name)
        except LabError:
            return False
        return True

    def _well(self, name: str) -> None:
        script = WELL.replace("{deadline}", str(WELL_S))
        self.running.exec(name, ["python3", "-c", script], deadline_s=WELL_S + 30).check()

    def _look(self, name: str, state: str) -> str:
        container = self.bay.lab.container(name)
        container.reload()
        began = f"{state} {container.id} {container.attrs['State']['StartedAt']} {container.status}\n"
        seen = self.running.exec(name, ["sh", "-c", LOOK])
        return hashlib.sha256((began + seen.stdout).encode()).hexdigest()

    def _own(self, robot: str, state: str) -> KeptState:
        return KeptState(f"{self.bay.spec.place}-{robot}-{state}")

    # ── the end ──

    def close(self) -> None:
        """Remove the bay's robots, its own registry and its states, and forget its corners of the registry."""
        self.bay.remove()
        self.bay.forget(f"road-{self._key}-bay{self.bay.spec.bay}-")
        close_all()
        self.bay.lab.client.close()


@contextmanager
def claimed_bay(spec: LabSpec, scratch: Path, key: str) -> Iterator[WorkerBay]:
    """Take the first bay that no other process has; what an ended one left in it is removed."""
    with _free_bay(spec) as number:
        bay = Bay(Lab(replace(spec.in_bay(number), camera_hz=CAMERA_HZ), lambda text: print(f"lab: {text}")))
        bay.prepare()
        _sweep(bay)
        worker = WorkerBay(bay, scratch, key)
        try:
            yield worker
        finally:
            worker.close()


def _sweep(bay: Bay) -> None:
    """Remove what ended sessions left in this bay and in others that nobody has."""
    bay.remove()
    for number in containers.bays_in_use(bay.lab.client, bay.spec) - {bay.spec.bay}:
        with _locked(bay.spec, number) as free:
            if free:
                Bay(Lab(bay.spec.in_bay(number), lambda _text: None)).remove()


@contextmanager
def _free_bay(spec: LabSpec) -> Iterator[int]:
    for number in range(1, LAST_BAY + 1):
        with _locked(spec, number) as free:
            if free:
                yield number
                return
    raise LabError(f"all {LAST_BAY} bays of the lab {spec.name} are in use", "end other runs of the tests")


@contextmanager
def _locked(spec: LabSpec, number: int) -> Iterator[bool]:
    """Hold a bay, if nobody else does."""
    folder = spec.home / "bays"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{spec.name}-{number}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
