"""Whether this robot takes a statement of the fleet's newest release. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Optional

from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import NAMESPACES, NEWEST, Signed, why_too_few
from runtime.updater.state.records import Journal, SeenNewest
from runtime.updater.state.world import World
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, Refused
from runtime.updater.transaction.standing import clock_trouble
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
