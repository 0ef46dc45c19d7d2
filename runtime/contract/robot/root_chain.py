"""How one trust root follows another: checked by the signers of the one before, and by its own. Pure."""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence

from runtime.contract.json_decoder import ContractError
from runtime.contract.robot.root import MAX_CHAIN, MAX_SIGNATURES, HeldRoot, TrustRoot, read_root
from runtime.contract.robot.trust import NAMESPACES, ROOT, SignatureFacts, Signed, why_too_few


class RootRefused(Exception):
    """A root does not count; the one before it goes on counting."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


Judge = Callable[[TrustRoot, str, str, str], SignatureFacts]
"""(whose keys count, statement, signature, namespace) → what the signature is worth."""


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
