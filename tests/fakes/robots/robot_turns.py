"""Two slots of containers in memory, and whose turn it is: the token on the disk and the kernel's lock, as executors
obey them. ``publishers`` is what a test asserts: never two."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from runtime.contract.node.health import Check
from runtime.contract.node.serving import FIRST, HANDOVER, LABEL_HANDOVER, SECOND
from runtime.updater.robot.serving_token import ServingToken
from runtime.updater.state.world import ImageFacts, WorldError


@dataclass
class Behaviour:
    """How a release behaves once it runs. ``after_s`` is counted from the container's start."""

    ready_after_s: float = 2.0
    state: str = "ok"
    checks: tuple[Check, ...] = ()
    cosine: float = 0.999
    executor: str = "running"
    model: str = "active"
    exits: bool = False
    """The container ends at once, again and again."""
    silent: bool = False
    turns_bad_after_s: float | None = None
    key: str | None = None
    """An engine other than the release's."""
    hangs_after_s: float | None = None
    """Its executor hangs: what it publishes on stays there, and so does its lock, until the container is ended."""
    shares_lock: bool = True
    """False: its user may not write to the shared folder, so that it cannot hold the serving lock."""
    memory_bytes: int = 400_000_000
    only_when_serving: bool = False
    """``state``, ``checks`` and ``turns_bad_after_s`` count once it serves: a release whose fault standing by hides."""


@dataclass
class Container:
    """One runtime container."""

    id: str
    image: str
    content: str
    started: float
    slot: str = FIRST
    stopped: bool = False
    served_at: float | None = None
    """When its executor last became active."""


@dataclass
class Slots:
    """What there is in both Compose projects."""

    containers: dict[str, Container] = field(default_factory=dict)
    holder: str | None = None
    """Id of the container whose executor holds the serving lock."""


class FakeTurns(ServingToken):
    """The part of the fake robot that starts, ends and serves. The token is a real file below ``root``."""

    time: float
    images: dict[str, ImageFacts]
    behaviour: dict[str, Behaviour]

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.slots = Slots()
        self.memory: int | None = 8 * 1024**3

    # ── told by tests ──

    def take_turns(self, published: dict[str, ImageFacts]) -> None:
        """Let every image published from now on be one whose executor obeys token and lock."""
        for image in published.values():
            image.labels[LABEL_HANDOVER] = HANDOVER

    @property
    def containers(self) -> list[Container]:
        """All of both slots."""
        return list(self.slots.containers.values())

    @property
    def runs(self) -> Container | None:
        """The container that serves; the one that is to, when none does yet."""
        self.settle()
        found = self.slots.containers
        serving = next((one for one in self.containers if one.id == self.slots.holder), None)
        named = found.get(self.serving() or FIRST)
        return serving or named or next(iter(self.containers), None)

    @runs.setter
    def runs(self, nothing: None) -> None:
        """Take away the container that serves."""
        assert nothing is None
        runs = self.runs
        if runs is not None:
            del self.slots.containers[runs.slot]
        self.settle()

    @property
    def publishers(self) -> tuple[str, ...]:
        """Slots whose executors have publishers now."""
        self.settle()
        return tuple(one.slot for one in self.containers if self._publishes(one))

    # ── what executors do ──

    def settle(self) -> None:
        """Let every executor see token and lock, as often as it takes."""
        slots = self.slots
        holder = next((one for one in self.containers if one.id == slots.holder), None)
        if holder is None or not self._could_serve(holder) or not (self._named(holder) or self._hangs(holder)):
            slots.holder = None
        if slots.holder is None:
            heir = next((one for one in self.containers if self._may_take(one)), None)
            if heir is not None:
                slots.holder, heir.served_at = heir.id, self.time

    def age(self, one: Container) -> float:
        """Seconds since its start."""
        return self.time - one.started

    def behaves(self, one: Container) -> Behaviour:
        """How it behaves."""
        return self.behaviour.get(one.image, Behaviour())

    def obeys(self, one: Container) -> bool:
        """Its image says that its executor takes turns."""
        image = self.images.get(one.image)
        return image is not None and image.labels.get(LABEL_HANDOVER) == HANDOVER

    def serves(self, one: Container) -> bool:
        """Its executor is active."""
        self.settle()
        return self._publishes(one)

    def _publishes(self, one: Container) -> bool:
        if not self._could_serve(one):
            return False
        if not self.obeys(one):
            return True
        return one.id == self.slots.holder or (not self.behaves(one).shares_lock and self._named(one))

    def _could_serve(self, one: Container) -> bool:
        does = self.behaves(one)
        return not one.stopped and not does.exits and self.age(one) >= does.ready_after_s and does.cosine >= 0.97

    def _may_take(self, one: Container) -> bool:
        obeys = self.obeys(one) and self.behaves(one).shares_lock
        return obeys and self._could_serve(one) and self._named(one) and not self._hangs(one)

    def _named(self, one: Container) -> bool:
        return self.serving() in (None, one.slot)

    def _hangs(self, one: Container) -> bool:
        after = self.behaves(one).hangs_after_s
        return after is not None and self.age(one) >= after

    # ── the world's part ──

    def _fault(self, method: str) -> None:
        raise NotImplementedError

    def set_serving(self, slot: str) -> None:
        self._fault("set_serving")
        super().set_serving(slot)
        self.settle()

    def memory_available(self) -> int | None:
        return self.memory

    def compose_stop(self, folder: str, slot: str = FIRST) -> None:
        self._fault("compose_stop")
        if slot in self.slots.containers:
            self.slots.containers[slot].stopped = True
        self.settle()

    def compose_down(self, folder: str, slot: str = FIRST) -> None:
        self._fault("compose_down")
        self._folder_is_there(folder)
        self.slots.containers.pop(slot, None)
        self.settle()

    def _folder_is_there(self, folder: str) -> None:
        raise NotImplementedError

    def restart_all(self) -> None:
        """A reboot: what was not stopped comes back, and no lock is held."""
        assert set(self.slots.containers) <= {FIRST, SECOND}
        self.slots.holder = None
        for one in self.containers:
            one.started, one.served_at = self.time, None

    def put(self, slot: str, number: int, image: str, content: str) -> None:
        """Make the slot's container this one; leave alone what is right already."""
        if image not in self.images:
            raise WorldError(f"docker compose up: no route to the registry, and {image} is not here")
        there = self.slots.containers.get(slot)
        if there is not None and there.content == content:
            if there.stopped:
                there.stopped, there.started = False, self.time
        else:
            self.slots.containers[slot] = Container(f"{number:064x}", image, content, self.time, slot)
        self.settle()
