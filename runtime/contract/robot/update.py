"""UpdateOrder (controller → robot's updater) and UpdateState (its answer): the words of the robot's transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

from runtime.contract.codec import SCHEMA, digest_of
from runtime.contract.robot.pull_state import PullState
from runtime.contract.robot.release import Probation, ReleaseVariant, SecretReference
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import Proof

#: States of the transaction (DESIGN §6).
IDLE = "idle"
PREFLIGHT = "preflight"
FETCHING = "fetching"
VERIFYING = "verifying"
WAITING = "waiting"
"""Everything is on the robot and verified: for the switch's window, and for the robot's update lock."""
SWITCHING = "switching"
PROBATION = "probation"
REVERTING = "reverting"
ACTIVE_STATES = (PREFLIGHT, FETCHING, VERIFYING, WAITING, SWITCHING, PROBATION, REVERTING)

#: Outcomes, told apart: what a person does next differs for each.
COMMITTED = "committed"
REVERTED = "reverted"
REFUSED = "refused"
DEFERRED = "deferred"
"""Not now (update lock or window): nothing was changed, what was fetched stays for the next try."""
FAILED = "failed"

#: Where the host side lives on a robot.
ROBOT_DIR = "/var/lib/jetfleet"
UPDATER_PATH = ROBOT_DIR + "/updater/fleet-updater.pyz"
"""What service and command start: ``runtime/updater/selfupdate/launcher.py``, which becomes the updater to use."""
UPDATER_TRIAL = ROBOT_DIR + "/updater/trial.json"
REGISTRY_FOLDER = "registry"
"""Below ROBOT_DIR, root's alone: the robot's login to the fleet's registry, as the docker client writes it."""
SOCKET_PATH = "/run/jetfleet/updater.sock"
COMMAND_PATH = "/usr/local/bin/fleet-updater"
OPERATORS_GROUP = "jetfleet"
"""Its members may ask the updater, and need no other rights. Where there is none, the group docker may, as root."""


@dataclass(frozen=True)
class UpdateOrder:
    """One robot is to run one variant of one release."""

    order_id: str
    """Chosen by the controller; submitting the same id twice is one order."""
    robot: str
    fleet: str
    version: str
    release_digest: str
    """Digest of the ReleaseDocument the order comes from."""
    variant: ReleaseVariant
    compose: Dict[str, str]
    """Only the files that the variant names."""
    environment: Dict[str, str]
    """For ``.env`` of the release folder: what belongs to this robot alone."""
    probation: Probation
    force: bool = False
    """Try a release that failed here before."""
    issued_at: float = 0.0
    """Unix seconds on the controller's clock: a robot whose own clock is far off says so. 0: not told."""
    switch: SwitchRules = field(default_factory=SwitchRules)
    override: str = ""
    """Why the switch does not wait for window and update lock; empty: it does. Said in every history."""
    proof: Optional[Proof] = None
    """Who signed for the release; None in a fleet that is unsigned."""
    secrets: Dict[str, SecretReference] = field(default_factory=dict)
    """Variables of the container whose values the robot finds by itself."""
    stop_start: bool = False
    """Stop the old container before the new one starts, whatever ``switch`` says."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class RunningRelease:
    """A release that is on the robot's disk."""

    version: str
    release_digest: str
    variant: str
    image: str
    folder: str
    slot: str = ""
    """Which of the two Compose projects its container belongs to: empty (``jetfleet``) or ``b``."""


@dataclass(frozen=True)
class UpdateState:
    """What ``fleet-updater status --json`` prints."""

    robot: str
    state: str
    updater_version: str
    order_id: str = ""
    outcome: str = ""
    """Of the last finished order: committed | reverted | refused | deferred | failed; empty before the first."""
    reason: str = ""
    """Of a state that waits, or of an outcome that is not committed."""
    hint: str = ""
    target: Optional[RunningRelease] = None
    """What the order in progress (or the last one) wants."""
    current: Optional[RunningRelease] = None
    previous: Optional[RunningRelease] = None
    awaiting_confirmation: bool = False
    """The soak is over and healthy: the controller must confirm now, or the robot reverts."""
    progress: str = ""
    """One line for a person: ``fetching: 3 of 7 layers``."""
    banned: Tuple[str, ...] = ()
    """Image digests that failed on this robot and are refused until forced."""
    fetched_bytes: Optional[int] = None
    """Bytes the last order's fetch moved over the network; 0 when everything was on the robot."""
    updated_at: float = 0.0
    deferred_until: Optional[float] = None
    """Unix seconds from which a deferred order may be tried again; None: whenever the robot's update lock is free."""
    signed_by: Tuple[str, ...] = ()
    """Who signed for the current release, as the robot's allowed signers name them."""
    unsigned: bool = False
    """The robot takes orders without a signature, because its manifest says so."""
    pinned: Tuple[str, ...] = ()
    """Versions that are kept on the robot's disk until they are unpinned."""
    root_version: Optional[int] = None
    """Number of the trust root that counts here. 0: it has lists of an older version, or an unsigned fleet's root, or
    none at all; None: the updater is too old to have one."""
    has_root: bool = False
    """A root counts here: not only the lists of an older version."""
    generation: int = 0
    """Of the statement of the newest release that was seen last; 0: none was."""
    newest: str = ""
    """Version that it names."""
    newest_until: float = 0.0
    """Unix seconds at which it expires."""
    login: str = ""
    """Why the account that asks is root there; empty when it is not."""
    mark: str = ""
    """Another one after every change: `fleet-updater wait --for-change MARK` answers at the next one. Empty: the
    updater is too old for that."""
    stale: str = ""
    """Why the robot does not know what the newest release is; empty when it does, or need not."""
    pull: Optional[PullState] = None
    """None for a robot that does not pull."""
    schema: int = SCHEMA


def release_folder_name(
    image: str,
    compose: Dict[str, str],
    environment: Dict[str, str],
    secrets: Optional[Mapping[str, SecretReference]] = None,
) -> str:
    """Return the name of a release's folder on a robot: 12 hex over everything that makes a container what it is.

    Two releases with the same name here run the same container, so the robot keeps the one that it has. Where a secret
    is found is part of it, the secret is not.
    """
    content: Dict[str, object] = {"image": image, "compose": compose, "environment": environment}
    if secrets:
        content["secrets"] = dict(secrets)
    return digest_of(content)[7:19]
