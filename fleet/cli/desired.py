"""What robots that pull are to run, for the verbs: who publishes it, with which keys, and that it does not expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.cli.wiring import Wiring
from fleet.errors import FleetError
from fleet.resolve.desired import DesiredRobot
from fleet.signing.desired import DesiredStanding, Office, read_desired, renewed
from fleet.signing.intent import at
from fleet.signing.pins import publish_pins, read_pins, with_key
from fleet.signing.pulled_roots import publish_roots
from fleet.signing.roots import judge_with
from runtime.contract.robot.desired import Pins
from runtime.contract.robot.trust import Signed


def office(wiring: Wiring) -> Office:
    """Return whoever publishes for robots that pull. Raises NotSigned, UsageError for a root that is broken."""
    root, signer = wiring.root_standing.wanted, wiring.signer
    return Office(wiring.registry, wiring.desired.registry.prefix, root, judge_with(signer), signer)


def any_pulls(wiring: Wiring) -> bool:
    """Whether a robot of the manifest comes for its release."""
    return any(robot.link == "pull" for robot in wiring.desired.robots)


def by_ssh(robots: Sequence[DesiredRobot]) -> tuple[tuple[DesiredRobot, ...], tuple[DesiredRobot, ...]]:
    """Return the robots that have a host for SSH, and those that pull and have none."""
    reached = tuple(robot for robot in robots if robot.address.host)
    return reached, tuple(robot for robot in robots if not robot.address.host)


def desired_of(wiring: Wiring) -> DesiredStanding | None:
    """Return what the registry says; None in a fleet without robots that pull. Raises RegistryError."""
    return read_desired(office(wiring), wiring.clock.now()) if any_pulls(wiring) else None


def bring_roots(wiring: Wiring, roots: Sequence[Signed]) -> bool:
    """Put the fleet's trust roots where robots that pull look; return whether that changed anything.

    Raises RegistryError. An unsigned fleet has none to bring.
    """
    trust = wiring.desired.trust
    return not trust.unsigned and any_pulls(wiring) and publish_roots(office(wiring), roots)


def renew(wiring: Wiring) -> str:
    """Sign the desired statement for another pull/statement; return what came of it, empty where there is none.

    Raises UsageError for a key that may not, RegistryError.
    """
    if not any_pulls(wiring):
        return ""
    trust, standing = wiring.desired.trust, wiring.root_standing
    if not standing.differs:
        bring_roots(wiring, standing.chain)
    key = trust.advance_with or trust.sign_with
    found = renewed(office(wiring), wiring.clock.now(), wiring.desired.pull.statement, key)
    if found.followed is None or not found.counts:
        return f"the desired statement was not renewed: {found.problem}"
    desired = found.followed.desired
    return f"the desired statement of rollout {desired.rollout_id} counts until {at(desired.expires_at)}"


def _with(pins: Pins, name: str, key: str, now: float) -> tuple[Pins, str]:
    """Return the pins with a robot's key, or as they are and why."""
    try:
        return with_key(pins, name, key, now), ""
    except FleetError as error:
        return pins, f"not pinned: {error.message} → {error.hint}"


def pin(wiring: Wiring, keys: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pin the host keys of robots that were just spoken to over SSH; return robots and sentences about what did not go.

    ``keys``: robot → public key. That a robot is not pinned stops nothing: its reports do not count until it is.
    """
    if not keys:
        return []
    said: list[tuple[str, str]] = []
    try:
        publisher = office(wiring)
        before = read_pins(publisher).pins
        pins = before
        for name, key in sorted(keys.items()):
            pins, why = _with(pins, name, key, wiring.clock.now())
            said += [(name, why)] if why else []
        if pins != before:
            done = publish_pins(publisher, pins, wiring.desired.trust.sign_with)
            if done.missing:
                said.append(("", f"the pinned host keys are {done.missing} → further signers: fleet enroll accept"))
    except FleetError as error:
        said.append(("", f"host keys are not pinned, reports do not count yet: {error.message} → {error.hint}"))
    return said
