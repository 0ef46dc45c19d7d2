"""Does this robot believe a new updater? Its file is what enough signers signed, and no older than the one kept."""

from __future__ import annotations

from typing import Optional, Tuple

from runtime.contract.codec import ContractError, digest_of_bytes, from_json
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import UPDATER, Signed, Statement
from runtime.updater.state.version_floor import place
from runtime.updater.state.world import World
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, OLDEST_SANE_TIME, Refused
from runtime.updater.transaction.trust import at, count_signers

SIGN = "sign this fleet's updater: `fleet keys root --sign`"


def check_updater(
    root: Optional[TrustRoot], content: bytes, signed: Optional[Signed], kept: Optional[Signed], world: World
) -> None:
    """Raises Refused unless ``content`` is the updater that ``signed`` says, by ``root``; WorldError.

    ``kept``: the statement of the newest updater that proved itself here, whoever signs now: none older is taken.
    """
    if root is None:
        raise Refused("this robot has no trust root yet", "run `fleet bootstrap`")
    if root.unsigned:
        return
    if signed is None:
        raise Refused("the updater carries no signature, and this robot takes only signed ones", SIGN)
    count_signers(signed, UPDATER, root.settings, world, "updater", SIGN)
    statement = _read(signed)
    if (statement.kind, statement.fleet) != (UPDATER, root.fleet):
        text = "signed is {} of fleet {}, this robot takes an updater of {}"
        raise Refused(text.format(statement.kind, statement.fleet, root.fleet), SIGN)
    found = digest_of_bytes(content)
    if found != statement.document:
        raise Refused("signed is the updater {}, this one is {}".format(statement.document, found), SIGN)
    _check_times(root, statement, world.mark().wall)
    if kept is not None:
        _check_floor(statement, _read(kept))


def _read(signed: Signed) -> Statement:
    try:
        return from_json(Statement, signed.statement)
    except ContractError as error:
        raise Refused("the updater's statement cannot be read: {}".format(error), SIGN) from error


def _check_times(root: TrustRoot, statement: Statement, now: float) -> None:
    clock = "set the robot's clock (timedatectl set-ntp true)"
    if now < OLDEST_SANE_TIME:
        raise Refused("the robot's clock was never set: it says {}".format(at(now)), clock)
    if now < statement.issued_at - MAX_CLOCK_DIFFERENCE_S:
        raise Refused("it is {} here, the updater was signed at {}".format(at(now), at(statement.issued_at)), clock)
    if now > statement.expires_at:
        raise Refused("the updater's signature expired at {}, it is {}".format(at(statement.expires_at), at(now)), SIGN)
    lasts = statement.expires_at - statement.issued_at
    if lasts > root.max_release_s:
        text = "the updater was signed for {:.1f} days, this robot takes {:.1f} at most"
        raise Refused(text.format(lasts / 86400, root.max_release_s / 86400), SIGN)


def _check_floor(new: Statement, kept: Statement) -> None:
    if _place(new) >= _place(kept):
        return
    text = "the updater {} (signed at {}) is older than {} (signed at {}), which this robot has"
    raise Refused(
        text.format(new.version, at(new.issued_at), kept.version, at(kept.issued_at)),
        "update the checkout and jetfleet; to go back on purpose: docs/robot-recovery.md",
    )


def _place(statement: Statement) -> Tuple[Tuple[object, ...], float]:
    return place(statement.version.partition("+")[0], statement.issued_at)
