"""The robot as the transaction sees it: one small interface, implemented for real and as a fake.

Both pass `tests/contract/updater/test_updater_world.py`. Every method has a deadline of its own, acts idempotently, and
raises :class:`WorldError` with what happened and what to do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterable, Optional, Protocol, Tuple

from runtime.contract.node.health_answer import HealthAnswer
from runtime.contract.printable import printable
from runtime.contract.robot.release import SecretReference
from runtime.contract.robot.root import HeldRoot
from runtime.contract.robot.trust import SignatureFacts, TrustSettings
from runtime.updater.state.lock_answer import LockAnswer
from runtime.updater.state.records import Mark

#: Local name that keeps our images from being pruned by others, and by which we know them: ``REPOSITORY:<12 hex>``.
KEEP_REPOSITORY = "jetfleet.local/runtime"
#: Compose project and service of the runtime container.
PROJECT, SERVICE = "jetfleet", "runtime"


#: Characters of what is said of a failure: it goes to the journal, to a terminal and to the operator.
MAX_MESSAGE = 2000


class WorldError(Exception):
    """Something outside failed. ``transient``: trying again may help. ``engine_down``: Docker does not answer."""

    def __init__(self, message: str, hint: str = "", transient: bool = False, engine_down: bool = False) -> None:
        super().__init__(message)
        self.message = printable(message, MAX_MESSAGE)
        self.hint = printable(hint, MAX_MESSAGE)
        self.transient = transient or engine_down
        self.engine_down = engine_down


class StepInterrupted(Exception):
    """The updater is stopping, or somebody aborted the order: nothing more is to be done now."""


@dataclass(frozen=True)
class DockerFacts:
    """What Docker is on this robot."""

    version: str
    compose_version: str
    platform: str
    """linux/arm64, linux/amd64."""
    root: str
    """Its own folder."""
    images: str = ""
    """Folder that holds its images, where that is another one (containerd's); empty: its own."""
    runtimes: Tuple[str, ...] = ()
    """Names of its container runtimes; empty when it does not say."""
    plain_loopback: bool = True
    """It speaks plain HTTP to a registry on 127.0.0.1."""

    @property
    def images_root(self) -> str:
        """Folder that holds its images."""
        return self.images or self.root


@dataclass(frozen=True)
class Hardware:
    """What the machine is; None where it does not say."""

    module: Optional[str] = None
    """``p3767-0003``."""
    l4t: Optional[str] = None
    """``36.4.3``."""


@dataclass(frozen=True)
class ImageFacts:
    """An image on the robot's disk."""

    id: str
    references: Tuple[str, ...]
    """Digest references (``repository@sha256:…``) under which it is known."""
    platform: str
    layers: Tuple[str, ...]
    """Digests of the uncompressed layers."""
    labels: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContainerFacts:
    """The runtime container."""

    id: str
    image_id: str
    image_name: str
    """The reference it was created from."""
    status: str
    """created | running | restarting | exited | dead …"""
    started_at: str
    restarts: int
    exit_code: int
    error: str = ""
    node_dir: str = ""
    """The host's folder that is ``NODE_DIR`` in it; empty where its compose file shares none."""


@dataclass(frozen=True)
class Disk:
    """One volume."""

    path: str
    free: int
    """Bytes that may be used."""
    volume: str = ""
    """Equal for paths on the same volume."""


@dataclass(frozen=True)
class FolderFile:
    """One file of a release folder."""

    content: str
    private: bool = False
    """Not readable for everybody on the robot."""


@dataclass(frozen=True)
class Links:
    """Where ``current`` and ``previous`` point: names of release folders, or None for no link."""

    current: Optional[str] = None
    previous: Optional[str] = None


Files = Dict[str, FolderFile]
OnLayer = Callable[[str, str], None]
"""Called with a layer's first 12 hex and one of ``exists``, ``downloading``, ``downloaded``."""


class FetchListener(Protocol):
    """Is told how a fetch goes, while it goes."""

    def layer(self, layer: str, status: str) -> None:
        """As OnLayer: what the Engine says of a layer, wherever it got it from."""
        ...

    def moved(self, moved: int, here: int, total: int) -> None:
        """Count: ``moved`` bytes went over the network for the order so far, earlier attempts included; ``here`` of the
        ``total`` bytes that the Engine lacked are on the disk."""
        ...

    def waits(self, why: str) -> None:
        """The link failed, and is tried again."""
        ...

    def alone(self, why: str) -> None:
        """The Engine fetches by itself: nothing is resumed, no rate is kept."""
        ...


class World(Protocol):
    """One robot. Raises WorldError; Interrupted when told to stop."""

    interrupt: threading.Event
    """Set: the updater stops or the order was aborted; what can be cut without harm is cut."""
    wake: threading.Event
    """Set: there is news, so a wait ends."""
    said: str
    """The last note."""

    # time and talk
    def mark(self) -> Mark:
        """Return this moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, at most so long; shorter when there is news."""
        ...

    def note(self, text: str) -> None:
        """Say in one line what is going on."""
        ...

    # machine
    def engine(self) -> DockerFacts:
        """Ask Docker and Compose what they are."""
        ...

    def hardware(self) -> Hardware:
        """Read what the machine says of itself."""
        ...

    def disk(self, path: str) -> Disk:
        """Return the free space of the volume that holds ``path`` (or its nearest existing parent)."""
        ...

    def present(self, path: str) -> bool:
        """Say whether a file or folder of the machine is there."""
        ...

    # images
    def image(self, reference: str) -> Optional[ImageFacts]:
        """Return a local image by digest reference or id, or None."""
        ...

    def pull(self, reference: str, on_layer: OnLayer) -> None:
        """Fetch an image by digest."""
        ...

    def fetch(self, reference: str, order_id: str, bytes_per_s: int, listener: FetchListener) -> None:
        """As :meth:`pull`, for an order: going on where an earlier attempt was cut, at no more than ``bytes_per_s``
        (0: as fast as it goes)."""
        ...

    def fetched_bytes(self, order_id: str) -> Optional[int]:
        """Return the bytes that an order took over the network so far; None when nobody counted."""
        ...

    def bytes_in_store(self, digests: Iterable[str]) -> int:
        """Return the bytes of these blobs that cut fetches left on the disk."""
        ...

    def prune_store(self, keep: Iterable[str]) -> None:
        """Remove what fetches left on the disk, but the blobs of ``keep``."""
        ...

    def keep_image(self, reference: str, name: str) -> None:
        """Give a local image the name ``KEEP_REPOSITORY:name``."""
        ...

    def kept_images(self) -> Dict[str, Tuple[str, ...]]:
        """Return our images: name below ``KEEP_REPOSITORY`` → digest references."""
        ...

    def remove_image(self, reference: str) -> bool:
        """Remove a name or digest reference; False when a container still uses it or it is gone."""
        ...

    # the container
    # ``slot``: which of the two Compose projects (``RunningRelease.slot``)
    def compose_image(self, folder: str) -> str:
        """Let Compose parse the release folder and return the image it would run."""
        ...

    def compose_shares(self, folder: str) -> Tuple[str, ...]:
        """Let Compose parse the release folder and return the host's folders that its container would share."""
        ...

    def compose_runtime(self, folder: str) -> str:
        """Let Compose parse the release folder and return the container runtime that it names; empty for none."""
        ...

    def compose_up(self, folder: str, slot: str = "") -> None:
        """Make the slot's containers those of the release folder; leave alone what is right already."""
        ...

    def compose_stop(self, folder: str, slot: str = "") -> None:
        """End the slot's containers and leave them there."""
        ...

    def compose_down(self, folder: str, slot: str = "") -> None:
        """Stop and remove the slot's containers, whichever release they are of."""
        ...

    def container(self, slot: str = "") -> Optional[ContainerFacts]:
        """Return the slot's runtime container, running or not."""
        ...

    def report(self, port: int, slot: str = "") -> str:
        """Ask the slot's agent for its HealthReport, as JSON text. One that has only the port is asked there."""
        ...

    def verify(self, port: int, seconds: float, slot: str = "") -> str:
        """Have the agent check the robot, listening for ``seconds``; return its Verification, as JSON text."""
        ...

    def ask_registry(self, reference: str) -> Tuple[str, str]:
        """Ask an image's registry, with the robot's own login, whether it would give it; nothing is fetched.

        Return its host, and why it would not (empty: it would); ``("", "")`` where only the Engine can ask.
        """
        ...

    # whose turn it is to serve
    def serving(self) -> Optional[str]:
        """Return the slot that the token names, or None when there is no token."""
        ...

    def set_serving(self, slot: str) -> None:
        """Name the slot whose container serves from now on; on disk when this returns."""
        ...

    def memory_available(self) -> Optional[int]:
        """Return the bytes that a new process may take; None when the machine does not say."""
        ...

    # the update lock
    def take_update_lock(self, declared: bool) -> LockAnswer:
        """Take the node's update lock, or say why not; one that we hold already is free. See `update_lock.take`."""
        ...

    def release_update_lock(self) -> None:
        """Give the lock back; without it that is fine."""
        ...

    # trust
    def held_root(self) -> Optional[HeldRoot]:
        """Return the root that counts, root 0 for an older version's lists, or None when nobody ever gave any."""
        ...

    def trust(self) -> Optional[TrustSettings]:
        """Return what this robot wants to see signed, or None when nobody ever said so."""
        ...

    def check_signature(self, statement: str, signature: str, namespace: str) -> SignatureFacts:
        """Judge one armored signature over ``statement`` by this robot's root, in the role of its namespace."""
        ...

    def secret(self, reference: SecretReference) -> str:
        """Return a secret from where it is on this robot. What is raised says where, and never what."""
        ...

    # the release folders
    def write_release(self, folder: str, files: Files) -> Tuple[str, ...]:
        """Write a release folder whole, on disk when this returns; return the files there that were not as given."""
        ...

    def read_release(self, folder: str, name: str) -> str:
        """Return one file of a release folder."""
        ...

    def releases(self) -> Tuple[str, ...]:
        """Return the names of all release folders."""
        ...

    def remove_release(self, folder: str) -> None:
        """Remove a release folder; one that is gone is fine."""
        ...

    def links(self) -> Links:
        """Return where ``current`` and ``previous`` point."""
        ...

    def set_links(self, links: Links) -> None:
        """Point ``current`` and ``previous``, each atomically."""
        ...


@dataclass(frozen=True)
class Observation:
    """One look at the robot: what the Engine and the agent say."""

    container: Optional[ContainerFacts] = None
    references: Tuple[str, ...] = ()
    """Digest references of the running container's image."""
    health: HealthAnswer = field(default_factory=HealthAnswer)
    report_json: str = ""
    """What the agent said, as text: operators get it unchanged."""


def elapsed(since: Mark, now: Mark) -> float:
    """Return the seconds between two marks; after a reboot by the wall clock, never negative."""
    if since.boot_id == now.boot_id:
        return max(0.0, now.boot - since.boot)
    return max(0.0, now.wall - since.wall)
