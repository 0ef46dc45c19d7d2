"""From one journal to the next: pure values, no action. The driver puts each on disk before anything acts on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

from runtime.contract.node.serving import FIRST
from runtime.contract.robot.update import (
    COMMITTED,
    DEFERRED,
    FAILED,
    FETCHING,
    IDLE,
    PREFLIGHT,
    PROBATION,
    REFUSED,
    REVERTED,
    REVERTING,
    SWITCHING,
    VERIFYING,
    WAITING,
    RunningRelease,
    UpdateOrder,
)
from runtime.updater.state.records import HANDED, STOP_START, Ban, HistoryEntry, Journal, Mark, Watch
from runtime.updater.state.release_folder import target_of
from runtime.updater.state.version_floor import raised
from runtime.updater.state.world import Links, WorldError, elapsed

#: Attempts of one state, restarts of the updater included; then the transaction goes the safe way.
MAX_TRIES = {PREFLIGHT: 3, FETCHING: 5, VERIFYING: 3, WAITING: 8, SWITCHING: 3, PROBATION: 4, REVERTING: 6}
#: So long a switch or a revert waits for a Docker Engine that does not answer (it may be starting too).
ENGINE_RETURN_S = 600.0
#: In these states nothing of what runs was touched yet.
BEFORE_SWITCH = (PREFLIGHT, FETCHING, VERIFYING, WAITING)
#: How the reason of an order begins that somebody ended.
ABORTED = "aborted: "
#: So many bad images are remembered, newest first.
MAX_BANS = 32


def parts(journal: Journal) -> Tuple[UpdateOrder, RunningRelease]:
    """Return order and target of a transaction in progress."""
    assert journal.order is not None
    assert journal.target is not None
    return journal.order, journal.target


def accept(journal: Journal, order: UpdateOrder, now: Mark) -> Journal:
    """Begin ``order``."""
    kept = {release.release_digest for release in kept_releases(journal)}
    fresh = replace(
        journal,
        order=order,
        pulled=False,
        by_hand=False,
        asked="",
        undoes="",
        started_at=now.wall,
        was_local=False,
        fetched_bytes=None,
        target=target_of(order, journal.current.slot if journal.current else FIRST),
        baseline=None,
        request=None,
        reason="",
        ban=False,
        mended="",
        takeover="",
        handed=None,
        signers={digest: who for digest, who in journal.signers.items() if digest in kept},
    )
    return enter(fresh, PREFLIGHT, now)


def enter(journal: Journal, state: str, now: Mark) -> Journal:
    """Go to ``state``, first attempt."""
    watch = Watch(armed=now) if state in (PROBATION, REVERTING) else None
    reason = journal.reason if state == REVERTING else ""
    return replace(journal, state=state, entered=now, tries=1, watch=watch, reason=reason, updated_at=now.wall)


def revert(journal: Journal, reason: str, now: Mark, ban: bool) -> Journal:
    """Go back to the release before. ``ban``: the release itself is to blame, and is remembered when that is done."""
    return enter(replace(journal, reason=reason, ban=ban, request=None), REVERTING, now)


def retry(journal: Journal, error: WorldError, now: Mark) -> Journal:
    """Try the present state once more, or, after its last attempt, go the safe way."""
    if error.engine_down and journal.state in (SWITCHING, REVERTING) and _engine_may_return(journal, now):
        # Docker is down and the old release needs it too, so this attempt is not counted.
        return journal
    may_help = error.transient or journal.state == REVERTING
    if may_help and journal.tries < MAX_TRIES[journal.state]:
        reason = journal.reason if journal.state == REVERTING else error.message
        return replace(journal, tries=journal.tries + 1, reason=reason, updated_at=now.wall)
    return give_up(journal, error.message, error.hint, now)


def give_up(journal: Journal, why: str, hint: str, now: Mark) -> Journal:
    """Leave the present state the safe way: unchanged, reverting, or failed and in need of hands."""
    if journal.state in BEFORE_SWITCH:
        reason = "{}: {}".format(journal.state, why)
        return finish(journal, REFUSED, reason, hint or "nothing was changed; correct this and roll out again", now)
    if journal.state in (SWITCHING, PROBATION):
        return revert(journal, "{}: {}".format(journal.state, why), now, ban=journal.state == SWITCHING)
    reason = "{}; the revert failed too: {}".format(journal.reason, why)
    by_hand = "on the robot: `cd /var/lib/jetfleet/current && docker compose up -d`, then `fleet-updater status`"
    return finish(journal, FAILED, reason, "{}; {}".format(hint, by_hand) if hint else by_hand, now)


def commit(journal: Journal, reason: str, now: Mark) -> Journal:
    """The target is what the robot runs from now on."""
    reason = "; ".join(part for part in (journal.mended, reason) if part)
    if journal.by_hand and journal.target is not None:
        why = "reverted to {}: {}".format(journal.target.version, journal.asked or "requested on the robot")
        return finish(journal, REVERTED, why, "", now)
    return finish(journal, COMMITTED, reason, "", now)


def finish(journal: Journal, outcome: str, reason: str, hint: str, now: Mark, until: Optional[float] = None) -> Journal:
    """End the order. Cleaning up and the history come after, and again if the process dies before they are done.

    ``until``: Unix seconds from which a deferred order may be tried again, where that is known.
    """
    ended = replace(
        journal,
        state=IDLE,
        entered=now,
        tries=0,
        watch=None,
        request=None,
        reason="",
        last=_outcome(journal, outcome, reason, hint, now, until),
        deferred=journal.target if outcome == DEFERRED else None,
        tidy_due=True,
        updated_at=now.wall,
    )
    if outcome == COMMITTED or (outcome == REVERTED and journal.by_hand):
        return _moved(ended)
    if journal.ban and outcome in (REVERTED, FAILED):
        return _banned(ended, journal.reason, now)
    return ended


def links_of(journal: Journal) -> Links:
    """Return where the links belong: by hand, ``current`` is what runs, or is meant to run."""
    if _has_moved(journal) and journal.target is not None:
        moved = _moved(journal)
        return Links(_folder(moved.current), _folder(moved.previous))
    return Links(_folder(journal.current), _folder(journal.previous))


def serving_slot(journal: Journal) -> str:
    """Return the slot whose container serves, or is meant to."""
    release = journal.target if _has_moved(journal) else journal.current
    return release.slot if release is not None else FIRST


def _has_moved(journal: Journal) -> bool:
    """Whether the target is what runs, or is meant to run."""
    switched = journal.state == SWITCHING and journal.takeover in (STOP_START, HANDED)
    return switched or journal.state == PROBATION


def kept_releases(journal: Journal) -> Tuple[RunningRelease, ...]:
    """Return the releases that stay on disk: current, previous, the last one of other content, one deferred, pins."""
    kept = (journal.current, journal.previous, journal.fallback, journal.deferred, *journal.pinned)
    return tuple(release for release in kept if release is not None)


def _moved(journal: Journal) -> Journal:
    target, current = journal.target, journal.current
    assert target is not None
    again = current is not None and current == target
    changed = current is not None and current.folder != target.folder
    return replace(
        journal,
        robot=journal.robot or (journal.order.robot if journal.order else ""),
        current=target,
        previous=journal.previous if again else current,
        fallback=current if changed else journal.fallback,
        floor=journal.floor if journal.by_hand else raised(journal.floor, journal.order, _is_signed(journal)),
        banned=tuple(ban for ban in journal.banned if ban.image != target.image),
    )


def _is_signed(journal: Journal) -> bool:
    return journal.order is not None and bool(journal.signers.get(journal.order.release_digest))


def _banned(journal: Journal, reason: str, now: Mark) -> Journal:
    target, current = journal.target, journal.current
    if target is None or (current is not None and current.image == target.image):
        return journal
    others: Tuple[Ban, ...] = tuple(ban for ban in journal.banned if ban.image != target.image)
    return replace(journal, banned=(Ban(target.image, reason, now.wall), *others)[:MAX_BANS])


def _outcome(journal: Journal, outcome: str, reason: str, hint: str, now: Mark, until: Optional[float]) -> HistoryEntry:
    return HistoryEntry(
        number=(journal.last.number if journal.last else 0) + 1,
        order_id=journal.order.order_id if journal.order else "",
        version=journal.target.version if journal.target else "",
        image=journal.target.image if journal.target else "",
        came_from=journal.current.version if journal.current else "",
        outcome=outcome,
        reason=reason,
        hint=hint,
        started_at=journal.started_at,
        finished_at=now.wall,
        fetched_bytes=journal.fetched_bytes,
        by_hand=journal.by_hand,
        until=until,
        override=journal.order.override if journal.order else "",
    )


def _engine_may_return(journal: Journal, now: Mark) -> bool:
    return journal.entered is not None and elapsed(journal.entered, now) < ENGINE_RETURN_S


def _folder(release: Optional[RunningRelease]) -> Optional[str]:
    return None if release is None else release.folder
