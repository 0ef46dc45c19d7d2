"""What this robot knows of the fleet's newest release: whether it takes a statement, and whether it is stale. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Optional

from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import NAMESPACES, NEWEST, Signed, why_too_few
from runtime.updater.state.records import Journal, SeenNewest
from runtime.updater.state.world import World
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, OLDEST_SANE_TIME, Refused
from runtime.updater.transaction.trust import MAX_SIGNATURES, at

if TYPE_CHECKING:  # an idle updater may take little memory: it is loaded when there is something to read
    from runtime.contract.robot.newest import Newest

SIGN = "sign a new one: `fleet keys newest`"
CLOCK = "set the robot's clock (timedatectl set-ntp true)"


def take_newest(journal: Journal, signed: Signed, root: Optional[TrustRoot], world: World) -> Journal:
    """Return the journal with what a statement says. Raises Refused; WorldError.

    The same again, and one that only renews the time, are fine; none of an earlier generation is taken.
    """
    if root is None or root.unsigned or not root.version:
        raise Refused("this robot has no signed trust root, so no key may say what is newest", "run `fleet bootstrap`")
    if len(signed.signatures) > MAX_SIGNATURES:
        raise Refused("the statement carries {} signatures".format(len(signed.signatures)), SIGN)
    facts = [world.check_signature(signed.statement, each, NAMESPACES[NEWEST]) for each in signed.signatures]
    missing = why_too_few(facts, 1)
    if missing:
        raise Refused("the statement of the newest release is {}".format(missing), SIGN)
    newest = _read(signed)
    if (newest.kind, newest.fleet) != (NEWEST, root.fleet):
        text = "signed is {} of fleet {}, this robot is of fleet {}"
        raise Refused(text.format(newest.kind, newest.fleet, root.fleet), SIGN)
    _check_times(newest, root, journal, world.mark().wall)
    _check_generation(newest, journal.newest)
    seen = SeenNewest(
        newest.generation, newest.version, newest.release, newest.issued_at, newest.expires_at, world.mark()
    )
    before = journal.newest
    if before is not None and replace(before, seen=seen.seen) == seen:
        return journal
    return replace(journal, newest=seen)


def _read(signed: Signed) -> Newest:
    from runtime.contract.robot.newest import LIMITS, Newest

    try:
        return from_json(Newest, signed.statement, LIMITS)
    except ContractError as error:
        raise Refused("the statement of the newest release cannot be read: {}".format(error), SIGN) from error


def _check_times(newest: Newest, root: TrustRoot, journal: Journal, now: float) -> None:
    why = clock_trouble(journal, now) or (
        "it is {} here, the statement is of {}".format(at(now), at(newest.issued_at))
        if now < newest.issued_at - MAX_CLOCK_DIFFERENCE_S
        else ""
    )
    if why:
        raise Refused("held: " + why, CLOCK)
    if now > newest.expires_at:
        raise Refused("the statement expired at {}, it is {} here".format(at(newest.expires_at), at(now)), SIGN)
    lasts = newest.expires_at - newest.issued_at
    if lasts > root.max_newest_s:
        text = "the statement was made for {:.1f} days, this robot takes {:.1f} at most"
        raise Refused(text.format(lasts / 86400, root.max_newest_s / 86400), SIGN)


def _check_generation(newest: Newest, seen: Optional[SeenNewest]) -> None:
    if seen is None or newest.generation > seen.generation:
        return
    if newest.generation < seen.generation:
        text = "the statement is of generation {}, this robot has seen {} ({})"
        raise Refused(text.format(newest.generation, seen.generation, seen.version), SIGN)
    if (newest.version, newest.release) != (seen.version, seen.release):
        text = "two statements of generation {}: {} and, seen before, {}"
        raise Refused(text.format(newest.generation, newest.version, seen.version), "ask who signed both; " + SIGN)
    if newest.issued_at < seen.issued_at:
        text = "the statement is of {}, this robot has seen one of {}"
        raise Refused(text.format(at(newest.issued_at), at(seen.issued_at)), SIGN)


def clock_trouble(journal: Journal, now: float) -> str:
    """Say why this robot's clock cannot tell what has expired; empty when nothing speaks against it."""
    if now < OLDEST_SANE_TIME:
        return "the robot's clock was never set: it says {}".format(at(now))
    floor, seen = journal.floor, journal.newest
    newest = max(floor.accepted_at if floor else 0.0, seen.issued_at if seen else 0.0)
    if now < newest - MAX_CLOCK_DIFFERENCE_S:
        return "it is {} here, before the {} at which something was signed that this robot has".format(
            at(now), at(newest)
        )
    return ""


def why_stale(journal: Journal, root: Optional[TrustRoot], now: float) -> str:
    """Say why this robot does not know what the newest release is; empty when it does, or need not.

    An unsigned fleet, and one whose root says so (``max_newest_s`` of 0), have no such statement.
    """
    if root is None or root.unsigned or not root.version or root.max_newest_s <= 0.0:
        return ""
    trouble = clock_trouble(journal, now)
    if trouble:
        return "held: " + trouble
    seen = journal.newest
    if seen is None:
        return "no statement of the newest release was ever seen here" if journal.current is not None else ""
    if now > seen.expires_at:
        text = "the last statement of the newest release ({}, generation {}) expired at {}, {:.1f} days ago"
        late = (now - seen.expires_at) / 86400
        return text.format(seen.version, seen.generation, at(seen.expires_at), late)
    return ""
