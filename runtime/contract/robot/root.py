"""The trust root: who may sign what in a fleet, as a numbered document that its predecessor's signers sign.

As root metadata of The Update Framework (TUF specification, 5.3): version N+1 counts when enough signers of version N
and enough signers of its own signed it. So nobody who merely logs in to a robot, and no old checkout, changes whom a
robot believes. Shared by robots and operators. Pure: signatures are judged by the caller's ``Judge``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Sequence

from runtime.contract.codec import SCHEMA, canonical_json, from_json
from runtime.contract.json_decoder import ContractError, Limits
from runtime.contract.robot.trust import (
    MOST_RELEASE_S,
    MOST_ROLLBACK_S,
    NAMESPACES,
    NEWEST,
    ROOT,
    SignatureFacts,
    Signed,
    TrustSettings,
    why_too_few,
)

#: Below the robot's own folder, root's alone: ``root.json``, and the statement of its updater.
ROOT_FOLDER, ROOT_FILE, UPDATER_FILE = "trust-root", "root.json", "updater.json"
#: Longest that a statement of the newest release counts: a robot that sees no newer one for so long is stale.
MOST_NEWEST_S = 7 * 86400.0
#: More signatures of one root are not looked at, and no longer chain.
MAX_SIGNATURES, MAX_CHAIN = 16, 64
#: Lists of keys are a few kilobytes; what is larger is not decoded.
LIMITS = Limits(size=512 * 1024, depth=4, values=200, text=256 * 1024)


@dataclass(frozen=True)
class TrustRoot:
    """Who may sign what. Its canonical JSON is signed in the namespace ``jetfleet.root``."""

    fleet: str
    version: int
    """From 1; every successor has the next number. 0: nobody signed it (an unsigned fleet, an older robot's lists)."""
    signers: str = ""
    """Text of an OpenSSH allowed_signers file: who signs releases, rollback orders, updaters and roots."""
    threshold: int = 1
    """So many different people must have signed each of these."""
    revoked: str = ""
    """Base64 of public keys, or of an OpenSSH KRL, that count no more in any role."""
    builders: str = ""
    """allowed_signers text: who attests builds (``jetfleet.provenance``); empty: those of ``signers`` that may."""
    advance: str = ""
    """allowed_signers text: who signs which release is the newest (``jetfleet.newest``), one is enough; empty: those of
    ``signers`` that may."""
    unsigned: bool = False
    """Robots take orders that nobody signed."""
    max_release_s: float = MOST_RELEASE_S
    """A release, or an updater, that was signed for longer (seconds from issue to expiry) is refused."""
    max_rollback_s: float = MOST_ROLLBACK_S
    """The same for a rollback order."""
    max_newest_s: float = MOST_NEWEST_S
    """The same for a statement of the newest release; a robot that has none in time is stale. 0: none is made."""
    kind: str = ROOT
    schema: int = SCHEMA

    @property
    def settings(self) -> TrustSettings:
        """What it asks of orders."""
        return TrustSettings(self.fleet, self.threshold, self.unsigned, self.max_release_s, self.max_rollback_s)

    @property
    def revoked_keys(self) -> bytes:
        """The revoked keys as a file has them."""
        return base64.b64decode(self.revoked)

    def allowed(self, namespace: str) -> str:
        """Return the allowed_signers text that counts in a namespace."""
        return self.advance or self.signers if namespace == NAMESPACES[NEWEST] else self.signers

    @property
    def text(self) -> str:
        """What is to be signed. What was signed is compared as it is: an older program wrote fewer fields."""
        return canonical_json(self).decode("utf-8")


class RootRefused(Exception):
    """A root does not count; the one before it goes on counting."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


Judge = Callable[[TrustRoot, str, str, str], SignatureFacts]
"""(whose keys count, statement, signature, namespace) → what the signature is worth."""


def read_root(text: str) -> TrustRoot:
    """Decode a root and check that it can mean something. Raises ContractError."""
    root = from_json(TrustRoot, text, LIMITS)
    if root.kind != ROOT:
        raise ContractError("TrustRoot.kind: it is a {}, not a root".format(root.kind))
    if not root.unsigned and (root.threshold < 1 or not root.signers.strip() or root.version < 1):
        raise ContractError("TrustRoot: it asks for no signature, and does not say that the fleet is unsigned")
    if root.version < 0 or min(root.max_release_s, root.max_rollback_s) <= 0.0 or root.max_newest_s < 0.0:
        raise ContractError("TrustRoot: version and lifetimes must be more than nothing")
    try:
        base64.b64decode(root.revoked, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContractError("TrustRoot.revoked: not base64: {}".format(error)) from error
    return root


@dataclass(frozen=True)
class HeldRoot:
    """A root that was checked, and the words that were signed. Nobody signed what an older version left: no words."""

    root: TrustRoot
    signed: Signed = field(default_factory=lambda: Signed(""))


def first_root(signed: Signed, fleet: str, judge: Judge) -> HeldRoot:
    """Return a root for a robot that has none: believed because of who brings it, and whole in itself.

    Raises RootRefused.
    """
    root = _decoded(signed)
    _check_fleet(root, fleet)
    _check_own(root, signed, judge)
    return HeldRoot(root, signed)


def next_root(held: HeldRoot, signed: Signed, judge: Judge) -> HeldRoot:
    """Return the root that takes the place of the one held, or that one. Raises RootRefused.

    The signatures of the predecessor's signers are judged over the bytes, before those are decoded.
    """
    current = held.root
    if signed.statement == held.signed.statement:
        return held
    by_current = "" if current.unsigned else _missing(current, signed, judge)
    if by_current:
        older = _older(current, signed)
        if older:
            raise RootRefused(older, _OLD)
        raise RootRefused(
            "the root is {}, by the signers of root {}".format(by_current, current.version),
            "let signers of root {0} run `fleet keys root --sign`; when too few keys of root {0} are left: "
            "docs/robot-recovery.md".format(current.version),
        )
    root = _decoded(signed)
    _check_fleet(root, current.fleet)
    if root.version < current.version or (root.version == current.version and not current.unsigned):
        raise RootRefused(_text_older(current, root), _OLD)
    if current.version and not current.unsigned and root.version != current.version + 1:
        text = "root {} comes after root {}, this robot has root {}"
        raise RootRefused(text.format(root.version, root.version - 1, current.version), "bring those between, too")
    _check_own(root, signed, judge)
    return HeldRoot(root, signed)


def follow(held: Optional[HeldRoot], fleet: str, chain: Sequence[Signed], judge: Judge) -> HeldRoot:
    """Return the root at the end of ``chain`` (oldest first), each checked by the one before it. Raises RootRefused.

    Without one that is held the last of the chain is taken as it is: its predecessors say nothing to a new robot. Those
    that are older than the one held are passed over; a chain that ends before it is refused.
    """
    if not chain or len(chain) > MAX_CHAIN:
        raise RootRefused("{} roots were given, 1 to {} are looked at".format(len(chain), MAX_CHAIN), "give the newest")
    if held is None:
        return first_root(chain[-1], fleet, judge)
    for signed in _after(held, chain):
        held = next_root(held, signed, judge)
    return held


def _after(held: HeldRoot, chain: Sequence[Signed]) -> List[Signed]:
    """Return what follows the root that is held, and the last one always: it is to count in the end, or be refused."""
    if held.root.unsigned or held.root.version == 0:
        return [chain[-1]]
    return [each for each in chain[:-1] if _number(each) > held.root.version] + [chain[-1]]


def _number(signed: Signed) -> int:
    try:
        return read_root(signed.statement).version
    except ContractError:
        return 0


def _decoded(signed: Signed) -> TrustRoot:
    try:
        root = read_root(signed.statement)
    except ContractError as error:
        hint = "bring robot and fleet to one version"
        raise RootRefused("the root cannot be read: {}".format(error), hint) from error
    return root


def _check_fleet(root: TrustRoot, fleet: str) -> None:
    if root.fleet != fleet:
        raise RootRefused(
            "the root is of fleet {}, this robot belongs to {}".format(root.fleet, fleet),
            "correct the robot's host in the manifest",
        )


def _check_own(root: TrustRoot, signed: Signed, judge: Judge) -> None:
    missing = "" if root.unsigned else _missing(root, signed, judge)
    if missing:
        raise RootRefused(
            "root {} is {}, by its own signers: it could have no successor".format(root.version, missing),
            "let them run `fleet keys root --sign`",
        )


def _missing(root: TrustRoot, signed: Signed, judge: Judge) -> str:
    if len(signed.signatures) > MAX_SIGNATURES:
        return "signed {} times, at most {} are looked at".format(len(signed.signatures), MAX_SIGNATURES)
    facts = [judge(root, signed.statement, each, NAMESPACES[ROOT]) for each in signed.signatures]
    return why_too_few(facts, root.threshold)


def _older(current: TrustRoot, signed: Signed) -> str:
    """Say that a root is an earlier one, which explains more than missing signatures do. For the message alone."""
    try:
        root = read_root(signed.statement)
    except ContractError:
        return ""
    if root.fleet != current.fleet:
        return ""
    if root.unsigned:
        return "unsigned orders are to be taken, and root {} of this robot asks for signatures".format(current.version)
    return _text_older(current, root) if 0 < root.version <= current.version else ""


def _text_older(current: TrustRoot, root: TrustRoot) -> str:
    if root.version == current.version:
        return "this is another root {} than the one that this robot has".format(root.version)
    return "root {} is older than root {}, which this robot has".format(root.version, current.version)


_OLD = "update the checkout (git pull): its root/ folder is older than the robot's"
