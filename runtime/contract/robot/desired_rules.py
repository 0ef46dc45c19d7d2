"""Whether a desired statement and its plan count: one rule, for robots and for whoever looks at the registry. Pure.

Signatures are judged over the bytes before those are decoded. Whether the clock lets it count is asked separately.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Optional, Type, TypeVar

from runtime.contract.codec import digest_of_bytes, from_json
from runtime.contract.json_decoder import ContractError, Limits
from runtime.contract.robot.desired import (
    MOST_DESIRED_S,
    PLAN_LIMITS,
    STANDINGS,
    STATEMENT_LIMITS,
    Desired,
    RolloutPlan,
)
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.root_chain import Judge
from runtime.contract.robot.trust import DESIRED, NAMESPACES, PLAN, Signed, why_too_few
from runtime.contract.versions import VERSION

MAX_SIGNATURES = 16
#: It becomes part of order ids, and those of file names.
ROLLOUT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SIGN = "whoever rolls out signs a new one: `fleet rollout`"
FORGED = "find out who wrote to PREFIX/desired in the registry; then `fleet rollout` publishes it again"

T = TypeVar("T", Desired, RolloutPlan)


class DesiredRefused(Exception):
    """A statement or a plan does not count; what was followed before goes on counting."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class Followed:
    """A statement that counts, with its plan."""

    desired: Desired
    plan: RolloutPlan


def judged(root: TrustRoot, statement: Signed, plan: Signed, judge: Judge) -> Followed:
    """Return what enough people signed, decoded and held against each other. Raises DesiredRefused.

    In an unsigned fleet no signature is asked for: who writes to the registry decides there.
    """
    if not root.unsigned:
        _signed(root, statement, DESIRED, 1, judge)
        _signed(root, plan, PLAN, root.threshold, judge)
    desired = _decoded(Desired, statement.statement, DESIRED, STATEMENT_LIMITS)
    if desired.plan != digest_of_bytes(plan.statement.encode("utf-8")):
        raise DesiredRefused("the desired statement names another plan than the one that lies with it", FORGED)
    plan_words = _decoded(RolloutPlan, plan.statement, PLAN, PLAN_LIMITS)
    for kind, fleet in ((desired.kind, desired.fleet), (plan_words.kind, plan_words.fleet)):
        if fleet != root.fleet:
            raise DesiredRefused("the {} is of fleet {}, this is {}".format(_NAMES[kind], fleet, root.fleet), FORGED)
    _check_plan(plan_words, root)
    _check_inside(desired, plan_words)
    return Followed(desired, plan_words)


_NAMES = {DESIRED: "desired statement", PLAN: "plan"}


def _signed(root: TrustRoot, signed: Signed, kind: str, threshold: int, judge: Judge) -> None:
    name = _NAMES[kind]
    if len(signed.signatures) > MAX_SIGNATURES:
        text = "the {} carries {} signatures, at most {} are read"
        raise DesiredRefused(text.format(name, len(signed.signatures), MAX_SIGNATURES), FORGED)
    facts = [judge(root, signed.statement, each, NAMESPACES[kind]) for each in signed.signatures]
    missing = why_too_few(facts, threshold)
    if missing:
        raise DesiredRefused("the {} is {}".format(name, missing), SIGN)


def _decoded(kind: Type[T], text: str, name: str, limits: Limits) -> T:
    try:
        found: T = from_json(kind, text, limits)
    except ContractError as error:
        raise DesiredRefused("the {} cannot be read: {}".format(_NAMES[name], error), SIGN) from error
    if found.kind != name:
        raise DesiredRefused("signed is a {}, not a {}".format(found.kind, _NAMES[name]), FORGED)
    return found


def _check_plan(plan: RolloutPlan, root: TrustRoot) -> None:
    if not (ROLLOUT_ID.fullmatch(plan.rollout_id) and VERSION.fullmatch(plan.version)):
        raise DesiredRefused("the plan's rollout or version is no name: {!r}".format(plan.rollout_id[:80]), FORGED)
    if not _DIGEST.fullmatch(plan.release):
        raise DesiredRefused("the plan names no release by digest", FORGED)
    lasts = plan.expires_at - plan.issued_at
    if lasts > root.max_release_s:
        text = "the plan was made for {:.1f} days, this fleet takes {:.1f} at most"
        raise DesiredRefused(text.format(lasts / 86400, root.max_release_s / 86400), SIGN)


def _check_inside(desired: Desired, plan: RolloutPlan) -> None:
    """Refuse what goes beyond the signed plan: the role *advance* moves inside it, and no farther."""
    if desired.rollout_id != plan.rollout_id:
        text = "the desired statement is of rollout {}, its plan of {}"
        raise DesiredRefused(text.format(desired.rollout_id[:80], plan.rollout_id), FORGED)
    if not 0 <= desired.stage <= len(plan.stages):
        text = "the desired statement says stage {}, and the signed plan has {}"
        raise DesiredRefused(text.format(desired.stage, len(plan.stages)), FORGED)
    if desired.standing not in STANDINGS:
        hint = "the robot may be too old for it: `fleet bootstrap`"
        raise DesiredRefused("the desired statement says {!r}".format(desired.standing[:40]), hint)
    lasts = desired.expires_at - desired.issued_at
    if lasts > MOST_DESIRED_S:
        text = "the desired statement was made for {:.1f} days, {:.0f} at most are taken"
        raise DesiredRefused(text.format(lasts / 86400, MOST_DESIRED_S / 86400), SIGN)


def why_out_of_time(followed: Followed, now: float) -> str:
    """Say what has expired by ``now`` (Unix seconds); empty when nothing has."""
    if now > followed.desired.expires_at:
        return "the desired statement expired at {}, it is {} here".format(at(followed.desired.expires_at), at(now))
    if now > followed.plan.expires_at:
        text = "the plan of rollout {} expired at {}, it is {} here"
        return text.format(followed.plan.rollout_id, at(followed.plan.expires_at), at(now))
    return ""


def why_older(seen: Optional[Desired], new: Desired) -> str:
    """Say why ``new`` may not follow what was seen before; empty when it may."""
    if seen is None or new.generation > seen.generation:
        return ""
    if new.generation < seen.generation:
        text = "the desired statement is of generation {}, and {} was seen before: an old one was put back"
        return text.format(new.generation, seen.generation)
    if (new.rollout_id, new.plan, new.stage, new.standing) != (
        seen.rollout_id,
        seen.plan,
        seen.stage,
        seen.standing,
    ):
        return "two desired statements of generation {} say different things".format(new.generation)
    if new.issued_at < seen.issued_at:
        return "the desired statement is of {}, and one of {} was seen before".format(
            at(new.issued_at), at(seen.issued_at)
        )
    return ""


def at(moment: float) -> str:
    """Return a moment (Unix seconds) as messages write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, min(moment, 4e10))))
