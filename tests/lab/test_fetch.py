"""Fetching on bad links, with the robot's real Engine and a real registry: what came over stays, what runs runs on.

Each order is for an image of the running release with one more layer, which cannot be compressed; its switch window is
never open, so that it ends as deferred once all is on the robot and verified.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fleetbox.running import RunningLab

from runtime.contract.codec import canonical_json, from_dict, from_json
from runtime.contract.robot.switching import SwitchRules, Window
from runtime.contract.robot.update import ROBOT_DIR, UpdateOrder, UpdateState
from tests.lab.bays import WorkerBay
from tests.lab.big_image import Big, Repository, with_layer
from tests.lab.site import RUNTIME

ROBOT, OTHER = "amr-001", "scout-001"
MB = 1_000_000
BLOBS = ROBOT_DIR + "/blobs"
LINE = re.compile(r'"(\w+) (\S+) HTTP/1.1" (\d+) (\d+)')
COMMAND = "/usr/local/bin/fleet-updater"
pytestmark = pytest.mark.xdist_group("lab-fetch")


@dataclass
class Robot:
    """One robot on 1.0.0, and its registry's log."""

    lab: RunningLab
    name: str = ROBOT
    container: str = ""
    seen: int = 0
    orders: list[str] = field(default_factory=list)
    slowed: bool = False

    def begin(self) -> None:
        self.container = self.runs()
        self.seen = len(self.lab.registry_requests())

    def slow(self, megabits: float) -> None:
        self.lab.slow_link(self.name, int(megabits * 1000))
        self.slowed = True

    def runs(self) -> str:
        """Return container and start of the old release; another one means that it was touched."""
        words = "docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.State.Running}}' "
        return self.ask("sh", "-c", f"{words} $({RUNTIME})")

    def ask(self, *words: str) -> str:
        """Return what a command says that says something: on a busy machine `docker exec` loses that at times."""
        said = [""]

        def heard() -> bool:
            said[0] = self.lab.exec(self.name, words).check().strip()
            return bool(said[0])

        until(f"word from {words[0]}", heard)
        return said[0]

    def order(self, **rules: Any) -> UpdateOrder:
        """Return an order for what runs, from this lab's registry, which is switched to never."""
        told = from_json(UpdateOrder, self.ask("cat", ROBOT_DIR + "/current/release.json"))
        image = f"{self.lab.registry}/{told.variant.image.partition('/')[2]}"
        told = replace(told, variant=replace(told.variant, image=image))
        day = (time.gmtime().tm_wday + 3) % 7
        never = SwitchRules(wait_s=0.0, switch=(Window(0, 1, (day,)),), **rules)
        return replace(told, order_id=f"fetch-{time.monotonic_ns()}", issued_at=time.time(), switch=never)

    def big(self, megabytes: int, **rules: Any) -> Big:
        return with_layer(self.order(**rules), random.Random(time.monotonic_ns()).randbytes(megabytes * MB))

    def submit(self, order: UpdateOrder) -> None:
        text = canonical_json(order).decode()
        path = "/tmp/fetch-order.json"
        self.lab.exec(self.name, ["python3", "-c", f"import sys; open({path!r}, 'w').write(sys.argv[1])", text]).check()
        self.lab.exec(self.name, ["sh", "-c", f"{COMMAND} submit < {path}"]).check()
        self.orders.append(order.order_id)

    def state(self) -> UpdateState:
        """Return what the updater says, once it answers."""
        ends = time.monotonic() + 300
        while (found := self.asked()) is None:
            assert time.monotonic() < ends, "the updater does not answer"
            time.sleep(0.05)
        return found

    def asked(self) -> UpdateState | None:
        """Return what the updater says; None while it is away."""
        answer = self.lab.ask_updater(self.name, "status")
        return None if answer is None else from_dict(UpdateState, answer)

    def arrived(self, big: Big) -> int:
        """Return the bytes of the layer that are in the robot's store."""
        name = f"{BLOBS}/{big.layer.digest.replace(':', '-')}*"
        return int(self.ask("sh", "-c", f"stat -c %s {name} 2>/dev/null || echo 0").split()[0])

    def at(self, big: Big, share: float, then: str) -> None:
        """Run ``then`` on the robot the moment so much of the layer has come; a busy machine does not miss it."""
        name = f"{BLOBS}/{big.layer.digest.replace(':', '-')}.partial"
        size = f'"$(stat -c %s {name} 2>/dev/null || echo 0)"'
        script = f"while [ {size} -lt {int(share * big.layer.size)} ]; do sleep 0.05; done; {then}"
        self.lab.exec(self.name, ["sh", "-c", script], deadline_s=300).check()

    def deaf(self, on: bool) -> str:
        """Return the command that loses all that the registry sends, or hears it again."""
        return f"iptables {'-I' if on else '-D'} INPUT -s {self.lab.registry.partition(':')[0]} -j DROP"

    def ended(self, order_id: str = "") -> UpdateState:
        until("end of the order", lambda: self.state().state == "idle", 480.0)
        state = self.state()
        assert state.order_id == (order_id or self.orders[-1])
        return state

    def fetched(self, big: Big) -> UpdateState:
        """Return the state once everything is on the robot; the old release ran throughout."""
        state = self.ended()
        assert (state.outcome, "switch window" in state.reason) == ("deferred", True), state
        assert self.runs() == self.container, "the old release was touched"
        assert self.lab.exec(self.name, ["docker", "image", "inspect", big.order.variant.image]).exit_code == 0
        assert "jetfleet-fetch" not in self.lab.exec(self.name, ["docker", "image", "ls"]).check()
        return state

    def resumed(self, big: Big) -> int:
        """Return the bytes that were asked for with a range, in one request."""
        (found,) = [count for _, status, count in self.requests(big.layer.digest) if status == 206]
        return found

    def requests(self, part: str) -> list[tuple[str, int, int]]:
        """Return (method, status, bytes) of what this robot asked of ``part`` since :meth:`begin`, by when it ended."""
        address = self.lab.robots[self.name] + " "
        lines = [line for line in self.lab.registry_requests()[self.seen :] if line.startswith(address)]
        found = [match for match in map(LINE.search, lines) if match and part in match[2]]
        return [(match[1], int(match[3]), int(match[4])) for match in found]


@pytest.fixture(scope="module")
def own(bay: WorkerBay) -> RunningLab:
    """The robots, with a registry that only they use."""
    return bay.with_own_registry()


@pytest.fixture
def robot(bay: WorkerBay, own: RunningLab) -> Iterator[Robot]:
    bay.put(ROBOT)
    made = Robot(own)
    made.begin()
    yield made
    own.repair()
    if made.slowed:
        own.full_speed(made.name)


def test_a_link_cut_three_times_goes_on_where_it_was_cut(robot: Robot) -> None:
    big = robot.big(48)
    robot.slow(24)
    robot.submit(big.order)
    for share in (0.3, 0.6, 0.9):
        robot.at(big, share, robot.deaf(True))
        # Longer than the robot listens to a dead connection: it must ask anew, not just be woken up.
        until("a link that failed", lambda: "trying again" in robot.state().progress)
        assert robot.arrived(big) < big.layer.size, "the layer was whole before the cut"
        robot.lab.exec(robot.name, ["sh", "-c", robot.deaf(False)]).check()
    state = robot.fetched(big)
    assert state.fetched_bytes == big.moves, "bytes came over the link twice"
    # The registry writes a request down when it ends, and learns late that a link was cut.
    until("the registry's word of four requests", lambda: len(robot.requests(big.layer.digest)) >= 4)
    asked = robot.requests(big.layer.digest)
    assert sorted(status for _, status, _ in asked) == [200, 206, 206, 206]
    assert min(count for _, _, count in asked) < 0.15 * big.layer.size
    # What the registry counts as sent and a cut link lost was in its own machine's buffers: some MB a cut.
    assert sum(count for _, _, count in asked) < 1.4 * big.layer.size


def test_a_pulled_cable_goes_on_too(robot: Robot) -> None:
    big = robot.big(24)
    robot.slow(8)
    robot.submit(big.order)
    robot.at(big, 0.1, "true")
    robot.lab.cut_link(robot.name)
    until("a link that failed", lambda: "trying again" in robot.state().progress)
    here = robot.arrived(big)
    robot.lab.restore_link(robot.name)
    robot.lab.full_speed(robot.name)
    robot.slowed = False
    state = robot.fetched(big)
    assert here < big.layer.size, "the layer was whole before the cut"
    assert state.fetched_bytes == big.moves


def test_a_registry_that_was_restarted_goes_on_where_it_stopped(robot: Robot) -> None:
    big = robot.big(24)
    robot.slow(8)
    robot.submit(big.order)
    robot.at(big, 0.1, "true")
    robot.lab.stop_registry()
    here = robot.arrived(big)
    robot.lab.start_registry()
    robot.lab.full_speed(robot.name)
    robot.slowed = False
    state = robot.fetched(big)
    assert here < big.layer.size, "the layer was whole before the registry stopped"
    assert state.fetched_bytes == big.moves
    assert 0 < robot.resumed(big) <= big.layer.size - here


def test_the_rate_holds_and_the_updater_may_die_meanwhile(robot: Robot) -> None:
    big = robot.big(32, bytes_per_s=4 * MB)
    started = time.monotonic()
    robot.submit(big.order)
    robot.at(big, 0.3, "kill -9 $(cat /run/jetfleet-lab/updater.pid)")
    here = robot.arrived(big)
    until("an answer", lambda: robot.asked() is not None)
    state = robot.fetched(big)
    assert time.monotonic() - started > big.layer.size / (4 * MB) - 0.5
    assert 0 < robot.resumed(big) <= big.layer.size - here
    # The killed process counts once a second: what came after its last word is missing.
    assert state.fetched_bytes is not None
    assert 0.5 * big.moves < state.fetched_bytes <= big.moves


def test_no_byte_of_a_known_layer_moves_and_the_engine_asks_the_registry_for_no_blob(robot: Robot) -> None:
    big = robot.big(1)
    robot.submit(big.order)
    state = robot.fetched(big)
    assert state.fetched_bytes == big.moves
    assert sum(count for method, _, count in robot.requests("/blobs/") if method == "GET") == big.moves


def test_a_full_store_refuses_and_leaves_nothing_behind(robot: Robot) -> None:
    big = robot.big(24)
    mount = f"mkdir -p {BLOBS} && mount -t tmpfs -o size=16m small {BLOBS}"
    robot.lab.exec(robot.name, ["sh", "-c", mount]).check()
    try:
        robot.submit(big.order)
        state = robot.ended()
        none = f"ls {BLOBS} | grep -c sha256- || true"
        until("clean store", lambda: robot.ask("sh", "-c", none) == "0")
    finally:
        robot.lab.exec(robot.name, ["umount", "--lazy", BLOBS]).check()
    assert (state.outcome, "No space left on device" in state.reason) == ("refused", True), state
    assert BLOBS in state.reason
    assert "free space" in state.hint
    assert robot.runs() == robot.container


def test_a_disk_that_fills_up_while_unpacking_refuses(robot: Robot) -> None:
    big = with_layer(robot.order(), bytes(600 * MB), packed=True, alone=True)
    robot.lab.shrink_disk(robot.name, 420)
    try:
        robot.submit(big.order)
        state = robot.ended()
    finally:
        robot.lab.restore_disk(robot.name)
    assert (state.outcome, "no space left on device" in state.reason) == ("refused", True), state
    assert "Docker's root folder" in state.hint
    assert robot.lab.exec(robot.name, ["docker", "inspect", robot.container.split()[0]]).exit_code == 0


def test_where_the_engine_must_fetch_alone_it_is_said(robot: Robot) -> None:
    big = robot.big(1)
    folder = f"/etc/docker/certs.d/{robot.lab.registry}"
    spoil = f"mkdir -p {folder} && echo nothing > {folder}/ca.crt && : > /var/log/jetfleet-lab/updater.log"
    robot.lab.exec(robot.name, ["sh", "-c", spoil]).check()
    try:
        robot.submit(big.order)
        state = robot.fetched(big)
    finally:
        robot.lab.exec(robot.name, ["rm", "-r", folder]).check()
    log = robot.ask("cat", "/var/log/jetfleet-lab/updater.log")
    assert "fetching by the Engine alone: a cut link restarts a layer, no rate limit: a file in " + folder in log
    assert state.fetched_bytes == big.layer.size


def test_a_dead_controller_changes_nothing_and_only_the_changed_engine_moves(bay: WorkerBay) -> None:
    site = bay.on_first(OTHER, version="1.0.0").site
    manifest = site.manifest()
    manifest["rollout"]["confirm_timeout"] = "3s"
    site.save(manifest)
    site.set_version("1.0.1", scout="int8")
    site.fleet("publish")
    robot = Robot(site.lab, OTHER)
    robot.begin()
    robot.slow(4)
    process = site.start("rollout", "1.0.1", "--yes", "--robots", OTHER)
    until("fetch", lambda: robot.state().state == "fetching" or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    robot.lab.full_speed(OTHER)
    state = robot.ended(robot.state().order_id)
    # Nobody confirmed: the robot went back by itself.
    assert (state.outcome, "confirm" in state.reason) == ("reverted", True), state
    assert state.target is not None
    assert state.current is not None
    new, old = image_manifest(state.target.image), image_manifest(state.current.image)
    changed = {part["digest"]: part["size"] for part in new["layers"] if part not in old["layers"]}
    wanted = {**changed, new["config"]["digest"]: new["config"]["size"]}
    moved = [request for digest in wanted for request in robot.requests(digest)]
    assert [count for _, _, count in moved] == list(wanted.values())
    assert len(robot.requests("/blobs/")) == len(wanted), "a layer that the robot has was asked for"
    assert state.fetched_bytes == sum(wanted.values())


def until(what: str, done: Callable[[], bool], deadline_s: float = 300.0) -> None:
    ends = time.monotonic() + deadline_s
    while not done():
        assert time.monotonic() < ends, f"no {what} within {deadline_s:g} s"
        time.sleep(0.05)


def image_manifest(reference: str) -> Any:
    repository = Repository(reference)
    return repository.get("manifests/" + repository.digest)
