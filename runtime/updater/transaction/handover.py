"""The switch with both containers: the new one starts beside the old, is tested, and takes over by the token.

Whether memory and both releases allow that is decided once, just before. Where they do not, the old container is
replaced by the new one, as ever. Either way two executors never publish at once: the token names one slot, and the
kernel's lock keeps the other out until the first has gone (`runtime.contract.node.serving`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from runtime.contract.codec import ContractError, from_json
from runtime.contract.judgement import node_serves
from runtime.contract.node.health import HealthReport
from runtime.contract.node.resources import ENV_MEMORY, ENV_RESOURCES, ResourcePolicy
from runtime.contract.node.serving import FIRST, HANDOVER, LABEL_HANDOVER, NODES_DIR, SECOND, SERVE_DIR
from runtime.contract.robot.switching import HANDOVER_AUTO
from runtime.contract.robot.update import PROBATION, UpdateOrder
from runtime.updater.state.records import BESIDE, HANDED, STANDBY, STOP_START, Journal
from runtime.updater.state.release_folder import ENV_FILE, changed_text, write_folder
from runtime.updater.state.transitions import enter, links_of, parts, revert
from runtime.updater.state.world import Observation, World, elapsed
from runtime.updater.transaction.judge import FATAL, GOOD, UNFIT, judge_standby
from runtime.updater.transaction.observe import observe
from runtime.updater.transaction.waiting import held_up

#: What the new container may take more than the old one takes now, and what must stay free beyond that.
MARGIN, KEEP_FREE_BYTES = 1.25, 256 * 1024 * 1024
#: So long the old executor has to leave its topics once the token is gone from it; then its container is ended.
HAND_S = 15.0
#: And so long the new one has from then on.
TAKE_S = 45.0


def decide(journal: Journal, world: World) -> Journal:
    """Choose how the target takes over, and its slot. Only a value: the journal has it before anything starts."""
    order, target = parts(journal)
    slot = journal.current.slot if journal.current is not None else FIRST
    why = why_not(journal, order, world)
    if why:
        world.note("switching by stop and start: {}".format(why))
        return replace(journal, takeover=STOP_START, target=replace(target, slot=slot))
    world.note("switching with both containers")
    return replace(journal, takeover=BESIDE, target=replace(target, slot=FIRST if slot else SECOND))


def why_not(journal: Journal, order: UpdateOrder, world: World) -> str:
    """Say why both containers cannot run at once here; empty when they can."""
    current, target = journal.current, journal.target
    if current is None or target is None:
        return "nothing runs yet"
    if current.folder == target.folder:
        return "it is the same container"
    if order.switch.handover != HANDOVER_AUTO:
        return "the manifest says {}".format(order.switch.handover)
    if order.stop_start:
        return "the order says so"
    if not _supports_handover(target.image, world):
        return "the new image does not support handover"
    shares = world.compose_shares(target.folder)
    if SERVE_DIR not in shares:
        return "its compose files do not share {}".format(SERVE_DIR)
    if not any(folder.startswith(NODES_DIR + "/") for folder in shares):
        return "its compose files give its container no folder of its own"
    return _old_cannot(observe(order, world, current.slot), order, world)


def _supports_handover(reference: str, world: World) -> bool:
    """Say whether an image's executor obeys token and lock as they are now."""
    image = world.image(reference)
    return image is not None and image.labels.get(LABEL_HANDOVER) == HANDOVER


def _old_cannot(seen: Observation, order: UpdateOrder, world: World) -> str:
    report = seen.health.report
    if report is None or seen.container is None:
        why = "cannot be judged" if seen.health.answered else "does not answer"
        return "the release that runs {}: {}".format(why, seen.health.error)
    own_folder = seen.container.node_dir.startswith(NODES_DIR + "/")
    if not own_folder or not _supports_handover(seen.container.image_id, world):
        return "the release that runs does not support handover"
    if report.turn is None or not report.turn.exclusive:
        return "the release that runs does not support handover"
    if not node_serves(report):
        return "the release that runs does not serve (it is {})".format(report.executor.lifecycle)
    available, needed = world.memory_available(), memory_needed(report, order, world.hardware().module is not None)
    if available is None or needed is None:
        return "how much memory both need is not known: set resources/memory in the manifest"
    if available < needed:
        return "{} MiB of memory are free, the new one may take {} MiB".format(available >> 20, needed >> 20)
    return ""


def memory_needed(report: HealthReport, order: UpdateOrder, is_jetson: bool) -> Optional[int]:
    """Return the bytes that must be free for a second container, or None when that is not known.

    On a Jetson the GPU's memory is the same memory. Where its kernel does not say how much the GPU holds, only a
    declared limit does.
    """
    limit = order.environment.get(ENV_MEMORY, "0")
    keep = _keep_free(order)
    if limit.isdigit() and int(limit) > 0:
        return int(limit) + keep
    gpu = report.system.gpu_memory_bytes
    if report.turn is None or report.turn.memory_bytes is None or (is_jetson and gpu is None):
        return None
    return int((report.turn.memory_bytes + (gpu or 0)) * MARGIN) + keep


def _keep_free(order: UpdateOrder) -> int:
    text = order.environment.get(ENV_RESOURCES, "")
    try:
        said = from_json(ResourcePolicy, text).keep_free_bytes if text else None
    except ContractError:
        said = None
    return KEEP_FREE_BYTES if said is None else said


def beside(journal: Journal, world: World) -> Journal:
    """Start the new container in the other slot. The token still names the old one, so the new one stands by."""
    order, target = parts(journal)
    assert journal.current is not None
    world.note("starting {} next to {}".format(order.version, journal.current.version))
    world.set_serving(journal.current.slot)
    changed = write_folder(world, order, target.folder, target.slot)
    meant = tuple(name for name in changed if name != ENV_FILE)  # the slot is said there
    if meant:
        journal = replace(journal, mended=changed_text(target.folder, meant))
        world.note(journal.mended)
    world.compose_up(target.folder, target.slot)
    return replace(journal, takeover=STANDBY, handed=world.mark())


def standby(journal: Journal, world: World) -> Journal:
    """Wait until the new container has loaded and tested everything; then ask once more whether the robot stands."""
    order, target = parts(journal)
    seen = observe(order, world, target.slot)
    if seen.container is None or seen.container.status not in ("running", "restarting"):
        return replace(journal, takeover=BESIDE)  # a power cut, or somebody ended it
    verdict, now = judge_standby(seen, order.variant), world.mark()
    if verdict.level == FATAL:
        return revert(journal, "next to the old release: {}".format(verdict.why), now, ban=True)
    if verdict.level == UNFIT:
        world.note("switching by stop and start: {}".format(verdict.why))
        return back_to_stop_start(journal)
    if verdict.level != GOOD:
        limit = order.probation.ready_timeout_s
        if elapsed(journal.handed or now, now) > limit:
            why = "not ready next to the old release within {:g} s: {}".format(limit, verdict.why)
            return revert(journal, why, now, ban=True)
        world.note("waiting next to the old release: {}".format(verdict.why))
        return journal
    world.release_update_lock()  # asked anew: the robot may have begun to move meanwhile
    stays = held_up(journal, world)
    return replace(journal, takeover=HANDED, handed=now) if stays is None else stays


def back_to_stop_start(journal: Journal) -> Journal:
    """Give the handover up: nothing was handed yet."""
    _, target = parts(journal)
    slot = journal.current.slot if journal.current is not None else FIRST
    return replace(journal, takeover=STOP_START, target=replace(target, slot=slot))


def hand_over(journal: Journal, world: World) -> Journal:
    """Move the token, and see the new one serve. An old executor that does not leave is ended with its container."""
    order, target = parts(journal)
    current, now = journal.current, world.mark()
    assert current is not None
    if world.serving() != target.slot:
        stays = held_up(journal, world)  # a new process has no lock any more, and the old release serves still
        if stays is not None:
            return replace(stays, handed=now)
    world.set_links(links_of(journal))
    world.set_serving(target.slot)
    seen = observe(order, world, target.slot)
    if seen.health.report is not None and node_serves(seen.health.report):
        world.release_update_lock()
        return enter(journal, PROBATION, now)
    waited = elapsed(journal.handed or now, now)
    if waited > HAND_S + TAKE_S:
        why = "did not take over within {:g} s: {}".format(HAND_S + TAKE_S, seen.health.error or "it does not serve")
        return revert(journal, why, now, ban=True)
    if waited > HAND_S:
        world.note("{} does not release its topics within {:g} s: stopping it".format(current.version, HAND_S))
        world.compose_stop(current.folder, current.slot)
    return journal


def alone(journal: Journal, world: World) -> None:
    """Leave one container on the robot: that of the current release's slot."""
    current = journal.current
    if current is None:
        return
    other = FIRST if current.slot else SECOND
    if world.container(other) is not None:
        world.compose_down(current.folder, other)


def restore_old_container(journal: Journal, world: World) -> None:
    """Have the old container serve again: it does so at once where it stands by still, and is started where not."""
    current = journal.current
    assert current is not None
    world.set_serving(current.slot)
    world.compose_up(current.folder, current.slot)
    alone(journal, world)
