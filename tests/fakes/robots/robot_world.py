"""A robot in memory: an Engine, an agent and a clock that can be told to misbehave; release folders are real files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.contract.codec import digest_of, to_dict
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.node.health import Check, ExecutorHealth, HealthReport, ModelHealth, SelfTest, TurnHealth
from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import ENV_HOST_NODE_DIR
from runtime.contract.robot.release import LayerRef, Probation, ReleaseEngine, ReleaseVariant, SecretReference
from runtime.contract.robot.root import HeldRoot, TrustRoot
from runtime.contract.robot.trust import SignatureFacts, Signed, TrustSettings
from runtime.contract.robot.update import UpdateOrder
from runtime.contract.robot.verification import Finding, Verification
from runtime.updater.state.lock_answer import FREE, LockAnswer
from runtime.updater.state.records import Mark
from runtime.updater.state.world import (
    KEEP_REPOSITORY,
    ContainerFacts,
    Disk,
    DockerFacts,
    FetchListener,
    Hardware,
    ImageFacts,
    OnLayer,
    StepInterrupted,
    WorldError,
)
from runtime.updater.storage.folders import ReleaseFolders
from tests.fakes.robots.robot_turns import Behaviour, Container, FakeTurns

__all__ = ["Behaviour", "FakeWorld", "digest", "fake_signature", "order", "reference", "variant"]

REPOSITORY = "registry.test:5000/warehouse/runtime"
COMPOSE = """services:
  runtime:
    image: ${JETFLEET_IMAGE}
    volumes:
      - ${JETFLEET_HOST_NODE_DIR:-/run/jetfleet/node}:/run/jetfleet/node
      - /var/lib/jetfleet/serve:/run/jetfleet/serve:ro
"""
HOST_NODE_DIR = "${JETFLEET_HOST_NODE_DIR:-/run/jetfleet/node}"
#: As releases had it before each container got a folder of its own.
OLD_COMPOSE = COMPOSE.replace(HOST_NODE_DIR, NODE_DIR)
START = 1_800_000_000.0


def digest(letter: str) -> str:
    """Return a digest that is easy to recognise."""
    return "sha256:" + (letter * 64)[:64]


def reference(letter: str) -> str:
    """Return the digest reference of the image called ``letter`` (a hex digit)."""
    return f"{REPOSITORY}@{digest(letter)}"


def variant(letter: str, **changes: Any) -> ReleaseVariant:
    """Return a variant whose image, engine and engine key are called ``letter``."""
    engine = ReleaseEngine("sign_text", "fp32", digest(letter), "sha256:e" + letter * 63, 5_000_000)
    base = ReleaseVariant(
        name=f"sim-x86-{letter * 8}",
        profile="sim-x86",
        image=reference(letter),
        image_bytes=105_000_000,
        base_digest=digest("0"),
        config_digest=digest(letter),
        engines=(engine,),
        requires=DeviceFacts(platform="linux/amd64"),
        compose_files=("robot.compose.yaml",),
        layers=(LayerRef("sha256:ba5e" + "0" * 60, 100_000_000), LayerRef(engine.layer_digest, 5_000_000)),
    )
    return replace(base, **changes)


def order(letter: str, version: str = "", order_id: str = "", **changes: Any) -> UpdateOrder:
    """Return an order for the image called ``letter``."""
    base = UpdateOrder(
        order_id=order_id or f"order-{letter}",
        robot="amr-001",
        fleet="warehouse",
        version=version or f"1.{int(letter, 16)}.0",
        release_digest=digest(letter),
        variant=variant(letter),
        compose={"robot.compose.yaml": COMPOSE},
        environment={"ROS_DOMAIN_ID": "7"},
        probation=Probation(soak_s=5.0, ready_timeout_s=20.0, confirm_timeout_s=15.0),
    )
    return replace(base, **changes)


def fake_signature(key: str, statement: str, namespace: str) -> str:
    """Return what stands for a signature by ``key`` (``SHA256:…``) here."""
    return f"{key} {digest_of([namespace, statement])}"


class FakeWorld(ReleaseFolders, FakeTurns):
    """See :class:`runtime.updater.state.world.World`."""

    def __init__(self, root: Path) -> None:
        ReleaseFolders.__init__(self, root)
        FakeTurns.__init__(self, root)
        self.interrupt, self.wake, self.said = threading.Event(), threading.Event(), ""
        self.notes: list[str] = []
        self.time, self.boot, self.boot_id = START, 100.0, "boot-1"
        self.published = {reference(letter): _image(letter) for letter in "123456789abcdef"}
        self.images: dict[str, ImageFacts] = {}
        self.kept: dict[str, str] = {}
        self.started = 0
        self.pulls: list[str] = []
        self.rates: list[int] = []
        """Bytes a second that each fetch was allowed."""
        self.arrives: list[int] = []
        """Bytes that the next fetches bring into the store, each, before they go on as a pull does."""
        self.alone = ""
        """Why the Engine fetches alone; empty: it does not."""
        self.store: dict[str, int] = {}
        self.moved: dict[str, int] = {}
        self.behaviour: dict[str, Behaviour] = {}
        self.room: Behaviour = Behaviour()
        """What the room adds to every release: its checks are wrong whatever runs."""
        self.facts = DockerFacts("20.10.24", "2.40.3", "linux/amd64", "/var/lib/docker")
        self.machine = Hardware()
        self.free = 50 * 1024**3
        self.runtime = ""
        """The container runtime that releases name."""
        self.absent: set[str] = set()
        """Files of the machine that are not there."""
        self.faults: dict[str, list[WorldError]] = {}
        self.on_sleep: Callable[[], None] | None = None
        self.lock = LockAnswer(FREE)
        """What a node with rules says; a robot without rules is always free."""
        self.lock_held = False
        self.registry_problem = ""
        """Why the registry would not give an image to this robot; empty: it would."""
        self.settings: TrustSettings | None = TrustSettings("warehouse", unsigned=True)
        self.root_version = 0
        self.secrets: dict[str, str] = {}
        """Where a secret is → its value."""
        self.signers: dict[str, tuple[str, ...]] = {}
        self.authorities: dict[str, str] = {}
        """Key → the certificate authority that vouches for it."""
        """Key → whom it stands for."""
        self.revoked: set[str] = set()

    # ── told by tests ──

    def fail(self, method: str, *errors: WorldError) -> None:
        """Let the next calls of ``method`` raise."""
        self.faults.setdefault(method, []).extend(errors)

    def reboot(self, away_s: float = 30.0) -> None:
        """Cut the power; containers with a restart policy come back."""
        self.time, self.boot = self.time + away_s, 5.0
        self.boot_id = f"boot-{int(self.boot_id[5:]) + 1}"
        self.restart_all()

    # ── time and talk ──

    def mark(self) -> Mark:
        return Mark(self.time, self.boot, self.boot_id)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.boot += seconds
        if self.on_sleep is not None:
            self.on_sleep()
        if self.interrupt.is_set():
            raise StepInterrupted

    def note(self, text: str) -> None:
        self.said = text
        self.notes.append(text)

    # ── machine ──

    def engine(self) -> DockerFacts:
        self._fault("engine")
        return self.facts

    def hardware(self) -> Hardware:
        return self.machine

    def disk(self, path: str) -> Disk:
        return Disk(path, self.free, "one volume")

    # ── images ──

    def image(self, reference: str) -> ImageFacts | None:
        self._fault("image")
        if reference.startswith(KEEP_REPOSITORY):
            reference = self.kept.get(reference.rpartition(":")[2], "")
        return next((i for ref, i in self.images.items() if reference in (ref, i.id)), None)

    def pull(self, reference: str, on_layer: OnLayer) -> None:
        if self.interrupt.is_set():
            raise StepInterrupted
        self.pulls.append(reference)
        self._fault("pull")
        if reference not in self.published:
            raise WorldError("docker pull: manifest unknown", "publish the release again")
        image = self.published[reference]
        here = {layer for other in self.images.values() for layer in other.layers}
        for layer in image.layers:
            on_layer(layer[7:19], "exists" if layer in here else "downloading")
            if layer not in here:
                on_layer(layer[7:19], "downloaded")
        self.images[reference] = image

    def fetch(self, reference: str, order_id: str, bytes_per_s: int, listener: FetchListener) -> None:
        self.rates.append(bytes_per_s)
        if self.arrives:
            arrived = self.arrives.pop(0)
            self.store["sha256:ba5e" + "0" * 60] = self.store.get("sha256:ba5e" + "0" * 60, 0) + arrived
            self.moved[order_id] = self.moved.get(order_id, 0) + arrived
            listener.moved(self.moved[order_id], arrived, 105_000_000)
        if self.alone:
            listener.alone(self.alone)
        self.pull(reference, listener.layer)

    def fetched_bytes(self, order_id: str) -> int | None:
        return self.moved.get(order_id)

    def bytes_in_store(self, digests: Iterable[str]) -> int:
        return sum(self.store.get(digest, 0) for digest in digests)

    def prune_store(self, keep: Iterable[str]) -> None:
        kept = set(keep)
        self.store = {digest: size for digest, size in self.store.items() if digest in kept}

    def keep_image(self, reference: str, name: str) -> None:
        if self.image(reference) is None:
            raise WorldError(f"docker tag: No such image: {reference}")
        self.kept[name] = reference

    def kept_images(self) -> dict[str, tuple[str, ...]]:
        return {name: (ref,) for name, ref in self.kept.items() if ref in self.images}

    def remove_image(self, reference: str) -> bool:
        self._fault("remove_image")
        if reference.startswith(KEEP_REPOSITORY):
            return self.kept.pop(reference.rpartition(":")[2], None) is not None
        if reference not in self.images or any(one.image == reference for one in self.containers):
            return False
        del self.images[reference]
        return True

    # ── the container ──

    def compose_image(self, folder: str) -> str:
        self._fault("compose_image")
        return self._environment(folder)["JETFLEET_IMAGE"]

    def compose_shares(self, folder: str) -> tuple[str, ...]:
        self._fault("compose_shares")
        own = self._environment(folder).get(ENV_HOST_NODE_DIR, NODE_DIR)
        text = self.read_release(folder, "robot.compose.yaml").replace(HOST_NODE_DIR, own)
        lines = (line.strip() for line in text.splitlines())
        return tuple(line[2:].partition(":")[0] for line in lines if line.startswith("- /"))

    def compose_runtime(self, folder: str) -> str:
        self._fault("compose_runtime")
        return self.runtime

    def present(self, path: str) -> bool:
        return path not in self.absent

    def compose_up(self, folder: str, slot: str = "") -> None:
        self._fault("compose_up")
        content = self.read_release(folder, ".env") + self.read_release(folder, "robot.compose.yaml")
        before = self.slots.containers.get(slot)
        self.put(slot, self.started + 1, self._environment(folder)["JETFLEET_IMAGE"], content)
        if self.slots.containers[slot] is not before:
            self.started += 1

    def _folder_is_there(self, folder: str) -> None:
        self.read_release(folder, ".env")

    def container(self, slot: str = "") -> ContainerFacts | None:
        self._fault("container")
        one = self.slots.containers.get(slot)
        if one is None:
            return None
        exits = self.behaves(one).exits
        restarts = int((self.time - one.started) // 2) if exits else 0
        return ContainerFacts(
            id=one.id,
            image_id=self.images[one.image].id,
            image_name=one.image,
            status="exited" if one.stopped else "restarting" if exits else "running",
            started_at=str(one.started),
            restarts=restarts,
            exit_code=1 if exits else 0,
            node_dir=_named_in(one.content, ENV_HOST_NODE_DIR) or (NODE_DIR if NODE_DIR in one.content else ""),
        )

    def report(self, port: int, slot: str = "") -> str:
        self._fault("report")
        one = self._answering(port, slot)
        return json.dumps(to_dict(self._report(one, self.behaves(one))))

    def verify(self, port: int, seconds: float, slot: str = "") -> str:
        self._fault("verify")
        does = self.behaves(self._answering(port, slot))
        self.time += seconds
        finding = Finding("inference", "sign_text", does.state == "ok", "12 frames in 5.0 s")
        return json.dumps(to_dict(Verification(self.time, seconds, finding.passed, (finding,))))

    def ask_registry(self, reference: str) -> tuple[str, str]:
        self._fault("ask_registry")
        return reference.partition("/")[0], self.registry_problem

    # ── the update lock ──

    def take_update_lock(self, declared: bool) -> LockAnswer:
        self._fault("take_update_lock")
        answer = self.lock if declared and not self.lock_held else LockAnswer(FREE)
        self.lock_held = answer.state == FREE
        return answer

    def release_update_lock(self) -> None:
        self.lock_held = False

    # ── trust ──

    def held_root(self) -> HeldRoot | None:
        self._fault("held_root")
        asks = self.settings
        if asks is None:
            return None
        made = TrustRoot(
            asks.fleet, self.root_version, "some", asks.threshold, unsigned=asks.unsigned,
            max_release_s=asks.max_release_s, max_rollback_s=asks.max_rollback_s,
        )  # fmt: skip
        return HeldRoot(made, Signed(made.text if self.root_version else ""))

    def secret(self, reference: SecretReference) -> str:
        self._fault("secret")
        if reference.value not in self.secrets:
            raise WorldError(
                f"the secret {reference.kind} {reference.value} cannot be read: No such file", "put it there"
            )
        return self.secrets[reference.value]

    def trust(self) -> TrustSettings | None:
        self._fault("trust")
        return self.settings

    def check_signature(self, statement: str, signature: str, namespace: str) -> SignatureFacts:
        self._fault("check_signature")
        key = signature.partition(" ")[0]
        if signature != fake_signature(key, statement, namespace):
            return SignatureFacts(problem=f"a signature does not belong to this statement as {namespace}: no match")
        if key not in self.signers:
            return SignatureFacts(key, problem=f"{key} is not an allowed signer")
        if key in self.revoked:
            return SignatureFacts(key, (), True, f"{key} of {', '.join(self.signers[key])} is revoked")
        return SignatureFacts(key, self.signers[key], authority=self.authorities.get(key, ""))

    # ── inside ──

    def _answering(self, port: int, slot: str) -> Container:
        one = self.slots.containers.get(slot)
        if one is None or one.stopped or self.behaves(one).silent:
            raise WorldError(f"the agent on port {port} does not answer: Connection refused", transient=True)
        return one

    def _report(self, runs: Container, does: Behaviour) -> HealthReport:
        age = self.age(runs)
        ready = age >= does.ready_after_s
        serves = self.serves(runs) if self.obeys(runs) else ready
        passed = does.cosine >= 0.97
        test = SelfTest(passed, does.cosine, 0.97, "on golden inputs") if ready else None
        letter = runs.image.rpartition(":")[2]
        loaded = does.model if serves or does.model != "active" else "inactive"
        model = ModelHealth(
            name="sign_text",
            precision="fp32",
            engine_key=does.key or f"sha256:{letter}",
            engine_sha256=letter,
            state=(loaded if passed else "failed") if ready else "loading",
            self_test=test,
            last_error="" if passed else "self-test",
        )
        checks, state = self._judged(runs, does, serves)
        return HealthReport(
            time=self.time,
            robot="amr-001",
            release="",
            image=runs.image,
            state=state,
            live=True,
            ready=ready and serves and passed and does.model == "active",
            uptime_s=age,
            executor=ExecutorHealth(does.executor, "active" if serves else "inactive", 0),
            models=(model,),
            checks=checks,
            turn=self._turn(runs, does, ready=ready and passed, serves=serves),
        )

    def _judged(self, runs: Container, does: Behaviour, serves: bool) -> tuple[tuple[Check, ...], str]:
        since = self.age(runs)
        if does.only_when_serving:
            if not serves or runs.served_at is None:
                return self.room.checks, self.room.state
            since = self.time - runs.served_at
        checks = (*does.checks, *self.room.checks)
        state = max((does.state, self.room.state), key=("ok", "degraded", "unhealthy").index)
        if does.turns_bad_after_s is not None and since >= does.turns_bad_after_s:
            return (*checks, Check("latency", "error", "inference p99 900 ms")), "unhealthy"
        return checks, state

    def _turn(self, runs: Container, does: Behaviour, ready: bool, serves: bool) -> TurnHealth | None:
        if not self.obeys(runs):
            return None
        standing_by = "the token names another container" if ready and not serves else ""
        return TurnHealth(runs.slot, ready and does.shares_lock, standing_by, does.memory_bytes)

    def _environment(self, folder: str) -> dict[str, str]:
        return _values(self.read_release(folder, ".env"))

    def _fault(self, method: str) -> None:
        if self.faults.get(method):
            raise self.faults[method].pop(0)


def _values(dot_env: str) -> dict[str, str]:
    return {name: value.strip("'\"") for name, _, value in (line.partition("=") for line in dot_env.splitlines())}


def _named_in(content: str, name: str) -> str:
    return _values(content).get(name, "")


def _image(letter: str) -> ImageFacts:
    layers = tuple(layer.digest for layer in variant(letter).layers)
    return ImageFacts("sha256:1d" + letter * 62, (reference(letter),), "linux/amd64", layers)
