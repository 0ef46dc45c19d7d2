"""The updater's daemon as a robot runs it, with this machine's Engine and Compose: to a release, and back."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from runtime.contract.codec import canonical_json, from_json, to_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.runtime_config import ENV_HEALTH_PORT
from runtime.contract.robot.release import LayerRef, Probation, ReleaseEngine
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.contract.robot.verification import Finding, Verification
from tests.contract.updater.test_updater_process import Daemon, _pythons
from tests.contract.updater.test_updater_world import COMPOSE, PROJECT, _with_compose
from tests.fakes.registries import tiny_images
from tests.fakes.robots.robot_turns import Container
from tests.fakes.robots.robot_world import Behaviour, FakeWorld, digest, order, reference, variant

pytestmark = pytest.mark.docker


class Road:
    """Published releases ``1`` (good), ``2`` (good) and ``3`` (fails its self-test), an agent, a daemon."""

    def __init__(self, client: Any, found: dict[str, dict[str, Any]], daemon: Daemon, port: int) -> None:
        self.client, self.found, self.daemon, self.port = client, found, daemon, port

    def order(self, letter: str, **changes: Any) -> UpdateOrder:
        image = self.found[letter]
        engine = ReleaseEngine("sign_text", "fp32", digest(letter), image["layers"][-1], 6000)
        layers = (LayerRef(image["blobs"][0], 100), LayerRef(image["blobs"][1], 7))
        told = order(
            letter,
            order_id=f"{letter}-{time.monotonic()}",
            variant=variant(letter, image=image["reference"], engines=(engine,), layers=layers),
            compose={"robot.compose.yaml": COMPOSE},
            environment={ENV_HEALTH_PORT: str(self.port)},
            probation=Probation(soak_s=0.2, ready_timeout_s=180.0, confirm_timeout_s=180.0),
            issued_at=time.time(),
        )
        return replace(told, **changes)

    def submit(self, told: UpdateOrder) -> None:
        ran = self.daemon.ask("submit", stdin=canonical_json(told).decode())
        assert ran.returncode == 0, ran.stderr

    def run(self, told: UpdateOrder) -> UpdateState:
        self.submit(told)
        self.daemon.wait(self._ended_or_awaits, "end of probation", 240.0)
        if self.daemon.state().awaiting_confirmation:
            ran = self.daemon.ask("confirm", told.order_id)
            assert ran.returncode == 0, ran.stderr
        self.daemon.wait(lambda: self.daemon.state().state == "idle", "end", 240.0)
        return self.daemon.state()

    def _ended_or_awaits(self) -> bool:
        state = self.daemon.state()
        return state.awaiting_confirmation or state.state == "idle"

    def container(self) -> Any:
        found = self.client.containers.list(
            filters={"label": f"com.docker.compose.project={PROJECT}"}, ignore_removed=True
        )
        return found[0] if found else None

    def runs(self) -> str:
        container = self.container()
        if container is None:
            return ""
        return next((letter for letter, image in self.found.items() if image["id"] == container.attrs["Image"]), "?")

    def report(self) -> bytes:
        """Answer as the agent in the running container would."""
        letter = self.runs() or "1"
        world = FakeWorld(Path("/nonexistent"))
        behaviour = Behaviour(ready_after_s=0.0, cosine=0.41 if letter == "3" else 0.999)
        report = world._report(Container("", reference(letter), "", world.time), behaviour)
        return json.dumps(to_dict(report)).encode()

    def verify(self) -> bytes:
        """Answer to `/verify?seconds=3` as an agent would."""
        finding = Finding("inference", "sign_text", True, "12 frames in 3.0 s")
        return json.dumps(to_dict(Verification(time.time(), 3.0, True, (finding,)))).encode()


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Any]]:
    if os.environ.get("JETFLEET_NO_LAB") == "1":
        pytest.skip("JETFLEET_NO_LAB=1")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"no Docker Engine answers ({error}); JETFLEET_NO_LAB=1 skips this by name")
    with tiny_images.registry(client) as address:
        found = {letter: tiny_images.publish(client, f"{address}/test/runtime", letter) for letter in "123"}
        yield {"client": client, "found": found}
        for image in found.values():
            if image["reference"] in tiny_images.references(client):
                client.images.remove(image["id"], force=True)
    client.close()


@pytest.fixture
def road(images: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    _with_compose(tmp_path / "docker", monkeypatch)
    daemon = Daemon(tmp_path, _pythons()[-1])
    daemon.environment = {
        name: os.environ[name] for name in ("PATH", "DOCKER_CONFIG", "DOCKER_HOST") if name in os.environ
    }
    daemon.options = ("--project", PROJECT)

    class Agent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(made.verify() if self.path.startswith("/verify?") else made.report())

        def log_message(self, *arguments: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    made = Road(images["client"], images["found"], daemon, server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    daemon.start()
    yield made
    if daemon.process is not None:
        daemon.stop(signal.SIGKILL)
    server.shutdown()
    server.server_close()
    label = {"label": f"com.docker.compose.project={PROJECT}"}
    for container in images["client"].containers.list(all=True, filters=label, ignore_removed=True):
        container.remove(force=True)
    for network in images["client"].networks.list(filters=label):
        network.remove()


def test_to_a_release_to_another_to_a_bad_one_and_back_by_hand(road: Road) -> None:
    first = road.run(road.order("1"))
    assert (first.outcome, first.reason, road.runs()) == ("committed", "", "1")
    assert first.fetched_bytes == sum(road.found["1"]["sizes"]) + road.found["1"]["config_size"]

    second = road.run(road.order("2"))
    assert (second.outcome, second.reason, road.runs()) == ("committed", "", "2")
    assert second.fetched_bytes == road.found["2"]["sizes"][1] + road.found["2"]["config_size"]
    kept = road.container().id

    same = road.run(road.order("2", version="9.0.0", release_digest=digest("9")))
    assert (same.outcome, same.fetched_bytes) == ("committed", 0)
    assert road.container().id == kept

    bad = road.run(road.order("3"))
    assert (bad.outcome, road.runs()) == ("reverted", "2")
    assert "sign_text: self-test cosine 0.41 < 0.97" in bad.reason
    assert bad.banned == (road.found["3"]["reference"],)

    attested = from_json(Attestation, road.daemon.ask("attest").stdout)
    assert attested.running_image == road.found["2"]["reference"]
    assert attested.container_restarts == 0
    assert json.loads(attested.report_json)["ready"] is True

    verified = from_json(Attestation, road.daemon.ask("verify", "--seconds", "3").stdout)
    assert (verified.running_image, verified.verification_error) == (attested.running_image, "")
    assert from_json(Verification, verified.verification_json).seconds == 3.0

    ran = road.daemon.ask("revert", "--wait", "--reason", "by hand")
    assert ran.returncode == 0, ran.stderr
    assert [line["outcome"] for line in json.loads(road.daemon.ask("history", "--json").stdout)] == [
        *("committed",) * 3,
        *("reverted",) * 2,
    ]


@pytest.mark.parametrize(
    ("letter", "where"),
    [("2", "fetching"), ("2", "switching"), ("2", "probation"), ("3", "switching"), ("3", "reverting")],
)
def test_killed_daemon_ends_wholly_old_or_wholly_new(road: Road, letter: str, where: str) -> None:
    road.run(road.order("1"))
    told = road.order(letter)
    road.submit(told)
    deadline = time.monotonic() + 180.0
    # States are short here: kill when this one is seen, or whatever came after it.
    while road.daemon.state().state not in (where, "idle") and time.monotonic() < deadline:
        if road.daemon.state().awaiting_confirmation:
            break
        time.sleep(0.005)
    road.daemon.stop(signal.SIGKILL)
    road.daemon.start()
    road.daemon.wait(road._ended_or_awaits, "end of probation", 240.0)
    if road.daemon.state().awaiting_confirmation:
        road.daemon.ask("confirm", told.order_id)
    road.daemon.wait(lambda: road.daemon.state().state == "idle", "end", 240.0)
    state = road.daemon.state()
    assert state.current is not None
    assert (state.outcome, road.runs()) == (("committed", "2") if letter == "2" else ("reverted", "1")), state.reason
    assert state.current.image == road.found[road.runs()]["reference"]
