"""What the journal holds: plain frozen values, each a whole truth about one moment of the transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.robot.desired import Desired
from runtime.contract.robot.update import IDLE, RunningRelease, UpdateOrder

#: What a person or the controller can ask of a running transaction.
CONFIRM, ABORT = "confirm", "abort"
#: How far a switch is (:attr:`Journal.takeover`): the old container is replaced; or the new one is to be started in the
#: other slot, is being tested there, has been named by the token.
STOP_START, BESIDE, STANDBY, HANDED = "stop-start", "beside", "standby", "handed"


@dataclass(frozen=True)
class Mark:
    """A moment, on the wall clock and on the clock that counts since boot."""

    wall: float
    """Unix seconds; may jump when the robot learns the time."""
    boot: float
    """Seconds since boot, suspend included; never goes back within one boot."""
    boot_id: str


@dataclass(frozen=True)
class Baseline:
    """How the robot was before the switch. What was wrong then does not count against the release."""

    answered: bool = False
    state: str = ""
    checks: Dict[str, str] = field(default_factory=dict)
    """Names of the checks that were not ok → their level."""


@dataclass(frozen=True)
class Watch:
    """How far probation (or the wait after a revert) has come."""

    armed: Mark
    """From here the deadlines count; set again when the robot or the updater was restarted."""
    acted: bool = False
    """Reverting only: the old release was started in this attempt."""
    healthy_since: Optional[Mark] = None
    silent_since: Optional[Mark] = None
    confirm_since: Optional[Mark] = None
    """Set when the soak is over: the controller must confirm now."""
    restarts: int = 0
    """Of the container and of the executor in it, as last seen."""
    last: str = ""
    """Why it was not healthy when last asked."""
    degraded: str = ""


@dataclass(frozen=True)
class Request:
    """Asked for by somebody, not yet acted on."""

    kind: str
    order_id: str
    reason: str = ""


@dataclass(frozen=True)
class Ban:
    """An image that failed here."""

    image: str
    """Digest reference."""
    reason: str
    at: float


@dataclass(frozen=True)
class HistoryEntry:
    """How an order ended: one line of the history."""

    number: int
    """Counts every order this robot ever finished."""
    order_id: str
    version: str
    image: str
    came_from: str
    """Version that ran before; empty when none did."""
    outcome: str
    reason: str
    hint: str
    started_at: float
    finished_at: float
    fetched_bytes: Optional[int] = None
    by_hand: bool = False
    """Asked for on the robot (``fleet-updater revert``), not by a controller."""
    until: Optional[float] = None
    """Deferred: Unix seconds from which it may be tried again; None where nobody knows."""
    override: str = ""
    """The reason given for going past window and update lock."""


@dataclass(frozen=True)
class Floor:
    """The newest release that was ever committed here; an older one needs a signed rollback order."""

    version: str
    issued_at: float = 0.0
    """Unix seconds at which it was signed; 0 where nobody did."""
    accepted_at: float = 0.0
    """When the newest statement committed here was signed, rollback orders included: none of those is used twice."""


@dataclass(frozen=True)
class SeenNewest:
    """The last statement of the newest release that this robot took: none of an earlier generation is taken again."""

    generation: int
    version: str
    release: str
    """``sha256:<hex>``."""
    issued_at: float
    expires_at: float
    """Unix seconds."""
    seen: Mark


@dataclass(frozen=True)
class SeenDesired:
    """The last desired statement that this robot took: none of an earlier generation is taken again."""

    statement: Desired
    digest: str
    """Of its artifact in the registry: what a look compares."""
    mine: int
    """The robot's own stage in the plan, from 1."""
    stages: int
    version: str
    release: str
    """``sha256:<hex>``, as the plan names it."""
    plan_expires_at: float
    """Unix seconds."""
    seen: Mark
    override: str = ""
    """The plan's: why robots do not wait for window and update lock."""
    order_id: str = ""
    """Of the last order that was made by a plan here."""


@dataclass(frozen=True)
class Journal:
    """Everything a new process needs to go on where the last one stopped."""

    robot: str = ""
    state: str = IDLE
    order: Optional[UpdateOrder] = None
    """In progress; or the last one, so that submitting it again is recognised."""
    pulled: bool = False
    """The robot came for it: it commits only once it has reached the registry or the hub again."""
    by_hand: bool = False
    asked: str = ""
    """By hand: the reason given."""
    undoes: str = ""
    """By hand: the order that is undone, so that asking again is recognised."""
    started_at: float = 0.0
    entered: Optional[Mark] = None
    """When the present state was entered."""
    tries: int = 0
    """Attempts of the present state, this one included."""
    was_local: bool = False
    """The image was on the robot before the order came."""
    fetched_bytes: Optional[int] = None
    target: Optional[RunningRelease] = None
    current: Optional[RunningRelease] = None
    previous: Optional[RunningRelease] = None
    """The release before; of the same content as current when that order changed nothing here."""
    fallback: Optional[RunningRelease] = None
    """The last release of other content than current: kept on disk too."""
    baseline: Optional[Baseline] = None
    watch: Optional[Watch] = None
    request: Optional[Request] = None
    reason: str = ""
    """Reverting: why. Otherwise why the present attempt waits."""
    ban: bool = False
    """Reverting: the release itself is to blame."""
    last: Optional[HistoryEntry] = None
    banned: Tuple[Ban, ...] = ()
    pinned: Tuple[RunningRelease, ...] = ()
    """Kept on disk until they are unpinned."""
    deferred: Optional[RunningRelease] = None
    """Fetched for an order that was deferred: kept for the next try, until another order comes."""
    signers: Dict[str, Tuple[str, ...]] = field(default_factory=dict)
    """Digest of a release that was verified here → who had signed for it; nobody in an unsigned fleet."""
    floor: Optional[Floor] = None
    newest: Optional[SeenNewest] = None
    """Part of the floor that no transaction moves."""
    desired: Optional[SeenDesired] = None
    """The same, of what it is to run."""
    mended: str = ""
    """What had been changed on the disk between verification and switch, and was written again; for the outcome."""
    takeover: str = ""
    """Switching: how, and how far; empty before that is decided."""
    handed: Optional[Mark] = None
    """From here the new container's time beside the old one counts, and then that of changing turns; set again when the
    robot or the updater was restarted."""
    tidy_due: bool = False
    """An order has ended and what it left behind is not cleaned up yet."""
    updated_at: float = 0.0
    schema: int = SCHEMA
