"""Can this robot take this order at all? Refusals say both sides and change nothing."""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Set, Tuple

from runtime.contract.device import differing_facts
from runtime.contract.engine.facts import DeviceFacts
from runtime.contract.robot.release import LayerRef, ReleaseVariant
from runtime.contract.robot.update import ROBOT_DIR, UpdateOrder
from runtime.contract.versions import MIN_COMPOSE, MIN_ENGINE
from runtime.updater.state.records import Journal
from runtime.updater.state.release_folder import files_of, health_port, order_in, secrets_of
from runtime.updater.state.transitions import kept_releases
from runtime.updater.state.world import DockerFacts, World, WorldError

#: Compressed layers unpack to about this many times their size on a Jetson image.
UNPACK_FACTOR = 2.5
MARGIN_BYTES = 256 * 1024 * 1024
_WORDS = {"l4t": "L4T"}
#: For the journal, the history and the release folders.
STATE_RESERVE_BYTES = 16 * 1024 * 1024
#: For an Engine's own files where its images lie on another volume: containers' logs and settings, volumes.
ENGINE_BYTES = 64 * 1024 * 1024
MAX_CLOCK_DIFFERENCE_S = 24 * 3600.0
#: No release is older: a clock before this moment (2024) was never set.
OLDEST_SANE_TIME = 1704067200.0


class Refused(Exception):
    """The order cannot be done here; nothing was changed."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def check_order(journal: Journal, order: UpdateOrder, world: World) -> None:
    """Check what needs no Docker: whose order it is, the clock, bans, the files. Raises Refused."""
    if journal.robot and order.robot != journal.robot:
        raise Refused(
            "the order is for {}, this robot is {}".format(order.robot, journal.robot),
            "correct the robot's host in the manifest, or bootstrap it again under its new name",
        )
    _check_clock(order, world.mark().wall, journal.pulled)
    _check_ban(journal, order)
    try:
        files_of(order)
        health_port(order)
    except WorldError as error:
        raise Refused(error.message, error.hint or "publish the release again with this version of fleet") from error


def check_secrets(order: UpdateOrder, world: World) -> None:
    """Check that the robot has its secrets. Raises Refused.

    Only for an order that is believed: its signers say which files are read and which commands run, as root.
    """
    try:
        secrets_of(world, order)
    except WorldError as error:
        raise Refused(error.message, error.hint or "put the secret where the manifest says that it is") from error


def check_machine(order: UpdateOrder, world: World) -> DockerFacts:
    """Check Docker and the hardware against what the variant requires. Raises Refused, WorldError."""
    engine = world.engine()
    check_version("Docker Engine", engine.version, MIN_ENGINE)
    check_version("Docker Compose", engine.compose_version, MIN_COMPOSE)
    requires = order.variant.requires
    hardware = world.hardware()
    here = DeviceFacts(platform=engine.platform, module=hardware.module, l4t=_plain(hardware.l4t))
    asked = DeviceFacts(platform=requires.platform, module=requires.module, l4t=_plain(requires.l4t))
    wrong = differing_facts(asked, here)
    if wrong:
        name, wanted, found = wrong[0]
        raise Refused(
            "the release needs {} {}, this robot is {}".format(_WORDS.get(name, name), wanted, found or "unknown"),
            "give the robot the profile of its hardware in the manifest",
        )
    return engine


def check_disk(journal: Journal, order: UpdateOrder, world: World, engine: DockerFacts) -> None:
    """Check the bytes needed against the bytes free, on every volume. Raises Refused.

    What is missing comes into the updater's own store first, and from there to the Engine.
    """
    images, state, own = world.disk(engine.images_root), world.disk(ROBOT_DIR), world.disk(engine.root)
    present = layers_on_disk(journal, world)
    needed, stored = bytes_needed(order.variant, present), STATE_RESERVE_BYTES + store_bytes(order, present, world)
    if images.volume == state.volume:
        needed += stored
    elif state.free < stored:
        raise Refused(_too_little(state.path, stored, state.free), "free some space on that volume")
    if own.volume not in (images.volume, state.volume) and own.free < ENGINE_BYTES:
        raise Refused(_too_little(own.path, ENGINE_BYTES, own.free), "free some space on that volume")
    if images.free < needed:
        raise Refused(
            _too_little(images.path, needed, images.free),
            "free some space on that volume; `docker system df` on the robot shows what Docker holds",
        )


def bytes_needed(variant: ReleaseVariant, present: Set[str]) -> int:
    """Return the bytes that the Engine needs: missing layers as they come and unpacked, and a margin."""
    engines = {engine.layer_digest for engine in variant.engines + variant.standby}
    layers: Tuple[LayerRef, ...] = variant.layers or (LayerRef("", variant.image_bytes),)
    total = 0.0
    for layer in layers:
        if layer.digest not in present:
            # An engine's layer is not compressed: it takes its size twice, on the way in and unpacked.
            total += layer.size * (2.0 if layer.digest in engines else 1.0 + UNPACK_FACTOR)
    return int(total) + MARGIN_BYTES


def store_bytes(order: UpdateOrder, present: Set[str], world: World) -> int:
    """Return the bytes that the store needs: missing layers as they come, but what cut fetches left there."""
    layers = order.variant.layers
    missing = [layer.digest for layer in layers if layer.digest not in present]
    total = sum(layer.size for layer in layers if layer.digest in missing) if layers else order.variant.image_bytes
    return max(0, total - world.bytes_in_store(missing))


def layers_on_disk(journal: Journal, world: World) -> Set[str]:
    """Return the digests of the layers of the releases kept here, as far as their images are here."""
    found: Set[str] = set()
    for release in kept_releases(journal):
        if world.image(release.image) is None:
            continue
        try:
            found.update(layer.digest for layer in order_in(world, release.folder).variant.layers)
        except WorldError as error:
            # Counting less than is there only makes the check stricter.
            world.note("cannot count the layers of {}: {}".format(release.version, error.message))
    return found


def moved_bytes(variant: ReleaseVariant, moved: Dict[str, str]) -> Optional[int]:
    """Return the bytes of the layers that went over the network (first 12 hex → ``exists`` | ``downloaded``).

    None when the order does not say how large its layers are.
    """
    if not variant.layers:
        return None
    sizes = {layer.digest[7:19]: layer.size for layer in variant.layers}
    return sum(sizes.get(short, 0) for short, status in moved.items() if status == "downloaded")


def _check_clock(order: UpdateOrder, now: float, pulled: bool) -> None:
    hint = "set the robot's clock (timedatectl set-ntp true) and try again"
    if now < OLDEST_SANE_TIME:
        raise Refused("the robot's clock was never set: it says {:.0f} s after 1970".format(now), hint)
    difference = now - order.issued_at
    late = difference > MAX_CLOCK_DIFFERENCE_S and not pulled  # what a robot comes for says itself when it expires
    if order.issued_at and (late or difference < -MAX_CLOCK_DIFFERENCE_S):
        side = "ahead of" if difference > 0 else "behind"
        text = "the robot's clock is {:.1f} days {} the controller's".format(abs(difference) / 86400.0, side)
        raise Refused(text, hint)


def _check_ban(journal: Journal, order: UpdateOrder) -> None:
    image = order.variant.image
    if order.force or (journal.current is not None and journal.current.image == image):
        return
    for ban in journal.banned:
        if ban.image == image:
            raise Refused("this image failed here before: {}".format(ban.reason), "correct the release, or use --force")


def check_version(what: str, found: str, least: Tuple[int, int]) -> None:
    """Raises Refused when a program is older than ``least``, or does not say how old it is."""
    numbers: List[str] = re.findall(r"\d+", found)
    if len(numbers) < 2 or (int(numbers[0]), int(numbers[1])) < least:
        wanted = "{}.{}".format(*least)
        raise Refused("{} is {}, at least {} is needed".format(what, found or "unknown", wanted), "update it")


def _plain(version: Optional[str]) -> Optional[str]:
    return None if version is None else version.lstrip("rR")


def _too_little(path: str, needed: int, free: int) -> str:
    up = -(-needed >> 20)  # rounded up, so that the two numbers never look the same
    return "not enough disk on the volume of {}: {} MiB needed, {} MiB free".format(path, up, free >> 20)
