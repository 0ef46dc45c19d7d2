"""What robots that pull are to run: a rollout's plan, signed once, and the statement of how far it has come.

The registry carries both: whoever writes to it can hide or delay them, and that is all. The plan names the release, the
stages as lists of robots, and the way back; it is signed by the signers of the trust root, as a release is. The
statement moves inside the plan only (next stage, pause, abort); one key of the role *advance* signs it.

Stored as one artifact under the tag ``desired`` of the repository ``PREFIX/desired``: layer 1 the signed statement,
layer 2 the signed plan, layer 3 the release's :class:`runtime.contract.robot.trust.Proof`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.json_decoder import Limits
from runtime.contract.robot.trust import DESIRED, PINS, PLAN, Signed

REPOSITORY, TAG, PINS_TAG, ROOTS_TAG = "desired", "desired", "pins", "roots"
DESIRED_TYPE = "application/vnd.jetfleet.desired.v1+json"
PLAN_TYPE = "application/vnd.jetfleet.plan.v1+json"
PROOF_TYPE = "application/vnd.jetfleet.proof.v1+json"
PINS_TYPE = "application/vnd.jetfleet.pins.v1+json"
ROOTS_TYPE = "application/vnd.jetfleet.roots.v1+json"
#: A chain of trust roots; each has its own limits when it is followed.
ROOTS_LIMITS = Limits(size=16 * 1024 * 1024, depth=6, values=20000, text=1024 * 1024)
#: A plan lists the robots of a fleet by name; ten thousand are some 200 kB.
PLAN_LIMITS = Limits(size=8 * 1024 * 1024, depth=8, values=400000, text=256 * 1024)
STATEMENT_LIMITS = Limits(size=64 * 1024, depth=4, values=100, text=8 * 1024)

#: Longest that a statement counts, whatever its words say: whoever holds back a newer one is seen after so long.
MOST_DESIRED_S = 7 * 86400.0

#: Standing of a rollout.
RUNNING, PAUSED, ABORTED, REVERTING, ENDED = "running", "paused", "aborted", "reverting", "ended"
STANDINGS = (RUNNING, PAUSED, ABORTED, REVERTING, ENDED)
"""``aborted``: nothing new begins, what committed stays. ``reverting``: robots that committed this rollout's release go
back to the one before. ``ended``: every stage passed; robots of any stage, and new ones, may still come for it."""

REST = -1


@dataclass(frozen=True)
class Stage:
    """The robots that may change once this stage is reached."""

    robots: Tuple[str, ...]
    approve: bool = False
    """Somebody has to say why before it begins."""
    wave: int = 0
    """Stages of one wave stand in a row and are judged together; its number, from 1. 0: a wave of its own.
    :data:`REST`: robots that were not asked for; no statement of this rollout reaches them."""
    records: bool = False
    """Containers of its robots stay as they are: they learn the release's number."""


@dataclass(frozen=True)
class RolloutPlan:
    """What signers sign once for a rollout; its canonical JSON is signed in the namespace ``jetfleet.plan``."""

    fleet: str
    rollout_id: str
    """Unique; part of the id of every order that robots make by it."""
    version: str
    release: str
    """``sha256:<hex>``: the release's digest in the registry."""
    stages: Tuple[Stage, ...]
    """A robot that no stage lists (it is new since) belongs to the last one."""
    issued_at: float
    """Unix seconds on the signer's clock."""
    expires_at: float
    """Unix seconds; no order is made by this plan later. The way back counts as long as the plan does."""
    back_to: str = ""
    """Version for people: most robots run it now. Each goes back to the release that it had before."""
    rollback: Optional[Signed] = None
    """Where ``release`` is older than what robots had: the signed rollback order."""
    force: bool = False
    """Try a release that failed on a robot before."""
    override: str = ""
    """Why robots do not wait for window and update lock."""
    stop_start: bool = False
    kind: str = PLAN
    schema: int = SCHEMA


@dataclass(frozen=True)
class Desired:
    """How far a rollout has come; its canonical JSON is signed in ``jetfleet.desired``, by the role *advance*."""

    fleet: str
    generation: int
    """Grows with every statement that says something else; joins what a robot never goes below."""
    rollout_id: str
    plan: str
    """``sha256:<hex>`` over the plan's canonical JSON, as it was signed."""
    stage: int
    """Stages that may change, counted from the first: 0 none, 1 the first, at most all of the plan's."""
    standing: str
    """One of :data:`STANDINGS`."""
    issued_at: float
    expires_at: float
    """Unix seconds; a robot that has no later one then holds, and says that it is stale."""
    reason: str = ""
    """Of a pause, an abort, a way back: for people."""
    kind: str = DESIRED
    schema: int = SCHEMA

    def reaches(self, plan: RolloutPlan, robot: str) -> bool:
        """Say whether the robot's stage is reached. The statement must be of this plan."""
        return stage_of(plan, robot) <= self.stage


@dataclass(frozen=True)
class Pins:
    """The robots that belong to a fleet, by their SSH host keys; signed in ``jetfleet.pins`` by the root's signers."""

    fleet: str
    generation: int
    robots: Dict[str, str]
    """Robot → its public host key, ``ssh-ed25519 AAAA…`` without comment."""
    retired: Tuple[str, ...] = ()
    """Names whose reports count no more."""
    issued_at: float = 0.0
    kind: str = PINS
    schema: int = SCHEMA


@dataclass(frozen=True)
class RootChain:
    """The fleet's trust roots, oldest first, as robots that pull take them; each is checked by the one before it."""

    roots: Tuple[Signed, ...]
    schema: int = SCHEMA


def stage_of(plan: RolloutPlan, robot: str) -> int:
    """Return the robot's stage, counted from 1; the last one for a robot that no stage lists."""
    for number, stage in enumerate(plan.stages, start=1):
        if robot in stage.robots:
            return number
    return max(1, len(plan.stages))
