"""A new process finds a journal: finish what was cut, or undo it. Nothing here needs the network."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional

from runtime.contract.node.serving import FIRST
from runtime.contract.robot.update import FETCHING, IDLE, PROBATION, REVERTING, SWITCHING, RunningRelease
from runtime.updater.state.records import Journal, Mark, Watch
from runtime.updater.state.release_folder import order_in, target_of
from runtime.updater.state.transitions import MAX_TRIES, give_up, revert
from runtime.updater.state.version_floor import raised
from runtime.updater.state.world import World, WorldError, elapsed
from runtime.updater.transaction.fetch_progress import recounted
from runtime.updater.transaction.state_machine import is_active

#: A switch takes seconds; one that was cut longer ago than this is undone.
SWITCH_DEADLINE_S = 600.0


def recover(journal: Journal, world: World) -> Journal:
    """Return the journal to go on with."""
    if not is_active(journal):
        return journal
    now = world.mark()
    journal = recounted(journal, world) if journal.state == FETCHING else journal
    tries = journal.tries + 1
    if tries > MAX_TRIES[journal.state]:
        return give_up(journal, "interrupted {} times".format(journal.tries), "", now)
    late = _too_late(journal, now)
    if late:
        return revert(journal, late, now, ban=False)
    watch = Watch(armed=now) if journal.state in (PROBATION, REVERTING) else None
    entered = now if journal.state == REVERTING else journal.entered
    handed = now if journal.handed is not None else None  # a new process gives both executors their time anew
    return replace(journal, tries=tries, watch=watch, entered=entered, handed=handed, updated_at=now.wall)


def _too_late(journal: Journal, now: Mark) -> Optional[str]:
    if journal.state not in (SWITCHING, PROBATION) or journal.entered is None or journal.order is None:
        return None
    rules = journal.order.probation
    limit = rules.ready_timeout_s + rules.soak_s + rules.confirm_timeout_s
    limit = SWITCH_DEADLINE_S if journal.state == SWITCHING else limit
    away = elapsed(journal.entered, now)
    if away <= limit:
        return None
    return "the updater was interrupted in {} for {:.0f} s, longer than the limit of {:g} s".format(
        journal.state, away, limit
    )


def rebuild(world: World, complaints: List[str]) -> Journal:
    """Return a journal made from the release folders, when none could be read. Says so to whoever asks."""
    links = world.links()
    journal = Journal(
        current=_release(world, links.current, complaints), previous=_release(world, links.previous, complaints)
    )
    for complaint in complaints:
        world.note(complaint)
    if journal.current is not None:
        order = order_in(world, journal.current.folder)
        journal = replace(journal, robot=order.robot, floor=raised(None, order, signed=order.proof is not None))
    return replace(journal, state=IDLE, tidy_due=False)


def _release(world: World, folder: Optional[str], complaints: List[str]) -> Optional[RunningRelease]:
    if folder is None:
        return None
    try:
        return target_of(order_in(world, folder), world.serving() or FIRST)
    except WorldError as error:
        complaints.append(error.message)
        return None
