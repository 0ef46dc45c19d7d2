"""What a robot needs to believe a release without believing the controller: the document, and who signed for it.

A signature is made by ``ssh-keygen -Y sign`` over a :class:`Statement`, in a namespace of the statement's kind: what
was signed as a release can never be taken for a rollback order, nor for anything else that is signed with SSH keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from runtime.contract.codec import SCHEMA, digest_of_bytes

#: Kinds of statements, and the namespaces in which they are signed.
RELEASE, ROLLBACK, UPDATER = "release", "rollback", "updater"
ROOT, NEWEST = "root", "newest"
PLAN, DESIRED, PINS = "plan", "desired", "pins"
NAMESPACES = {kind: "jetfleet." + kind for kind in (RELEASE, ROLLBACK, UPDATER, ROOT, NEWEST, PLAN, DESIRED, PINS)}
#: Longest that a robot takes what was signed, whatever the words say: nobody notices a key that was stolen years ago.
MOST_RELEASE_S, MOST_ROLLBACK_S = 365 * 86400.0, 24 * 3600.0
#: Stands for all robots of the fleet in a rollback order.
EVERY_ROBOT = "*"

#: Below the robot's own folder: what versions before the signed root were given. It counts until the robot has a root.
TRUST_FOLDER = "trust"
ALLOWED_SIGNERS, REVOKED, TRUST_FILE = "allowed_signers", "revoked", "trust.json"


@dataclass(frozen=True)
class Statement:
    """What a signer signs, as canonical JSON."""

    kind: str
    """``release`` | ``rollback`` | ``updater``."""
    fleet: str
    version: str
    """Of the release; of the updater."""
    document: str
    """``sha256:<hex>`` of the ReleaseDocument's canonical JSON, which names all else by digest; or of the updater."""
    issued_at: float
    """Unix seconds on the signer's clock."""
    expires_at: float
    """Unix seconds; a robot takes no order by this statement later."""
    robots: Tuple[str, ...] = ()
    """Rollback: names of the robots that may go back, or ``*``."""
    reason: str = ""
    """Rollback: for the history."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Signed:
    """A statement and the SSH signatures over its bytes."""

    statement: str
    """Canonical JSON, as it was signed."""
    signatures: Tuple[str, ...] = ()
    """Armored, as ``ssh-keygen -Y sign`` writes them."""


@dataclass(frozen=True)
class Proof:
    """Travels with an order."""

    document: str
    """The ReleaseDocument as canonical JSON."""
    release: Signed
    rollback: Optional[Signed] = None
    """Only for a release older than one that the robot had."""


@dataclass(frozen=True)
class TrustSettings:
    """How much a robot of this fleet wants to see before it takes an order: by its root, else by ``trust.json``."""

    fleet: str
    threshold: int = 1
    """So many different people must have signed, each with a key of their own."""
    unsigned: bool = False
    """Take orders without any signature: the manifest says so."""
    max_release_s: float = MOST_RELEASE_S
    """A release that was signed for longer (seconds from issue to expiry) is refused."""
    max_rollback_s: float = MOST_ROLLBACK_S
    """The same for a rollback order."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class SignatureFacts:
    """What ``ssh-keygen`` says of one signature, against allowed signers and revoked keys."""

    key: str = ""
    """``SHA256:…`` of the key that made it; empty where it is no signature over this statement."""
    principals: Tuple[str, ...] = ()
    """Whom the key stands for now, and in this namespace; empty where for nobody."""
    revoked: bool = False
    problem: str = ""
    """Why it does not count, for a person."""
    authority: str = ""
    """``SHA256:…`` of the certificate authority that vouches for the key; empty for a key that is allowed itself."""

    @property
    def root(self) -> str:
        """The key whose owner could have made this signature alone: the authority's, where there is one."""
        return self.authority or self.key

    @property
    def counts(self) -> bool:
        """Whether it is an allowed signer's."""
        return bool(self.key and self.principals) and not self.revoked


def document_digest(document: str) -> str:
    """Return ``sha256:<hex>`` of a ReleaseDocument's canonical JSON."""
    return digest_of_bytes(document.encode("utf-8"))


def distinct_signers(facts: Sequence[SignatureFacts]) -> Tuple[str, ...]:
    """Return the names of the most people that these signatures can stand for, each by another key; sorted.

    Two signatures of one key are one, and so are two keys of one person, and all that one certificate authority
    vouches for: its owner can make as many people as they like.
    """
    keys: Dict[str, List[str]] = {}
    for fact in facts:
        if fact.counts:
            keys.setdefault(fact.root, []).extend(fact.principals)
    owner: Dict[str, str] = {}
    for key in sorted(keys):
        _assign(key, keys, owner, set())
    return tuple(sorted(owner))


def _assign(key: str, keys: Dict[str, List[str]], owner: Dict[str, str], seen: "set[str]") -> bool:
    """Give ``key`` a person of its own, moving others to another of theirs where that helps."""
    for person in sorted(set(keys[key])):
        if person in seen:
            continue
        seen.add(person)
        if person not in owner or _assign(owner[person], keys, owner, seen):
            owner[person] = key
            return True
    return False


def why_too_few(facts: Sequence[SignatureFacts], threshold: int) -> str:
    """Say in one line what is missing to ``threshold`` signers; empty when nothing is."""
    people = distinct_signers(facts)
    if len(people) >= threshold:
        return ""
    text = "signed by {} of {} allowed signers that are needed".format(len(people), threshold)
    text += " ({})".format(", ".join(people)) if people else ""
    others = [fact.problem for fact in facts if not fact.counts and fact.problem]
    return "; ".join([text, *_one_authority(facts), *others])


def _one_authority(facts: Sequence[SignatureFacts]) -> List[str]:
    """Say which authorities stand for several signatures, as that is why those count once."""
    keys: Dict[str, "set[str]"] = {}
    for fact in facts:
        if fact.counts and fact.authority:
            keys.setdefault(fact.authority, set()).add(fact.key)
    text = "{} signatures come from one certificate authority ({}), which counts once"
    return [text.format(len(found), authority) for authority, found in sorted(keys.items()) if len(found) > 1]
