"""Does this robot accept the order? Everything is judged here, by the order itself and this robot's own keys.

The controller is not trusted: what it sends must be exactly what enough allowed signers signed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Dict, List, Optional, Protocol, Tuple

from runtime.contract.codec import ContractError, digest_of, from_json
from runtime.contract.robot.release import EnvironmentPart, ReleaseDocument, release_digest
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import (
    EVERY_ROBOT,
    NAMESPACES,
    RELEASE,
    ROLLBACK,
    Proof,
    SignatureFacts,
    Signed,
    Statement,
    TrustSettings,
    distinct_signers,
    document_digest,
    why_too_few,
)
from runtime.contract.robot.update import UpdateOrder
from runtime.updater.state.records import Journal
from runtime.updater.state.release_folder import target_of
from runtime.updater.state.version_floor import place
from runtime.updater.state.world import World, WorldError
from runtime.updater.transaction.preflight import MAX_CLOCK_DIFFERENCE_S, Refused

#: Each is judged by programs of their own; an order that brings more is not worth their time.
MAX_SIGNATURES = 16


def check_trust(journal: Journal, order: UpdateOrder, world: World) -> Journal:
    """Return the journal with who signed for the order's release. Raises Refused, WorldError.

    Going back by hand needs no signature: it goes to what was verified here before.
    """
    if journal.by_hand:
        return journal
    settings = world.trust()
    if settings is None:
        raise Refused("this robot has no trust settings", "run `fleet bootstrap --robots {}`".format(order.robot))
    if settings.fleet != order.fleet:
        raise Refused(
            "the order is of fleet {}, this robot belongs to {}".format(order.fleet, settings.fleet),
            "correct the robot's host in the manifest",
        )
    people = () if settings.unsigned else _signers(journal, order, settings, world)
    return replace(journal, signers={**journal.signers, order.release_digest: people})


class HasTrust(Protocol):
    """What holds a robot's trust settings: its world, or the folder alone."""

    def trust(self) -> Optional[TrustSettings]:
        """See `runtime.updater.state.world.World.trust`."""
        ...


def is_unsigned(world: HasTrust) -> bool:
    """Say whether this robot takes orders that nobody signed."""
    try:
        settings = world.trust()
    except WorldError:
        return False
    return settings is not None and settings.unsigned


def _signers(journal: Journal, order: UpdateOrder, settings: TrustSettings, world: World) -> Tuple[str, ...]:
    proof, now = order.proof, world.mark().wall
    if proof is None:
        raise Refused(
            "the order carries no signature, and this robot takes only signed releases",
            "sign the release: `fleet keys sign {}`; for an unsigned fleet write `trust: unsigned` and run "
            "bootstrap again".format(order.version),
        )
    # Signatures are over bytes, and are judged before anything that nobody signed is decoded.
    people = _count(proof.release, RELEASE, settings, world, order)
    if proof.rollback is not None:
        _count(proof.rollback, ROLLBACK, settings, world, order)
    rollback = _rollback(proof, order)
    release = _statement(proof.release, RELEASE)
    _check_names(release, order)
    if rollback is None:  # where a rollback order is, its own times bound both
        _check_lifetime(release, settings.max_release_s)
    _check_times(release, journal, now, expires=rollback is None)
    check_document(proof, release, order)
    if rollback is not None:
        _check_lifetime(rollback, settings.max_rollback_s)
        _check_times(rollback, journal, now, expires=True)
    _check_floor(journal, order, release, rollback)
    return people


def _statement(signed: Signed, kind: str) -> Statement:
    try:
        statement = from_json(Statement, signed.statement)
    except ContractError as error:
        raise Refused("the signed statement cannot be read: {}".format(error), "sign again with this fleet") from error
    if statement.kind != kind:
        raise Refused("a {} was signed, not a {}".format(statement.kind, kind), "sign again with this fleet")
    return statement


def _rollback(proof: Proof, order: UpdateOrder) -> Optional[Statement]:
    """Return the rollback order that comes along, as far as it is one for this robot and this release."""
    if proof.rollback is None:
        return None
    statement = _statement(proof.rollback, ROLLBACK)
    _check_names(statement, order)
    if EVERY_ROBOT not in statement.robots and order.robot not in statement.robots:
        raise Refused(
            "the rollback order is for {}, this robot is {}".format(_listed(statement.robots), order.robot),
            "sign one for this robot: `fleet rollback {} --robots {}`".format(order.version, order.robot),
        )
    if statement.document != document_digest(proof.document):
        text = "the rollback order is for document {}, the order carries {}"
        raise Refused(text.format(statement.document, document_digest(proof.document)), _FORGED)
    return statement


_FORGED = "it was changed after it was signed: check the registry and the controller before trying again"


def _check_names(statement: Statement, order: UpdateOrder) -> None:
    for what, signed, ordered in (
        ("fleet", statement.fleet, order.fleet),
        ("version", statement.version, order.version),
    ):
        if signed != ordered:
            raise Refused("signed is {} {}, the order says {}".format(what, signed, ordered), _FORGED)


def _check_lifetime(statement: Statement, most_s: float) -> None:
    """Refuse words that were to last longer than this robot takes any: whoever stole a key would write for ever."""
    lasts = statement.expires_at - statement.issued_at
    if lasts <= most_s:
        return
    text = "the {} of {} was made for {:.1f} days, this robot accepts at most {:.1f}"
    again = "sign it again: `fleet keys sign {}`" if statement.kind == RELEASE else "`fleet rollback {} --renew`"
    raise Refused(
        text.format(_WORDS[statement.kind], statement.version, lasts / 86400, most_s / 86400),
        again.format(statement.version) + ", and find out who made the old statement",
    )


def _check_times(statement: Statement, journal: Journal, now: float, expires: bool) -> None:
    """Refuse what is out of time. A clock that was set back does not bring a signature to life again."""
    again = "sign it again: `fleet keys sign {}`".format(statement.version)
    if statement.kind == ROLLBACK:
        again = "sign a new one: `fleet rollback {} --renew`".format(statement.version)
    if expires and now > statement.expires_at:
        text = "the {} of {} expired at {}, it is {} here"
        raise Refused(text.format(_WORDS[statement.kind], statement.version, at(statement.expires_at), at(now)), again)
    newest = max(statement.issued_at, journal.floor.accepted_at if journal.floor else 0.0)
    if now < newest - MAX_CLOCK_DIFFERENCE_S:
        text = "this robot's clock says {}, which is before {}, when a signature that it has was made"
        raise Refused(text.format(at(now), at(newest)), "set the robot's clock (timedatectl set-ntp true)")


_WORDS = {RELEASE: "signature", ROLLBACK: "rollback order"}


def check_document(proof: Proof, statement: Statement, order: UpdateOrder) -> None:
    """Hold the order against the signed document, word for word. Raises Refused."""
    digest = document_digest(proof.document)
    if digest != statement.document:
        raise Refused("signed is document {}, the order carries {}".format(statement.document, digest), _FORGED)
    try:
        document = from_json(ReleaseDocument, proof.document)
    except ContractError as error:
        raise Refused(
            "the signed document cannot be read: {}".format(error), "update the robot: `fleet bootstrap`"
        ) from error
    variant = document.variant_of(order.robot)
    if variant is None:
        raise Refused(
            "the signed release {} does not know {}".format(document.version, order.robot),
            "publish a version whose manifest has the robot",
        )
    signed: Dict[str, object] = {
        "fleet": document.fleet,
        "version": document.version,
        "variant": variant,
        "compose": {name: document.compose.get(name) for name in variant.compose_files},
        "environment": _signed_environment(document, order),
        "probation": document.probation,
        "switch": document.switch.get(order.robot, SwitchRules()),
    }
    signed.update(_signed_secrets(document, order))
    signed["release_digest"] = release_digest(proof.document, document.fleet, document.version)
    for name, value in signed.items():
        ordered = getattr(order, name)
        if ordered != value:
            text = "the order's {} is not the signed one: {} is ordered, {} is signed"
            raise Refused(text.format(name, *_difference(ordered, value)), _FORGED)


def _signed_environment(document: ReleaseDocument, order: UpdateOrder) -> Dict[str, str]:
    """Return the robot's signed variables: the order's own, where their digest is the one in the document."""
    inline = document.environment.get(order.robot)
    if inline is not None or not document.parts:
        return inline or {}
    digest = document.parts.get(order.robot)
    part = EnvironmentPart(order.environment, order.secrets)
    if digest is None:
        return {}
    if digest_of(part) != digest:
        text = "the order's environment is not the signed one: {} is ordered, {} is signed"
        raise Refused(text.format(digest_of(part), digest), _FORGED)
    return order.environment


def _signed_secrets(document: ReleaseDocument, order: UpdateOrder) -> Dict[str, object]:
    """Return where secrets may be found: where the signed part says so, whose digest was compared, or nowhere."""
    return {} if order.robot in document.parts and order.robot not in document.environment else {"secrets": {}}


def _difference(ordered: object, signed: object) -> Tuple[str, str]:
    """Return both sides, short enough for a message: of the first field or key that differs where they have any."""
    left, right = (vars(side) if hasattr(side, "__dataclass_fields__") else side for side in (ordered, signed))
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                return "{} {!r}".format(key, left.get(key))[:120], "{!r}".format(right.get(key))[:120]
    return str(ordered)[:120], str(signed)[:120]


def _count(signed: Signed, kind: str, settings: TrustSettings, world: World, order: UpdateOrder) -> Tuple[str, ...]:
    verb = "keys sign" if kind == RELEASE else "rollback"
    hint = "let an allowed signer run `fleet {} {}`; after a change of keys run `fleet keys push`"
    return count_signers(
        signed, kind, settings, world, "{} {}".format(kind, order.version), hint.format(verb, order.version)
    )


def count_signers(
    signed: Signed, kind: str, settings: TrustSettings, world: World, what: str, hint: str
) -> Tuple[str, ...]:
    """Return who signed ``what``. Raises Refused with ``hint`` when they are too few."""
    if len(signed.signatures) > MAX_SIGNATURES:
        text = "the {} carries {} signatures, at most {} are read"
        raise Refused(text.format(kind, len(signed.signatures), MAX_SIGNATURES), _FORGED)
    facts: List[SignatureFacts] = [
        world.check_signature(signed.statement, signature, NAMESPACES[kind]) for signature in signed.signatures
    ]
    missing = why_too_few(facts, settings.threshold)
    if missing:
        raise Refused("{} is {}".format(what, missing), hint)
    return distinct_signers(facts)


def _check_floor(journal: Journal, order: UpdateOrder, release: Statement, rollback: Optional[Statement]) -> None:
    """Refuse a release older than one that this robot committed, unless somebody signed for just that."""
    floor = journal.floor
    current = journal.current
    if floor is None or (current is not None and replace(current, slot="") == target_of(order)):
        return
    if place(order.version, release.issued_at) >= place(floor.version, floor.issued_at):
        return
    hint = "an older release needs a signed rollback order: `fleet rollback {}`"
    if rollback is None:
        text = "{} (signed at {}) is older than {} (signed at {}), which this robot committed"
        raise Refused(
            text.format(order.version, at(release.issued_at), floor.version, at(floor.issued_at)),
            hint.format(order.version),
        )
    if rollback.issued_at <= floor.accepted_at:
        text = (
            "the rollback order was signed at {}, not after {}, when the newest statement that this robot "
            "accepted was signed"
        )
        raise Refused(
            text.format(at(rollback.issued_at), at(floor.accepted_at)), hint.format(order.version + " --renew")
        )


def at(moment: float) -> str:
    """Return a moment (Unix seconds) as messages write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, min(moment, 4e10))))


def _listed(names: Tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (" and {} more".format(len(names) - 5) if len(names) > 5 else "") or "nobody"
