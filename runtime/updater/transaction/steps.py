"""The steps up to the switch. Each takes (journal, world), acts, and returns the journal that comes next.

A step may be run again after it was cut anywhere: what it did already is found done. Returning the state it was
given means: not yet, call me again.
"""

from __future__ import annotations

from dataclasses import replace

from runtime.contract.device import same_fact
from runtime.contract.engine.facts import DeviceFacts
from runtime.contract.robot.update import FETCHING, PROBATION, REFUSED, VERIFYING, WAITING, RunningRelease, UpdateOrder
from runtime.updater.state.records import BESIDE, HANDED, STANDBY, Journal
from runtime.updater.state.release_folder import ENV_FILE, changed_text, write_folder
from runtime.updater.state.transitions import commit, enter, finish, links_of, parts
from runtime.updater.state.world import ImageFacts, World, WorldError
from runtime.updater.transaction.fetch_progress import FetchProgress
from runtime.updater.transaction.handover import alone, beside, decide, hand_over, standby
from runtime.updater.transaction.judge import GOOD, baseline_of, judge
from runtime.updater.transaction.observe import observe
from runtime.updater.transaction.preflight import Refused, check_disk, check_machine, check_order, check_secrets
from runtime.updater.transaction.trust import check_trust
from runtime.updater.transaction.waiting import held_up, outside_window

#: Of a runtime base image, and so of every image made of it.
TENSORRT_LABEL = "io.jetfleet.tensorrt"


def preflight(journal: Journal, world: World) -> Journal:
    """Refuse what cannot work here; end at once when the robot runs the order's content already, and well."""
    order, target = parts(journal)
    world.note("checking {} against this robot".format(order.version))
    try:
        check_order(journal, order, world)
        journal = check_trust(journal, order, world)
        check_secrets(order, world)
        engine = check_machine(order, world)
        if _runs_already(journal, order, target, world):
            return commit(
                replace(journal, fetched_bytes=0), "it ran already; the container was not touched", world.mark()
            )
        local = world.image(target.image) is not None
        if not local:
            check_disk(journal, order, world, engine)
    except Refused as refused:
        return finish(journal, REFUSED, refused.reason, refused.hint, world.mark())
    return enter(replace(journal, was_local=local), FETCHING, world.mark())


def fetch(journal: Journal, world: World) -> Journal:
    """Bring the image to the robot's disk. Nothing that runs is touched."""
    order, target = parts(journal)
    outside = outside_window(journal, order.switch.download, "download", world)
    if outside is not None:
        return outside
    progress = FetchProgress(journal, world)
    try:
        if world.image(target.image) is None:
            world.fetch(target.image, order.order_id, order.switch.bytes_per_s, progress)
        world.keep_image(target.image, target.folder)
    except WorldError as error:
        return progress.try_again(journal, error)
    return enter(progress.counted(journal), VERIFYING, world.mark())


def verify(journal: Journal, world: World) -> Journal:
    """Check what is on disk: the image is the one, for this machine, with these engines; Compose would run it.

    Who signed is asked again: fetching may have taken until a signature ran out, or a key was revoked meanwhile. Last,
    note how the robot is now: what is wrong already does not count against the release.
    """
    order, target = parts(journal)
    world.note("verifying {}".format(order.version))
    try:
        journal = check_trust(journal, order, world)
    except Refused as refused:
        return finish(journal, REFUSED, refused.reason, refused.hint, world.mark())
    check_image(order, world)
    write_folder(world, order, target.folder, target.slot)
    found = world.compose_image(target.folder)
    if found != target.image:
        raise WorldError(
            "the release's compose files would run {}, not {}".format(found, target.image),
            "the service `runtime` must have `image: ${JETFLEET_IMAGE}`",
        )
    before = baseline_of(observe(order, world, target.slot))
    return enter(replace(journal, baseline=before), WAITING, world.mark())


def switch(journal: Journal, world: World) -> Journal:
    """Start the new container, next to the old one or in its place. Uses the verified copy, not the files on disk."""
    order, _ = parts(journal)
    if journal.takeover == HANDED:
        return hand_over(journal, world)
    stays = held_up(journal, world)
    if stays is not None:
        return stays
    if not journal.takeover:
        return decide(journal, world)
    check_image(order, world)
    if journal.takeover == BESIDE:
        return beside(journal, world)
    return standby(journal, world) if journal.takeover == STANDBY else stop_start(journal, world)


def stop_start(journal: Journal, world: World) -> Journal:
    """Replace the container. The old image and folder stay."""
    order, target = parts(journal)
    world.note("switching to {}".format(order.version))
    changed = write_folder(world, order, target.folder, target.slot)
    if journal.handed is not None:  # a handover was given up: the file says the other slot
        changed = tuple(name for name in changed if name != ENV_FILE)
    if changed:
        journal = replace(journal, mended=changed_text(target.folder, changed))
        world.note(journal.mended)
    alone(journal, world)
    world.set_links(links_of(journal))
    world.set_serving(target.slot)
    world.compose_up(target.folder, target.slot)
    world.release_update_lock()
    return enter(journal, PROBATION, world.mark())


def check_image(order: UpdateOrder, world: World) -> None:
    """Check the local image against the order. Raises WorldError."""
    variant = order.variant
    image = world.image(variant.image)
    if image is None:
        raise WorldError("{} is not on the robot's disk".format(variant.image), "it was removed; roll out again")
    if variant.image not in image.references:
        raise WorldError("the Engine has {} as {}".format(variant.image, ", ".join(image.references) or "nothing"))
    if image.platform != variant.requires.platform:
        raise WorldError("the image is for {}, the release says {}".format(image.platform, variant.requires.platform))
    _check_inside(variant.requires, image)
    for engine in variant.engines + variant.standby:
        if engine.layer_digest not in image.layers:
            raise WorldError("the image lacks the engine layer of {} ({})".format(engine.model, engine.layer_digest))


def _check_inside(requires: DeviceFacts, image: ImageFacts) -> None:
    """Check what the image brings along. TensorRT is in the image, not on the host: only the image can tell."""
    inside = image.labels.get(TENSORRT_LABEL)
    if requires.tensorrt and inside and not same_fact("tensorrt", requires.tensorrt, inside):
        text = "the image brings TensorRT {}, the release's engines need {}".format(inside, requires.tensorrt)
        raise WorldError(text, "build the profile's runtime image again (`fleet images build`) and publish")


def _runs_already(journal: Journal, order: UpdateOrder, target: RunningRelease, world: World) -> bool:
    current = journal.current
    if current is None or current.folder != target.folder:
        return False
    seen = observe(order, world, current.slot)
    if judge(seen, baseline_of(seen), order.variant).level != GOOD:
        return False
    # The folder now says which release it belongs to; nothing that Compose reads has changed.
    write_folder(world, order, target.folder, current.slot)
    return True
