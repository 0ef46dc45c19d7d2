"""The robot as the updater sees it: the fake and the real one (this machine's Engine and Compose) keep one contract."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
import pytest

from runtime.contract.node.resources import LOCK_FILE
from runtime.contract.node.serving import health_socket, node_folder
from runtime.contract.robot.release import LayerRef, ReleaseEngine, ReleaseVariant
from runtime.contract.robot.update import UpdateOrder
from runtime.executor.robot.update_lock import UpdateLock
from runtime.health.http.server import HealthServer
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.lock_answer import FREE, HELD, LockAnswer
from runtime.updater.state.release_folder import environment_of, files_of, target_of
from runtime.updater.state.world import ContainerFacts, Links, StepInterrupted, World, WorldError
from runtime.updater.storage.blob_store import BlobStore
from runtime.updater.transaction.preflight import moved_bytes
from tests.fakes.registries import tiny_images
from tests.fakes.robots.robot_world import FakeWorld, order, reference, variant
from tests.harness import share

PROJECT = f"jetfleet-updater-test-{share.number()}"
COMPOSE = "services:\n  runtime:\n    image: ${JETFLEET_IMAGE}\n    env_file: .env\n    stop_grace_period: 1s\n"
CHECKOUT = Path(__file__).parents[3]


@dataclass
class Side:
    """One robot and two releases that can be fetched on it."""

    world: World
    root: Path
    first: ReleaseVariant
    second: ReleaseVariant
    missing: str
    port: int = 9310

    def order(self, which: ReleaseVariant, **changes: Any) -> UpdateOrder:
        base = order("1", variant=which, compose={"robot.compose.yaml": COMPOSE})
        return replace(base, **{"environment": {}, **changes})

    def write(self, which: ReleaseVariant, **changes: Any) -> str:
        """Fetch a release and write its folder; return the folder's name."""
        told = self.order(which, **changes)
        if self.world.image(which.image) is None:
            self.world.pull(which.image, lambda layer, state: None)
        folder = target_of(told).folder
        self.world.write_release(folder, files_of(told))
        return folder


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    if request.param == "fake":
        return Side(FakeWorld(tmp_path), tmp_path, variant("1"), variant("2"), reference("1")[:-4] + "dead")
    real: Side = request.getfixturevalue("real_side")
    return real


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    if os.environ.get("JETFLEET_NO_LAB") == "1":
        pytest.skip("JETFLEET_NO_LAB=1")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"no Docker Engine answers ({error}); JETFLEET_NO_LAB=1 skips this by name")
    with tiny_images.registry(client) as address:
        repository = f"{address}/test/runtime"
        found = {tag: tiny_images.publish(client, repository, tag) for tag in ("first", "second")}
        yield {**found, "client": client, "missing": f"{repository}@sha256:{'dead' * 16}"}
    client.close()


@pytest.fixture
def real_side(published: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    _with_compose(tmp_path / "docker", monkeypatch)
    world = RealWorld(tmp_path, PROJECT)
    first, second = (_real_variant(published[tag]) for tag in ("first", "second"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Side(world, tmp_path, first, second, published["missing"], server.server_port)
    server.shutdown()
    server.server_close()
    for project in (PROJECT, f"{PROJECT}-b"):
        ours = {"label": f"com.docker.compose.project={project}"}
        for container in published["client"].containers.list(all=True, filters=ours, ignore_removed=True):
            container.remove(force=True)
        for network in published["client"].networks.list(filters=ours):
            network.remove()
    for name in world.kept_images():
        if name.startswith("test-") or name in (target_of(order("1")).folder,):
            world.remove_image(f"jetfleet.local/runtime:{name}")
    for each in (first, second):
        world.remove_image(each.image)


def _with_compose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return
    plugin = CHECKOUT / ".lab" / "bin" / "docker-compose"
    if not plugin.exists():
        pytest.fail("`docker compose` is not installed; `make lab-up` brings it (JETFLEET_NO_LAB=1 skips this by name)")
    (folder / "cli-plugins").mkdir(parents=True)
    (folder / "cli-plugins" / "docker-compose").symlink_to(plugin)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


def _real_variant(found: dict[str, Any]) -> ReleaseVariant:
    layers = found["layers"]
    engine = ReleaseEngine("sign_text", "fp32", "sha256:" + "1" * 64, layers[-1], 6000)
    return variant("1", image=found["reference"], engines=(engine,), layers=tuple(LayerRef(d, 1) for d in layers))


class _Agent(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path in ("/report", "/verify?seconds=5")
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b'{"schema": 1}' if known else b"one of ...")

    def log_message(self, *arguments: Any) -> None:
        return


def test_engine_says_what_it_is(side: Side) -> None:
    facts = side.world.engine()
    assert int(facts.version.split(".")[0]) >= 20
    assert int(facts.compose_version.split(".")[0]) >= 2
    assert facts.platform in ("linux/amd64", "linux/arm64")
    assert facts.root.startswith("/")


def test_image_is_there_after_the_pull_with_all_its_layers(side: Side) -> None:
    assert side.world.image(side.first.image) is None
    seen: dict[str, str] = {}
    side.world.pull(side.first.image, seen.__setitem__)
    image = side.world.image(side.first.image)
    assert image is not None
    assert side.first.image in image.references
    assert image.platform == side.world.engine().platform
    assert side.first.engines[0].layer_digest in image.layers
    assert set(seen.values()) <= {"exists", "downloaded"}
    assert len(seen) == len(image.layers)
    by_id = side.world.image(image.id)
    assert by_id is not None
    assert by_id.id == image.id


def test_second_pull_moves_only_what_is_missing(side: Side) -> None:
    side.world.pull(side.first.image, lambda layer, state: None)
    seen: dict[str, str] = {}
    side.world.pull(side.second.image, seen.__setitem__)
    assert sorted(seen.values()) == ["downloaded", "exists"]


def test_pull_of_what_is_not_there_says_what_to_do(side: Side) -> None:
    with pytest.raises(WorldError, match=r"docker pull: .*manifest unknown") as caught:
        side.world.pull(side.missing, lambda layer, state: None)
    assert not caught.value.transient
    assert "publish" in caught.value.hint


def test_interrupted_pull_stops(side: Side) -> None:
    side.world.interrupt.set()
    with pytest.raises(StepInterrupted):
        side.world.pull(side.second.image, lambda layer, state: None)
    assert side.world.image(side.second.image) is None


class Listener:
    """What a fetch said."""

    def __init__(self) -> None:
        self.layers: dict[str, str] = {}
        self.counted: tuple[int, int, int] | None = None
        self.why_alone = ""

    def layer(self, layer: str, status: str) -> None:
        self.layers[layer] = status

    def moved(self, moved: int, here: int, total: int) -> None:
        self.counted = (moved, here, total)

    def waits(self, why: str) -> None:
        raise AssertionError(f"nothing is cut here: {why}")

    def alone(self, why: str) -> None:
        self.why_alone = why


def test_a_fetched_image_is_as_a_pulled_one_and_leaves_nothing_else(side: Side) -> None:
    heard = Listener()
    side.world.fetch(side.first.image, "order-1", 0, heard)
    image = side.world.image(side.first.image)
    assert image is not None
    assert image.references == (side.first.image,)
    assert side.first.engines[0].layer_digest in image.layers
    assert set(heard.layers.values()) <= {"exists", "downloaded"}
    assert side.world.bytes_in_store(layer.digest for layer in side.first.layers) == 0
    assert heard.why_alone == ""


def test_a_fetch_of_what_is_not_there_says_what_to_do(side: Side) -> None:
    with pytest.raises(WorldError, match=r"manifest unknown") as caught:
        side.world.fetch(side.missing, "order-1", 0, Listener())
    assert not caught.value.transient
    assert "publish" in caught.value.hint


def test_an_interrupted_fetch_stops(side: Side) -> None:
    side.world.interrupt.set()
    with pytest.raises(StepInterrupted):
        side.world.fetch(side.second.image, "order-1", 0, Listener())
    assert side.world.image(side.second.image) is None


def test_the_store_is_emptied_but_for_what_is_kept(side: Side) -> None:
    side.world.prune_store([layer.digest for layer in side.first.layers])
    side.world.prune_store(())
    assert side.world.bytes_in_store(layer.digest for layer in side.first.layers) == 0


@pytest.mark.docker
def test_a_fetch_counts_the_blobs_that_came(real_side: Side, published: dict[str, Any]) -> None:
    heard = Listener()
    real_side.world.fetch(real_side.first.image, "order-1", 0, heard)
    blobs = sum(published["first"]["sizes"]) + published["first"]["config_size"]
    assert heard.counted == (blobs, blobs, blobs)
    assert real_side.world.fetched_bytes("order-1") == blobs
    assert real_side.world.fetched_bytes("another") is None


@pytest.mark.docker
def test_a_blob_that_went_bad_on_the_disk_is_fetched_anew(real_side: Side, published: dict[str, Any]) -> None:
    store = BlobStore(real_side.root / "blobs")
    store.folder.mkdir()
    digest, size = published["first"]["blobs"][1], published["first"]["sizes"][1]
    store.whole(digest).write_bytes(bytes(size))
    with pytest.raises(WorldError, match="verification failed") as caught:
        real_side.world.fetch(real_side.first.image, "order-1", 0, Listener())
    assert caught.value.transient
    real_side.world.fetch(real_side.first.image, "order-1", 0, Listener())
    assert real_side.world.image(real_side.first.image) is not None


@pytest.mark.docker
def test_an_engine_that_is_away_is_told_apart_in_a_fetch_too(real_side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{real_side.root}/none.sock")
        with pytest.raises(WorldError, match="Engine does not answer") as caught:
            real_side.world.fetch(real_side.first.image, "order-1", 0, Listener())
    assert caught.value.engine_down


def test_kept_images_have_our_name_until_it_is_removed(side: Side) -> None:
    side.world.pull(side.first.image, lambda layer, state: None)
    side.world.keep_image(side.first.image, "test-one")
    side.world.keep_image(side.first.image, "test-one")
    assert side.first.image in side.world.kept_images()["test-one"]
    assert side.world.remove_image("jetfleet.local/runtime:test-one")
    assert "test-one" not in side.world.kept_images()
    assert side.world.remove_image(side.first.image)
    assert side.world.image(side.first.image) is None
    assert not side.world.remove_image(side.first.image)


def test_keeping_an_image_that_is_not_there_fails(side: Side) -> None:
    with pytest.raises(WorldError, match="No such image"):
        side.world.keep_image(side.first.image, "test-none")


def test_compose_would_run_the_order_s_image(side: Side) -> None:
    assert side.world.compose_image(side.write(side.first)) == side.first.image


def test_up_starts_replaces_and_leaves_alone(side: Side) -> None:
    world = side.world
    one, two = side.write(side.first), side.write(side.second)
    assert world.container() is None
    world.compose_up(one)
    started = world.container()
    assert started is not None
    assert (started.status, started.image_name, started.restarts) == ("running", side.first.image, 0)
    image = world.image(started.image_id)
    assert image is not None
    assert side.first.image in image.references
    side.write(side.first, version="9.9.9", order_id="another")
    world.compose_up(one)
    again = world.container()
    assert again is not None
    assert again.id == started.id, "another version of the same content replaced the container"
    world.compose_up(two)
    after = world.container()
    assert after is not None
    assert (after.image_name, after.id != started.id) == (side.second.image, True)
    assert not world.remove_image(side.second.image), "an image in use was removed"
    world.compose_up(one)
    back = world.container()
    assert back is not None
    assert back.image_name == side.first.image


def test_down_removes_the_container_and_may_come_twice(side: Side) -> None:
    folder = side.write(side.first)
    side.world.compose_up(folder)
    side.world.compose_down(folder)
    assert side.world.container() is None
    side.world.compose_down(folder)


def test_each_slot_has_a_container_of_its_own(side: Side) -> None:
    world = side.world
    one, two = side.write(side.first), side.write(side.second)
    world.compose_up(one)
    first = world.container()
    assert first is not None
    assert world.container("b") is None
    world.compose_up(two, "b")
    second = world.container("b")
    assert second is not None
    assert (second.image_name, second.status) == (side.second.image, "running")
    world.compose_stop(two, "b")
    stopped = world.container("b")
    assert stopped is not None
    assert (stopped.id, stopped.status) == (second.id, "exited")
    world.compose_up(two, "b")
    again = world.container("b")
    assert again is not None
    assert (again.id, again.status) == (second.id, "running")
    world.compose_down(one, "b")
    assert world.container("b") is None, "whichever release it is of"
    assert world.container() == first


def test_the_token_names_a_slot_for_containers_to_read(side: Side) -> None:
    assert side.world.serving() is None
    for slot in ("", "b", "b", ""):
        side.world.set_serving(slot)
        assert side.world.serving() == slot
        token, lock = side.root / "serve" / "active", side.root / "serve" / "serving.lock"
        assert (lock.stat().st_mode & 0o777, lock.read_bytes()) == (0o644, b"")
        assert token.read_text() == ("b\n" if slot else "a\n")
        assert (token.stat().st_mode & 0o777, token.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    token.write_text("nonsense")
    with pytest.raises(WorldError, match="names no slot: 'nonsense'"):
        side.world.serving()


def test_compose_says_which_folders_the_container_shares(side: Side) -> None:
    assert side.world.compose_shares(side.write(side.first)) == ()
    shared = COMPOSE + "    volumes:\n      - /run/jetfleet/node:/run/jetfleet/node\n      - /srv:/x:ro\n"
    folder = side.write(side.first, compose={"robot.compose.yaml": shared})
    assert side.world.compose_shares(folder) == ("/run/jetfleet/node", "/srv")


def test_compose_says_which_runtime_the_container_needs(side: Side) -> None:
    assert side.world.compose_runtime(side.write(side.first)) == ""
    if isinstance(side.world, FakeWorld):
        side.world.runtime = "nvidia"
    folder = side.write(side.first, compose={"robot.compose.yaml": COMPOSE + "    runtime: nvidia\n"})
    assert side.world.compose_runtime(folder) == "nvidia"


def test_the_engine_says_what_it_is_and_where_its_images_lie(side: Side) -> None:
    facts = side.world.engine()
    assert facts.images_root.startswith("/")
    assert facts.plain_loopback
    assert isinstance(side.world, FakeWorld) or "runc" in facts.runtimes
    assert side.world.present("/")
    assert not side.world.present("/nowhere/at/all") or isinstance(side.world, FakeWorld)


def test_memory_is_told(side: Side) -> None:
    available = side.world.memory_available()
    assert available is not None
    assert available > 0


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[tuple[RealWorld, Path, int]]:
    """A robot whose container is this process; its machine's folder; the port of an agent."""
    link = Path(f"/tmp/jf-{os.getpid()}-w")  # a socket's path has room for 107 bytes
    (tmp_path / "m/proc" / str(os.getpid())).mkdir(parents=True)
    (tmp_path / "m/proc" / str(os.getpid()) / "cgroup").write_text(f"0::/docker/{IDENTITY}\n")
    link.symlink_to(tmp_path / "m")
    port = HealthServer(0, {"/report": lambda _: (HTTPStatus.OK, "", b"port")})
    port.start()
    yield RealWorld(tmp_path, PROJECT, link), link, port.port
    port.close()
    link.unlink()


IDENTITY = "c0ffee" * 10 + "c0ff"


def runs(world: RealWorld, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    there = ContainerFacts(IDENTITY, "i", "image", "running", "", 0, 0)
    monkeypatch.setattr(world, "container", lambda slot="": replace(there, **facts))


def test_the_agent_is_asked_on_its_own_socket_and_the_port_only_of_releases_that_have_none(
    heard: tuple[RealWorld, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, machine, port = heard
    monkeypatch.setattr(world, "container", lambda slot="": None)
    with pytest.raises(WorldError, match="does not answer: no runtime container exists"):
        world.report(port, "b")
    runs(world, monkeypatch)
    assert world.report(port, "b") == "port", "a release of before there were sockets"
    for folder, alone in (("/run/jetfleet/node", "port"), (node_folder("b", "f00"), "")):
        runs(world, monkeypatch, node_dir=folder)
        (machine / folder.lstrip("/")).mkdir(parents=True)
        own = HealthServer(
            machine / folder.lstrip("/") / health_socket("b"), {"/report": lambda _: (HTTPStatus.OK, "", b"b")}
        )
        own.start()
        assert world.report(port, "b") == "b"
        own.close()
        if alone:
            assert world.report(port, "b") == "port"
            continue
        with pytest.raises(WorldError, match=f"does not answer: no process listens in {folder}"):
            world.report(port, "b")


def test_what_another_process_says_in_the_container_s_folder_is_not_heard(
    heard: tuple[RealWorld, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old release's container, or any process of its user, put its own socket there."""
    world, machine, port = heard
    folder = node_folder("b", "f00")
    (machine / folder.lstrip("/")).mkdir(parents=True)
    forged = HealthServer(
        machine / folder.lstrip("/") / health_socket("b"), {"/report": lambda _: (HTTPStatus.OK, "", b"forged")}
    )
    forged.start()
    try:
        runs(world, monkeypatch, node_dir=folder, id="d" * 64)
        for ask in (lambda: world.report(port, "b"), lambda: world.verify(port, 1.0, "b")):
            with pytest.raises(WorldError, match="which is not in the container dddddddddddd that is asked"):
                ask()
    finally:
        forged.close()


def test_the_update_lock_is_that_of_the_container_that_serves(
    heard: tuple[RealWorld, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, machine, _ = heard
    folders = {slot: node_folder(slot, "f00") for slot in ("", "b")}
    there = ContainerFacts(IDENTITY, "i", "image", "running", "", 0, 0)
    monkeypatch.setattr(world, "container", lambda slot="": replace(there, node_dir=folders[slot]))
    locks = {}
    for slot, folder in folders.items():
        (machine / folder.lstrip("/")).mkdir(parents=True)
        locks[slot] = UpdateLock(machine / folder.lstrip("/") / Path(LOCK_FILE).name)
        locks[slot].update(("moves",) if slot else ())
    assert world.take_update_lock(True).state == FREE
    world.release_update_lock()
    world.set_serving("b")
    assert world.take_update_lock(True) == LockAnswer(HELD, ("moves",))
    for lock in locks.values():
        lock.close()


def test_verification_comes_from_the_agent_or_says_why_not(side: Side) -> None:
    with pytest.raises(WorldError, match="the agent on port 9 does not answer"):
        side.world.verify(9, 5.0)
    side.world.compose_up(side.write(side.first))
    assert side.world.verify(side.port, 5.0).startswith("{")


def test_report_comes_from_the_agent_or_says_why_not(side: Side) -> None:
    with pytest.raises(WorldError, match=r"the agent on port 9 does not answer"):
        side.world.report(9)
    side.world.compose_up(side.write(side.first))
    assert side.world.report(side.port).startswith("{")


def test_release_folder_is_written_mended_and_removed(side: Side) -> None:
    told = side.order(side.first)
    folder, files = target_of(told).folder, files_of(told)
    side.world.write_release(folder, files)
    (side.root / "releases" / folder / ".env").write_text("damaged")
    side.world.write_release(folder, files)
    assert side.world.read_release(folder, ".env") == files[".env"].content
    assert (side.root / "releases" / folder / ".env").stat().st_mode & 0o007 == 0
    assert side.world.releases() == (folder,)
    side.world.remove_release(folder)
    side.world.remove_release(folder)
    assert side.world.releases() == ()
    with pytest.raises(WorldError, match="cannot read"):
        side.world.read_release(folder, ".env")


def test_links_point_move_and_go(side: Side) -> None:
    assert side.world.links() == Links()
    for links in (Links("aaa"), Links("bbb", "aaa"), Links("bbb", "aaa"), Links("aaa"), Links()):
        side.world.set_links(links)
        assert side.world.links() == links


def test_time_goes_on_and_news_end_a_wait(side: Side) -> None:
    before = side.world.mark()
    side.world.sleep(0.01)
    after = side.world.mark()
    assert after.boot > before.boot
    assert after.boot_id == before.boot_id
    side.world.interrupt.set()
    side.world.wake.set()
    with pytest.raises(StepInterrupted):
        side.world.sleep(30.0)


def test_disk_of_a_path_that_is_not_there_yet_is_its_parent_s(side: Side) -> None:
    there, below = side.world.disk(str(side.root)), side.world.disk(str(side.root / "not" / "yet"))
    assert there.free > 0
    assert there.volume == below.volume


@pytest.mark.docker
def test_values_of_dot_env_reach_the_container_literally(real_side: Side, published: dict[str, Any]) -> None:
    values = {
        "PLAIN": "a b",
        "EMPTY": "",
        "DOLLAR": "${HOME} $HOME $$",
        "QUOTES": 'say "hi"',
        "APOSTROPHE": "it's",
        "HASH": "a #b",
        "BACKSLASH": r"a\nb\t\\c",
        "EQUALS": "a=b=c",
        "UNICODE": "größe",
    }
    told = real_side.order(real_side.first, environment=values)
    folder = real_side.write(real_side.first, environment=values)
    real_side.world.compose_up(folder)
    container = real_side.world.container()
    assert container is not None
    env = published["client"].containers.get(container.id).attrs["Config"]["Env"]
    found = dict(line.split("=", 1) for line in env)
    wanted = environment_of(told)
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.docker
def test_by_hand_in_current_changes_nothing(real_side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = real_side.write(real_side.first)
    real_side.world.set_links(Links(folder))
    real_side.world.compose_up(folder)
    before = real_side.world.container()
    command = ["docker", "compose", "--project-name", PROJECT, "up", "--detach"]
    subprocess.run(command, cwd=real_side.root / "current", check=True, capture_output=True)
    assert real_side.world.container() == before


@pytest.mark.docker
def test_an_engine_that_is_away_is_told_apart(real_side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{real_side.root}/none.sock")
        with pytest.raises(WorldError, match="Engine does not answer") as caught:
            real_side.world.container()
    assert caught.value.engine_down


@pytest.mark.docker
def test_the_shipped_compose_files_are_what_the_updater_needs(real_side: Side) -> None:
    names = ("robot.compose.yaml", "jetson.compose.yaml")
    shipped = {name: (CHECKOUT / "compose" / name).read_text() for name in names}
    for files in (names[:1], names):
        which = replace(real_side.first, compose_files=files)
        folder = real_side.write(which, compose={name: shipped[name] for name in files})
        assert real_side.world.compose_image(folder) == which.image
        assert node_folder("", folder) in real_side.world.compose_shares(folder)
        rendered = subprocess.run(
            ["docker", "compose", "config", "--format", "json"],
            cwd=real_side.root / "releases" / folder,
            capture_output=True,
            check=True,
        ).stdout
        service = json.loads(rendered)["services"]["runtime"]
        assert {name: service[name] for name in HARDENED} == HARDENED
        assert service.get("runtime") == ("nvidia" if len(files) > 1 else None)
        assert "privileged" not in service
        assert "cap_add" not in service
        writable = [one["target"] for one in service["volumes"] if not one.get("read_only")]
        assert writable == ["/run/jetfleet/node"]


#: What the container of every profile is denied, as Compose prints it.
HARDENED = {
    "user": "1000:1000",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "tmpfs": ["/tmp:size=64m,mode=1777"],
    "pids_limit": 512,
}


def test_bytes_are_counted_by_the_layers_that_moved() -> None:
    layers = (LayerRef("sha256:" + "a" * 64, 100), LayerRef("sha256:" + "b" * 64, 7))
    which = variant("1", layers=layers)
    assert moved_bytes(which, {"a" * 12: "exists", "b" * 12: "downloaded"}) == 7
    assert moved_bytes(replace(which, layers=()), {}) is None


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_update_lock_is_taken_once_and_given_back(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RealWorld, "container", lambda self, slot="": None)
    lock = tmp_path / LOCK_FILE.lstrip("/")
    world: World = FakeWorld(tmp_path) if kind == "fake" else RealWorld(tmp_path, PROJECT, machine=tmp_path)
    lock.parent.mkdir(parents=True)

    def node_says(*reasons: str) -> None:
        if isinstance(world, FakeWorld):
            world.lock = LockAnswer(HELD if reasons else FREE, reasons)
        else:
            node.update(reasons)

    node = UpdateLock(lock)
    node_says("the robot drives")
    assert world.take_update_lock(False).state == FREE, "nobody declared a rule"
    world.release_update_lock()
    assert world.take_update_lock(True) == LockAnswer(HELD, ("the robot drives",))
    node_says()
    assert world.take_update_lock(True).state == FREE
    node_says("a mission began")
    assert world.take_update_lock(True).state == FREE, "ours already"
    world.release_update_lock()
    world.release_update_lock()
    node_says("a mission began")
    assert world.take_update_lock(True).state == HELD
    node.close()
