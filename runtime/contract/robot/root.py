"""The trust root: who may sign what in a fleet, as a numbered document that its predecessor's signers sign.

As root metadata of The Update Framework (TUF specification, 5.3): version N+1 counts when enough signers of version N
and enough signers of its own signed it. So nobody who merely logs in to a robot, and no old checkout, changes whom a
robot believes. Shared by robots and operators. Pure: signatures are judged by the caller's ``Judge``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from runtime.contract.codec import SCHEMA, canonical_json, from_json
from runtime.contract.json_decoder import ContractError, Limits
from runtime.contract.robot.trust import (
    DESIRED,
    MOST_RELEASE_S,
    MOST_ROLLBACK_S,
    NAMESPACES,
    NEWEST,
    ROOT,
    Signed,
    TrustSettings,
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
    """allowed_signers text: who signs which release is the newest (``jetfleet.newest``) and how far a rollout has come
    (``jetfleet.desired``), one is enough; empty: those of ``signers`` that may."""
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
        by_advance = namespace in (NAMESPACES[NEWEST], NAMESPACES[DESIRED])
        return self.advance or self.signers if by_advance else self.signers

    @property
    def text(self) -> str:
        """What is to be signed. What was signed is compared as it is: an older program wrote fewer fields."""
        return canonical_json(self).decode("utf-8")


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
