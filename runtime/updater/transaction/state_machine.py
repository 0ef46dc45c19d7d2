"""The state machine: which step belongs to which state, what requests do, how long to wait before the next step."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Callable, Dict
from zlib import crc32

from runtime.contract.robot.update import (
    ACTIVE_STATES,
    FETCHING,
    PREFLIGHT,
    PROBATION,
    REFUSED,
    REVERTING,
    SWITCHING,
    VERIFYING,
    WAITING,
)
from runtime.updater.state.records import ABORT, CONFIRM, HANDED, Journal
from runtime.updater.state.transitions import ABORTED, BEFORE_SWITCH, commit, finish, retry, revert
from runtime.updater.state.world import StepInterrupted, World, WorldError
from runtime.updater.transaction.probation import probation, reverting
from runtime.updater.transaction.prune import tidy
from runtime.updater.transaction.steps import fetch, preflight, switch, verify
from runtime.updater.transaction.waiting import waiting

Step = Callable[[Journal, World], Journal]

STEPS: Dict[str, Step] = {
    PREFLIGHT: preflight,
    FETCHING: fetch,
    VERIFYING: verify,
    WAITING: waiting,
    SWITCHING: switch,
    PROBATION: probation,
    REVERTING: reverting,
}
POLL_S = 1.0
#: While the turn changes; each look costs some calls of the docker client.
HANDED_S = 0.2
MAX_PAUSE_S = 60.0


def is_active(journal: Journal) -> bool:
    """Whether an order is in progress."""
    return journal.state in ACTIVE_STATES


def advance(journal: Journal, world: World) -> Journal:
    """Do one step: the request that came in, else the present state's. Raises Interrupted, with nothing decided."""
    if not is_active(journal):
        world.release_update_lock()
        return _tidied(journal, world) if journal.tidy_due else journal
    if journal.request is not None:
        return act_on_request(journal, world)
    try:
        return STEPS[journal.state](journal, world)
    except WorldError as error:
        failed = error
    except StepInterrupted:
        raise
    except Exception as error:  # noqa: BLE001  (the boundary of a step: nothing that was read ends the daemon)
        failed = defect(error)
    world.note("{}: {}".format(journal.state, failed.message))
    return retry(journal, failed, world.mark())


def defect(error: Exception) -> WorldError:
    """Return what is told of an error that no step expects, and put its traceback into the log.

    Tried again like any failure: what was read may be another thing next time. After the state's last attempt the
    order ends the safe way, and says this.
    """
    sys.excepthook(type(error), error, error.__traceback__)
    text = "a defect of the updater: {}: {}".format(type(error).__name__, error)
    return WorldError(text, "see `journalctl -u fleet-updater` on the robot, and report it", transient=True)


def _tidied(journal: Journal, world: World) -> Journal:
    try:
        return tidy(journal, world)
    except StepInterrupted:
        raise
    except Exception as error:  # noqa: BLE001  (as above; what is left is cleaned up at a later step)
        world.note("cleaning up: {}".format(defect(error).message))
        return journal


def act_on_request(journal: Journal, world: World) -> Journal:
    """Do what was asked for, as far as the present state allows; a request never stays."""
    request, now = journal.request, world.mark()
    assert request is not None
    journal = replace(journal, request=None)
    if request.kind == ABORT and journal.state in BEFORE_SWITCH:
        return finish(journal, REFUSED, ABORTED + request.reason, "nothing was changed", now)
    if request.kind == ABORT and journal.state in (SWITCHING, PROBATION):
        return revert(journal, ABORTED + request.reason, now, ban=False)
    if request.kind == CONFIRM and is_awaiting(journal) and journal.watch is not None:
        degraded = journal.watch.degraded
        return commit(journal, "degraded: {}".format(degraded) if degraded else "", now)
    return journal


def is_awaiting(journal: Journal) -> bool:
    """Whether the soak is over and the controller must confirm."""
    return journal.state == PROBATION and journal.watch is not None and journal.watch.confirm_since is not None


def pause(journal: Journal) -> float:
    """Return the seconds to wait before the same state's next step: a poll, or a backoff with this robot's jitter."""
    if journal.state == SWITCHING and journal.takeover == HANDED:
        return HANDED_S
    if (
        journal.state == WAITING
        or (journal.state == SWITCHING and journal.takeover and journal.tries <= 1)
        or (journal.state in (PROBATION, REVERTING) and journal.tries <= 1)
    ):
        return POLL_S
    jitter = (crc32("{}{}".format(journal.robot, journal.tries).encode("utf-8")) % 1000) / 1000.0
    backoff: float = min(MAX_PAUSE_S, float(2 ** min(journal.tries, 6)))
    return POLL_S if journal.state == PROBATION else backoff * (0.5 + jitter)
