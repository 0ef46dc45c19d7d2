"""Not now: an order waits for its windows and for the robot's update lock, and is deferred when they do not come.

Silence of the node is a no: where the running release declares rules, a lock file that nobody writes any more keeps the
robot as it is. Only an override, which is said in every history, goes past that.
"""

from __future__ import annotations

from typing import Optional, Tuple

from runtime.contract.node.resources import ENV_INHIBIT
from runtime.contract.robot.switching import Window
from runtime.contract.robot.update import DEFERRED, REFUSED, REVERTING, SWITCHING, UpdateOrder
from runtime.updater.state.lock_answer import FREE, HELD, LockAnswer
from runtime.updater.state.records import Journal, Mark
from runtime.updater.state.release_folder import order_in
from runtime.updater.state.transitions import enter, finish, parts, revert
from runtime.updater.state.windows import is_open, local_text, next_opening
from runtime.updater.state.world import World, WorldError, elapsed
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.trust import check_trust

#: A robot on its way back from a bad release waits no longer than this for the lock: what runs is the fault.
REVERT_WAIT_S = 30.0
LOCK_HINT = "wait until the robot stands still, then roll out again; `--override REASON` ignores the lock"


def waiting(journal: Journal, world: World) -> Journal:
    """Begin the switch once its window is open and the update lock is in our hands, or defer the order."""
    order, _ = parts(journal)
    outside = outside_window(journal, order.switch.switch, "switch", world)
    if outside is not None:
        return outside
    answer = ask_lock(journal, order, world)
    now = world.mark()
    if answer.state == FREE:
        return _still_trusted(journal, order, world)
    why = "; ".join(answer.reasons) or answer.state
    if _waited(journal, now) >= order.switch.wait_s:
        reason = "the update lock is {} for {:g} s: {}".format(answer.state, order.switch.wait_s, why)
        return finish(journal, DEFERRED, reason, LOCK_HINT, now)
    world.note("waiting for the update lock: {}".format(why))
    return journal


def _still_trusted(journal: Journal, order: UpdateOrder, world: World) -> Journal:
    """Begin the switch, unless a key was revoked or a signature ran out while the order waited, hours perhaps."""
    try:
        journal = check_trust(journal, order, world)
    except Refused as refused:
        return finish(journal, REFUSED, refused.reason, refused.hint, world.mark())
    return enter(journal, SWITCHING, world.mark())


def outside_window(journal: Journal, windows: Tuple[Window, ...], what: str, world: World) -> Optional[Journal]:
    """Return the journal that waits for a window, or ends as deferred; None when one is open, or overridden.

    Windows are for releases: a way back that somebody asks for does not wait for the night.
    """
    order, _ = parts(journal)
    now = world.mark()
    if order.override or journal.by_hand or is_open(windows, now.wall):
        return None
    opens = next_opening(windows, now.wall)
    assert opens is not None, "only windows can be closed"
    if opens - now.wall > order.switch.wait_s - _waited(journal, now):
        reason = "outside of the {} window, which opens {}".format(what, local_text(opens))
        hint = "roll out again then; `rollout: {wait: …}` lets robots wait longer for it"
        return finish(journal, DEFERRED, reason, hint, now, until=opens)
    world.note("waiting for the {} window, which opens {}".format(what, local_text(opens)))
    return journal


def ask_lock(journal: Journal, order: UpdateOrder, world: World) -> LockAnswer:
    """Take the update lock if the robot lets us; an override takes it for given. Raises WorldError."""
    if order.override:
        world.note("the update lock is overridden: {}".format(order.override))
        return LockAnswer(FREE)
    return world.take_update_lock(_declared(journal, order, world))


def held_up(journal: Journal, world: World) -> Optional[Journal]:
    """Return what becomes of a switch that may not go on; None when it may.

    A new process holds no lock any more, and the old release may run still: it is asked again.
    """
    order, _ = parts(journal)
    if not _old_runs(journal, world):
        return None
    answer, now = ask_lock(journal, order, world), world.mark()
    if answer.state == FREE:
        return None
    why = "the update lock is {} again: {}".format(answer.state, "; ".join(answer.reasons))
    if _waited(journal, now) >= order.switch.wait_s:
        return revert(journal, why, now, ban=False)
    world.note("switching: " + why)
    return journal


def _old_runs(journal: Journal, world: World) -> bool:
    container = world.container(journal.current.slot) if journal.current is not None else None
    if journal.current is None or container is None or container.status != "running":
        return False
    image = world.image(journal.current.image)
    return image is not None and image.id == container.image_id


def may_go_back(journal: Journal, world: World, now: Mark) -> bool:
    """Say whether the way back may begin. A node that does not answer is the fault, and is not waited for."""
    order, _ = parts(journal)
    held = ask_lock(journal, order, world)
    if held.state != HELD or _waited(journal, now) >= min(REVERT_WAIT_S, order.switch.wait_s):
        return True
    world.note("reverting: waiting for the update lock: {}".format("; ".join(held.reasons)))
    return False


def _declared(journal: Journal, order: UpdateOrder, world: World) -> bool:
    """Say whether what runs has rules that can hold the lock: the old release, or on the way back perhaps the new."""
    if journal.state == REVERTING and ENV_INHIBIT in order.environment:
        return True
    if journal.current is None:
        return False
    try:
        running = order_in(world, journal.current.folder)
    except WorldError as error:
        # A folder that cannot be read does not say that there are none.
        world.note(error.message)
        return True
    return ENV_INHIBIT in running.environment


def _waited(journal: Journal, now: Mark) -> float:
    return 0.0 if journal.entered is None else elapsed(journal.entered, now)
