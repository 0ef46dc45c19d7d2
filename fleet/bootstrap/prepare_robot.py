"""Make a machine a robot: pin its host key, check its host, install the updater. Safe to run again at any time."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.bootstrap.host_facts import PROBE, HostFacts, facts_from_probe, host_notes, host_problems
from fleet.bootstrap.loopback import open_loopback_of
from fleet.bootstrap.registry_access import RegistryAccess, install_access
from fleet.bootstrap.systemd_unit import UNIT, UNIT_PATH
from fleet.bootstrap.trust_files import install_trust
from fleet.bootstrap.updater_package import launcher_text
from fleet.errors import RobotError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.link.robot import RobotClient
from fleet.ports import Clock, RobotAddress, RobotShell, RobotShells
from runtime.contract.robot.update import COMMAND_PATH, ROBOT_DIR, SOCKET_PATH, UPDATER_PATH

IDENTITY_PATH = f"{ROBOT_DIR}/state/robot.json"
START_DEADLINE_S = 45.0
TRIAL_S = 90.0
"""So long a new updater may take until it is proven; then the robot starts the one before by itself."""
_RETURN_S = 30.0
_POLL_S = 0.5

WRAPPER = f"""#!/bin/sh
exec /usr/bin/python3 -I {UPDATER_PATH} "$@"
"""


@dataclass(frozen=True, slots=True)
class BootstrapReport:
    """What was done with one robot."""

    robot: str
    fingerprint: str
    """Of the pinned host key."""
    updater_version: str
    changed: bool
    """False: everything was there already."""
    notes: tuple[str, ...] = ()


def bootstrap(
    robot: RobotAddress,
    fleet: str,
    shells: RobotShells,
    clock: Clock,
    *,
    zipapp: bytes,
    version: str,
    accept_new_host_key: bool = False,
    on_step: Callable[[str], None] = lambda _step: None,
    trial_s: float = TRIAL_S,
    trust: Mapping[str, bytes] | None = None,
    access: RegistryAccess | None = None,
    open_loopback: bool = False,
) -> BootstrapReport:
    """Do everything that is not done yet and wait until the updater answers.

    ``zipapp`` and its ``version`` come from `updater_package`, ``trust`` from `trust_files`, ``access`` to the registry
    from `registry_access`; None of these two leaves the robot's as it is. ``open_loopback``: the Engine's settings may
    be changed, so that it speaks plain HTTP to 127.0.0.1. An updater that takes the place of another
    one is on trial: only once it has answered over a new connection is it told to stay, otherwise the one before
    returns within ``trial_s``. Raises RobotOffline, HostKeyError, and RobotError with everything that must be put right
    at the robot first, when it is in the middle of an update, or when a new updater did not prove itself.
    """
    on_step("host key")
    fingerprint = shells.learn_host_key(robot, replace=accept_new_host_key)
    on_step("checking the host")
    shell = shells.connect(robot)
    try:
        facts = _checked_facts(robot, shell, clock)
        if facts.updater_version not in ("", version):
            _refuse_when_busy(robot, shells, clock)
        on_step("installing the updater")
        done = _install(robot, fleet, shell, facts, zipapp, version, trial_s)
        changed = done.changed
        if trust is not None:
            changed |= install_trust(robot, fleet, shell, trust, as_root=facts.is_root)
        if access is not None:
            changed |= install_access(robot, fleet, shell, access, as_root=facts.is_root)
        if open_loopback and facts.docker.closed_loopback:
            on_step("letting Docker speak plainly to 127.0.0.1")
            changed |= open_loopback_of(robot, shell, as_root=facts.is_root)
            facts = _checked_facts(robot, shell, clock)
    finally:
        shell.close()
    on_step("waiting for the updater to answer")
    client = RobotClient(robot, shells, clock)
    try:
        if done.trial:
            _prove(client, clock, version, clock.monotonic() + trial_s)
        else:
            _wait_for_updater(client, clock, version, done.supervised)
    finally:
        client.close()
    return BootstrapReport(robot.name, fingerprint, version, changed, tuple(host_notes(facts)))


def _checked_facts(robot: RobotAddress, shell: RobotShell, clock: Clock) -> HostFacts:
    # As an argument, not as input: some shells read their program ahead of what it starts.
    result = shell.run(["sh", "-c", PROBE], timeout_s=60.0)
    facts = facts_from_probe(result.stdout, robot.user, clock.now())
    if not facts.complete:
        raise RobotError(
            robot.name,
            f"its host cannot be checked: {words_of(result)}",
            hint=f"see what it says to: fleet exec --robots {robot.name} -- id",
        )
    problems = host_problems(facts)
    if problems:
        raise RobotError(
            robot.name,
            "; ".join(problem.what for problem in problems),
            hint="at the robot: " + " · ".join(problem.do for problem in problems),
        )
    return facts


def _refuse_when_busy(robot: RobotAddress, shells: RobotShells, clock: Clock) -> None:
    client = RobotClient(robot, shells, clock)
    try:
        seen = client.observe()
    finally:
        client.close()
    if seen.busy and seen.state is not None:
        raise RobotError(
            robot.name,
            f"an update is in progress ({seen.state.state}): its updater is not replaced now",
            hint=f"wait for its end (fleet status --robots {robot.name}), then run bootstrap again",
        )


@dataclass(frozen=True, slots=True)
class _Installed:
    """What was done at the robot."""

    changed: bool
    supervised: bool
    """Somebody else than systemd must run the updater."""
    trial: bool
    """The updater took the place of another one and is not proven yet."""


def _install(
    robot: RobotAddress,
    fleet: str,
    shell: RobotShell,
    facts: HostFacts,
    zipapp: bytes,
    version: str,
    trial_s: float,
) -> _Installed:
    """Install as root."""
    source = f"/tmp/fleet-updater-{uuid.uuid4().hex}.pyz"  # noqa: S108  (its digest is checked again as root)
    shell.put(zipapp, source)
    parameters = {
        "source": source,
        "sha256": hashlib.sha256(zipapp).hexdigest(),
        "target": UPDATER_PATH,
        "command": COMMAND_PATH,
        "identity": IDENTITY_PATH,
        "robot": robot.name,
        "fleet": fleet,
        "socket": SOCKET_PATH,
        "unit": UNIT_PATH,
        "unit_text": UNIT,
        "wrapper_text": WRAPPER,
        "launcher_text": launcher_text(),
        "version": version,
        "trial_s": f"{trial_s:g}",
    }
    program = Path(__file__).with_name("remote_install.py")
    result = run_program(shell, program, parameters, as_root=facts.is_root, timeout_s=120.0)
    if result.exit_code != 0:
        shell.run(["rm", "-f", source])
        raise RobotError(
            robot.name,
            f"the updater cannot be installed: {words_of(result)}",
            hint=_install_hint(result.exit_code),
        )
    done = answer_of(robot.name, result, "the updater's installation")
    return _Installed(bool(done.get("changed")), done.get("service") != "systemd", bool(done.get("trial")))


def _install_hint(exit_code: int) -> str:
    if exit_code == 3:
        return f"check the robot's host in the manifest; to give the machine another name, remove {IDENTITY_PATH} there"
    return "check the robot's disk and systemd: fleet exec -- systemctl status fleet-updater"


def _wait_for_updater(client: RobotClient, clock: Clock, version: str, supervised: bool) -> None:
    deadline = clock.monotonic() + START_DEADLINE_S
    while True:
        seen = client.observe()
        if seen.state is not None and seen.state.updater_version == version:
            return
        if clock.monotonic() >= deadline:
            break
        clock.sleep(_POLL_S)
    last = seen.error or f"version {seen.state.updater_version if seen.state else 'none'} answers"
    start = f"start it and keep it running: sudo /usr/bin/python3 -I {UPDATER_PATH} serve"
    raise RobotError(
        client.name,
        f"the updater {version} did not answer within {START_DEADLINE_S:g} s ({last})",
        hint=f"this host has no systemd; {start}" if supervised else "at the robot: journalctl -u fleet-updater",
    )


def _prove(client: RobotClient, clock: Clock, version: str, deadline: float) -> None:
    """Tell a new updater that answers to stay; otherwise wait until the one before is back, and say so.

    The robot decides: it counts the new one's starts and the time. ``deadline`` is when that time is over, on our
    monotonic clock.
    """
    refused, last, known = "", "", False
    while clock.monotonic() < deadline + _RETURN_S:
        seen = client.observe()
        if seen.state is not None and seen.state.updater_version == version and not known:
            known = True
            refused = _keep(client, version)
            if not refused:
                return
        elif seen.state is not None and (failed := client.updater_trial_failed()):
            raise _returned(client.name, version, seen.state.updater_version, refused or failed)
        last = seen.error or last
        clock.sleep(_POLL_S)
    raise RobotError(
        client.name,
        f"the updater {version} did not prove itself ({refused or last}), and the one before did not return",
        hint="at the robot: journalctl -u fleet-updater; docs/robot-recovery.md",
    )


def _keep(client: RobotClient, version: str) -> str:
    """Let the updater that answers stay, over a connection opened for it; return why it does not."""
    client.close()
    try:
        client.keep_updater(version)
    except RobotError as error:
        return error.words
    return ""


def _returned(robot: str, version: str, before: str, why: str) -> RobotError:
    return RobotError(
        robot,
        f"the updater {version} did not prove itself: {why}; the one before ({before}) runs again",
        hint="what the robot runs was not touched; at the robot: journalctl -u fleet-updater; then correct the updater",
    )
