"""Fetching, without a network: what is counted, when a try is a try, what is said, what stays on the disk."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.engine.build import DeviceFacts
from runtime.contract.registry.docker_logins import Credentials
from runtime.contract.robot.switching import SwitchRules, Window
from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.errors import Cannot, Stopped, UpstreamError
from runtime.updater.fetching.link import Link, Patience
from runtime.updater.fetching.pace import Pace
from runtime.updater.fetching.reference import Reference, parse_reference
from runtime.updater.fetching.settings import parse_info, way_to
from runtime.updater.robot.fetch_process import ChildReader
from runtime.updater.robot.registry_login import pull_words
from runtime.updater.robot.throwaway_name import is_throwaway
from runtime.updater.state.world import Disk, WorldError
from runtime.updater.storage.blob_store import BlobStore
from runtime.updater.transaction.fetch_progress import FETCH_DEADLINE_S, FetchProgress
from tests.fakes.robots.robot_world import Behaviour, digest, order, reference, variant
from tests.unit.updater.robot import Robot

CUT = WorldError("registry.test: no route to host", "check the link", transient=True)


# ── the transaction's side ───────────────────────────────────────────────────────────────────────────────────────


def test_the_order_s_rate_reaches_the_fetch(robot: Robot) -> None:
    robot.run(replace(order("1"), switch=SwitchRules(bytes_per_s=2_000_000)))
    assert robot.world.rates == [2_000_000]


def test_a_fetch_that_gets_on_is_tried_as_often_as_it_takes(robot: Robot) -> None:
    robot.on("1")
    robot.world.arrives = [1_000_000] * 20
    robot.world.fail("pull", *[CUT] * 19)
    state = robot.run(order("2"))
    assert (state.outcome, state.fetched_bytes) == ("committed", 20_000_000)
    assert len(robot.world.rates) == 1 + 20


def test_tries_without_a_byte_count_again_after_one_that_brought_some(robot: Robot) -> None:
    robot.on("1")
    robot.world.arrives = [0, 0, 0, 5, *[0] * 20]
    robot.world.fail("pull", *[CUT] * 40)
    state = robot.run(order("2"))
    assert (state.outcome, state.reason) == ("refused", "fetching: registry.test: no route to host")
    assert state.hint == "check the link"
    # The fourth brought something; five more did not.
    assert len(robot.world.rates) == 1 + 4 + 5


def test_a_fetch_that_gets_on_for_ever_ends_at_its_deadline(robot: Robot) -> None:
    robot.on("1")
    robot.world.arrives = [1] * 100_000
    robot.world.fail("pull", *[CUT] * 100_000)
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "fetching")
    robot.updater.step()
    robot.world.sleep(FETCH_DEADLINE_S)
    state = robot.drive()
    assert state.outcome == "refused"
    assert "not done within 24 h: registry.test: no route to host" in state.reason
    robot.assert_whole()


def test_what_a_dead_process_moved_is_counted_and_no_try(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "fetching")
    for _ in range(10):
        robot.world.moved["order-2"] = robot.world.moved.get("order-2", 0) + 1000
        robot.boot()
    assert robot.updater.status().state == "fetching"
    assert robot.journal.fetched_bytes == 10_000
    state = robot.drive()
    assert state.outcome == "committed"


def test_a_process_that_dies_again_and_again_without_a_byte_gives_up(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "fetching")
    for _ in range(5):
        robot.boot()
    state = robot.drive()
    assert (state.outcome, state.reason) == ("refused", "fetching: interrupted 5 times")


def test_an_image_that_came_before_the_process_died_is_counted(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "fetching")
    robot.world.moved["order-2"] = 5_000_000
    robot.world.pull(reference("2"), lambda layer, state: None)
    assert robot.drive().fetched_bytes == 5_000_000


def test_that_the_engine_fetches_alone_is_said_as_long_as_it_does(robot: Robot) -> None:
    robot.on("1")
    robot.world.alone = "the Engine reaches registries through a proxy"
    state = robot.run(order("2"))
    said = "fetching by the Engine alone: a cut link restarts a layer, no rate limit: the Engine reaches registries"
    assert any(note.startswith(said) for note in robot.world.notes)
    assert any(note.startswith("fetching: 2 of 2 layers (" + said) for note in robot.world.notes)
    assert state.fetched_bytes == 5_000_000


def test_a_download_window_that_closes_in_the_middle_defers_and_keeps_what_came(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    robot.on("1")
    minute = int(robot.world.time // 60) % 1440
    rules = SwitchRules(wait_s=60.0, download=(Window(minute, minute + 2),))
    world = robot.world
    world.arrives = [10]
    pull = world.pull

    def closes(reference: str, on_layer: Any) -> None:
        world.sleep(180.0)
        pull(reference, on_layer)

    world.pull = closes  # type: ignore[method-assign]
    state = robot.run(replace(order("2"), switch=rules))
    assert (state.outcome, "outside of the download window" in state.reason) == ("deferred", True), state
    assert sum(world.store.values()) == 10, "what a deferred order has fetched was thrown away"
    world.pull = pull  # type: ignore[method-assign]
    assert robot.run(order("3")).outcome == "committed"
    assert world.store == {}


@pytest.mark.parametrize("ends", ["committed", "refused", "reverted"])
def test_nothing_of_the_store_stays_when_an_order_has_ended(robot: Robot, ends: str) -> None:
    robot.on("1")
    robot.world.arrives = [1000] * 50
    robot.world.fail("pull", *[CUT] * (60 if ends == "refused" else 1))
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1 if ends == "reverted" else 0.999)
    if ends == "refused":
        robot.world.arrives = [1000]
    assert robot.run(order("2")).outcome == ends
    assert robot.world.store == {}


# ── preflight ────────────────────────────────────────────────────────────────────────────────────────────────────


def volumes(robot: Robot, engine: int, state: int) -> None:
    """Give the Engine and the updater a volume each, with so many MiB free."""
    mib = 1024 * 1024
    robot.world.disk = lambda path: (  # type: ignore[method-assign]
        Disk(path, engine * mib, "engine") if "docker" in path else Disk(path, state * mib, "state")
    )


def test_each_volume_is_asked_for_what_comes_to_it(robot: Robot) -> None:
    # 100 MB of base, unpacked 2.5 times, and 5 MB of engine twice, and a margin of 256 MiB
    volumes(robot, 599, 1000)
    state = robot.run(order("1"))
    assert state.reason == "not enough disk on the volume of /var/lib/docker: 600 MiB needed, 599 MiB free"
    # 105 MB as they come, and 16 MiB of reserve
    volumes(robot, 10_000, 116)
    state = robot.run(order("1", order_id="again"))
    assert state.reason == "not enough disk on the volume of /var/lib/jetfleet: 117 MiB needed, 116 MiB free"
    assert state.hint
    volumes(robot, 600, 117)
    assert robot.run(order("1", order_id="third")).outcome == "committed"


def test_images_of_containerd_are_weighed_on_its_volume_and_the_engine_keeps_some_room(robot: Robot) -> None:
    """A Jetson with `data-root` on its NVMe and Docker 29's image store on its small root disk."""
    mib = 1024 * 1024
    free = {"/var/lib/containerd": 599 * mib, "/mnt/nvme/docker": 900_000 * mib}
    robot.world.facts = replace(robot.world.facts, root="/mnt/nvme/docker", images="/var/lib/containerd")
    robot.world.disk = lambda path: Disk(path, free.get(path, 10_000 * mib), path)  # type: ignore[method-assign]
    state = robot.run(order("1"))
    assert state.reason == "not enough disk on the volume of /var/lib/containerd: 600 MiB needed, 599 MiB free"
    free.update({"/var/lib/containerd": 600 * mib, "/mnt/nvme/docker": 63 * mib})
    state = robot.run(order("1", order_id="again"))
    assert state.reason == "not enough disk on the volume of /mnt/nvme/docker: 64 MiB needed, 63 MiB free"
    free["/mnt/nvme/docker"] = 64 * mib
    assert robot.run(order("1", order_id="third")).outcome == "committed"


def test_what_is_in_the_store_already_is_not_asked_for_again(robot: Robot) -> None:
    volumes(robot, 10_000, 20)
    robot.world.store["sha256:ba5e" + "0" * 60] = 100_000_000
    state = robot.run(order("1"))
    assert "21 MiB needed, 20 MiB free" in state.reason
    volumes(robot, 10_000, 22)
    robot.world.store["sha256:ba5e" + "0" * 60] = 100_000_000
    assert robot.run(order("1", order_id="again")).outcome == "committed"


def test_going_back_to_what_is_here_needs_no_disk(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.world.free = 0
    assert robot.run(order("1", order_id="back", version="1.1.0")).outcome == "committed"


@pytest.mark.parametrize(
    ("inside", "outcome"), [("10.3.0.30", "committed"), ("10.3", "refused"), ("10.7.0", "refused"), (None, "committed")]
)
def test_tensorrt_is_what_the_image_brings(robot: Robot, inside: str | None, outcome: str) -> None:
    robot.on("1")
    image = robot.world.published[reference("2")]
    labels = {} if inside is None else {"io.jetfleet.tensorrt": inside}
    robot.world.published[reference("2")] = replace(image, labels=labels)
    wanted = variant("2", requires=DeviceFacts("linux/amd64", tensorrt="10.3.0"))
    state = robot.run(replace(order("2"), variant=wanted))
    assert state.outcome == outcome, state
    if outcome == "refused":
        assert f"the image brings TensorRT {inside}, the release's engines need 10.3.0" in state.reason
    assert robot.world.runs is not None


# ── references, credentials, settings ────────────────────────────────────────────────────────────────────────────


def test_references_have_parts() -> None:
    assert parse_reference("r.test:5000/a/b@" + digest("1")) == Reference("r.test:5000", "a/b", digest("1"))
    assert parse_reference("localhost/a@" + digest("1")).host == "localhost"


@pytest.mark.parametrize("text", ["a/b@" + digest("1"), "r.test/a:latest", "r.test/a@sha256:12", "", "docker.io/a@x"])
def test_what_names_no_registry_is_left_to_the_engine(text: str) -> None:
    with pytest.raises(Cannot, match="does not name its registry"):
        parse_reference(text)


def test_docker_hub_is_left_to_the_engine() -> None:
    with pytest.raises(Cannot, match="mirrors"):
        parse_reference("docker.io/library/debian@" + digest("1"))


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"auth": "dTpw"}, ("u", "p", "")),
        ({"username": "u", "password": "p"}, ("u", "p", "")),
        ({"identitytoken": "t", "auth": "dTpw"}, ("u", "p", "t")),
        ({}, None),
    ],
)
def test_credentials_are_those_of_docker_login(
    tmp_path: Path, entry: dict[str, str], found: tuple[str, str, str] | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.test:5000": entry}}))
    assert parts(RobotLogins("r.test:5000", tmp_path).lookup("a/b")) == found
    assert RobotLogins("r.test", tmp_path).lookup("a/b") is None


def test_what_bootstrap_brought_goes_before_docker_login(tmp_path: Path) -> None:
    for folder, user in (("registry", "dTpw"), (".docker", "djpx")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"auths": {"r.test": {"auth": user}}}))
    ours, docker = tmp_path / "registry", tmp_path / ".docker"
    assert parts(RobotLogins("r.test", ours, docker).lookup("a/b")) == ("u", "p", "")
    assert pull_words("docker", tmp_path, "r.test/a@x") == ["docker", "--config", str(ours), "pull", "r.test/a@x"]
    (ours / "config.json").unlink()
    assert parts(RobotLogins("r.test", ours, docker).lookup("a/b")) == ("v", "q", "")
    assert pull_words("docker", tmp_path, "r.test/a@x") == ["docker", "pull", "r.test/a@x"]


def parts(found: Credentials | None) -> tuple[str, str, str] | None:
    return None if found is None else (found.username, found.secret, found.identity_token)


def test_without_a_docker_configuration_nobody_is_known(tmp_path: Path) -> None:
    assert RobotLogins("r.test", tmp_path / "none").lookup("a/b") is None


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_docker_configuration_is_left_to_the_engine(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(Cannot, match=r"config\.json"):
        RobotLogins("r.test", tmp_path).lookup("a/b")


def test_a_registry_behind_a_proxy_is_left_to_the_engine(tmp_path: Path) -> None:
    info = {"HttpsProxy": "http://proxy.test:3128", "NoProxy": "10.0.0.1,.lab.test,*.lan"}
    for host in ("registry.example:5000", "lab.test"):  # as Go has it: a leading dot means the names below
        with pytest.raises(Cannot, match="through a proxy"):
            way_to(host, info, tmp_path)
    for host in ("10.0.0.1:5000", "registry.lab.test:5000", "registry.lan"):
        assert way_to(host, info, tmp_path).host == host


@pytest.mark.parametrize(
    ("host", "plain"),
    [("10.1.2.3:5000", True), ("127.0.0.1:5000", True), ("10.2.0.1:5000", False), ("named.test:5000", True)],
)
def test_plain_http_is_for_registries_that_the_engine_calls_insecure(tmp_path: Path, host: str, plain: bool) -> None:
    indexes = {"named.test:5000": {"Secure": False}, "10.2.0.1:5000": {"Secure": True}}
    networks = ["10.1.0.0/16", "127.0.0.0/8"]
    info = {"RegistryConfig": {"IndexConfigs": indexes, "InsecureRegistryCIDRs": networks}}
    assert way_to(host, info, tmp_path).plain_too is plain


@pytest.mark.parametrize("text", ["", "[]"])
def test_an_engine_that_says_nothing_of_itself_is_left_alone(text: str) -> None:
    with pytest.raises(Cannot, match="docker info"):
        parse_info(text)


# ── the link ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_link_that_is_stopped_stops_at_once() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Link(1, stop).took(1_000_000)
    with pytest.raises(Stopped):
        Patience(Link(0, stop), 60.0, stop, lambda text: None).wait(UpstreamError("x", transient=True))


def test_what_no_other_try_mends_is_raised_at_once() -> None:
    stop = threading.Event()
    with pytest.raises(UpstreamError, match="gone"):
        Patience(Link(0, stop), 60.0, stop, lambda text: None).wait(UpstreamError("gone"))


@pytest.mark.parametrize(("rate", "piece"), [(0, 65536), (100, 1024), (1_000_000, 62500), (100_000_000, 65536)])
def test_pieces_are_small_against_the_rate(rate: int, piece: int) -> None:
    assert Link(rate, threading.Event()).piece == piece


# ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_store_counts_keeps_and_forgets(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    assert (store.size(digest("1")), store.moved("a")) == (0, None)
    store.keep_only(())
    with store.locked():
        store.partial(digest("1")).write_bytes(b"123")
        store.whole(digest("2")).write_bytes(b"12345")
        store.count("a", 8)
    assert (store.size(digest("1")), store.size(digest("2")), store.moved("a"), store.moved("b")) == (3, 5, 8, None)
    store.keep_only([digest("1")])
    assert (store.size(digest("1")), store.size(digest("2")), store.moved("a")) == (3, 0, 8)
    store.keep_only(())
    assert (store.size(digest("1")), store.moved("a")) == (0, None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"order_id": "a"}', '{"order_id": "a", "bytes": "x"}'])
def test_a_damaged_count_is_no_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "moved.json").write_text(text)
    assert BlobStore(tmp_path).moved("a") is None


def test_two_processes_never_write_one_store(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with store.locked(), pytest.raises(WorldError, match="another process") as caught, store.locked(0.0):
        pass
    assert caught.value.transient


# ── the process between ──────────────────────────────────────────────────────────────────────────────────────────


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def layer(self, layer: str, status: str) -> None:
        self.all.append(("layer", layer, status))

    def moved(self, moved: int, here: int, total: int) -> None:
        self.all.append(("moved", moved, here, total))

    def waits(self, why: str) -> None:
        self.all.append(("waits", why))

    def alone(self, why: str) -> None:
        self.all.append(("alone", why))


def test_what_the_fetching_process_says_is_heard_in_any_pieces() -> None:
    heard = Heard()
    reader = ChildReader(heard)
    lines = [
        {"layer": "abc", "status": "downloading"},
        {"moved": 5, "here": 5, "total": 9},
        {"waits": "no route"},
        {"alive": True},
        {"done": True},
    ]
    text = "".join(json.dumps(line) + "\r\n" for line in lines) + "Traceback\r\n{damaged\r\n"
    for character in text:
        reader.feed(character)
    assert heard.all == [("layer", "abc", "downloading"), ("moved", 5, 5, 9), ("waits", "no route"), ("moved", 5, 5, 9)]
    assert (reader.done, reader.failed, reader.cannot, reader.other) == (True, None, "", ["Traceback", "{damaged"])


def test_failures_keep_what_to_do() -> None:
    reader = ChildReader(Heard())
    reader.feed('{"failed": {"message": "m", "hint": "h", "transient": true}}\n{"cannot": "proxy"}\n')
    assert reader.failed is not None
    assert (reader.failed.message, reader.failed.hint, reader.failed.transient) == ("m", "h", True)
    assert (reader.failed.engine_down, reader.cannot) == (False, "proxy")


def test_our_throwaway_names_are_known() -> None:
    assert is_throwaway("127.0.0.1:39311/jetfleet-fetch@" + digest("1"))
    assert is_throwaway("127.0.0.1:39311/jetfleet-fetch/" + "0" * 32 + "@" + digest("1"))
    assert not is_throwaway("registry.test/jetfleet@" + digest("1"))


def test_the_daemon_s_side_loads_neither_tls_nor_http() -> None:
    program = "import sys, runtime.updater.robot.real_world\n"
    program += "print([n for n in ('ssl', 'http', '_hashlib') if n in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={"PATH": os.environ["PATH"]},
    )
    assert ran.stdout.strip() == "[]"


# ── who may ask, and how slowly a registry may answer ────────────────────────────────────────────────────────────


class Line:
    """A connection that was hung up, or not."""

    def __init__(self) -> None:
        self.sock = self
        self.down = False

    def shutdown(self, how: int) -> None:
        self.down = True


class Paced:
    """A fetch of which a test says what moved and what time it is."""

    def __init__(self) -> None:
        self.moved, self.now = 0, 0.0
        self.line = Line()
        self.pace = Pace(lambda: self.moved, 1000, 60.0, lambda: self.now)

    def goes_on(self, seconds: int, bytes_per_s: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.moved += bytes_per_s
            self.pace.look()


@pytest.mark.parametrize("bytes_per_s", [0, 1, 999])
def test_a_registry_that_drips_is_hung_up_on(bytes_per_s: int) -> None:
    paced = Paced()
    paced.pace.opened(paced.line)
    paced.goes_on(59, bytes_per_s)
    assert paced.pace.slow is None
    paced.goes_on(2, bytes_per_s)
    assert paced.line.down
    assert paced.pace.slow is not None
    assert paced.pace.slow.transient
    assert "less than 1000 bytes a second" in paced.pace.slow.message


def test_an_answer_that_took_its_connection_over_is_hung_up_on_too() -> None:
    """`Connection: close`: http.client gives the socket away, and the connection has none any more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        paced, gone = Paced(), Line()
        gone.sock = None  # type: ignore[assignment]
        paced.pace.opened(gone, ours)
        paced.goes_on(61, 1)
        assert paced.pace.slow is not None
        assert theirs.recv(1) == b"", "the other side sees that nobody reads any more"


def test_a_slow_link_is_slow_and_gets_on() -> None:
    paced = Paced()
    paced.pace.opened(paced.line)
    paced.goes_on(10_000, 1001)
    assert paced.pace.slow is None


def test_a_good_start_does_not_pay_for_a_drip_afterwards() -> None:
    paced = Paced()
    paced.pace.opened(paced.line)
    paced.goes_on(100, 10_000_000)
    paced.goes_on(61, 1)
    assert paced.pace.slow is not None


def test_time_in_which_nothing_is_asked_counts_for_nothing() -> None:
    paced = Paced()
    paced.goes_on(10_000, 0)
    paced.pace.opened(paced.line)
    paced.goes_on(30, 0)
    paced.pace.closed(paced.line)
    paced.goes_on(10_000, 0)
    assert paced.pace.slow is None


def test_an_order_s_own_rate_is_never_too_slow() -> None:
    for rate in (1, 100, 1500, 10**7):
        link = Link(rate, threading.Event())
        assert link.pace._least <= max(1, rate // 2) or rate == 1


@pytest.mark.parametrize("news", ["layer", "moved", "waits", "alone"])
def test_every_news_of_a_fetch_looks_at_its_deadline(robot: Robot, news: str) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "fetching")
    progress = FetchProgress(robot.journal, robot.world)
    words: dict[str, tuple[Any, ...]] = {
        "layer": ("a" * 12, "downloading"),
        "moved": (1, 1, 9),
        "waits": ("x",),
        "alone": ("x",),
    }
    getattr(progress, news)(*words[news])
    robot.world.sleep(FETCH_DEADLINE_S + 1.0)
    with pytest.raises(WorldError):
        getattr(progress, news)(*words[news])
