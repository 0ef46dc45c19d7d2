"""What robots that pull are to run, for the verbs: who publishes it, with which keys, and that it does not expire."""

from __future__ import annotations

from fleet.cli.wiring import Wiring
from fleet.signing.desired import DesiredStanding, Office, read_desired, renewed
from fleet.signing.intent import at
from fleet.signing.roots import judge_with


def office(wiring: Wiring) -> Office:
    """Return whoever publishes for robots that pull. Raises NotSigned, UsageError for a root that is broken."""
    root, signer = wiring.root_standing.wanted, wiring.signer
    return Office(wiring.registry, wiring.desired.registry.prefix, root, judge_with(signer), signer)


def any_pulls(wiring: Wiring) -> bool:
    """Whether a robot of the manifest comes for its release."""
    return any(robot.link == "pull" for robot in wiring.desired.robots)


def desired_of(wiring: Wiring) -> DesiredStanding | None:
    """Return what the registry says; None in a fleet without robots that pull. Raises RegistryError."""
    return read_desired(office(wiring), wiring.clock.now()) if any_pulls(wiring) else None


def renew(wiring: Wiring) -> str:
    """Sign the desired statement for another pull/statement; return what came of it, empty where there is none.

    Raises UsageError for a key that may not, RegistryError.
    """
    if not any_pulls(wiring):
        return ""
    trust = wiring.desired.trust
    key = trust.advance_with or trust.sign_with
    found = renewed(office(wiring), wiring.clock.now(), wiring.desired.pull.statement, key)
    if found.followed is None or not found.counts:
        return f"the desired statement was not renewed: {found.problem}"
    desired = found.followed.desired
    return f"the desired statement of rollout {desired.rollout_id} counts until {at(desired.expires_at)}"
