"""Make a machine a robot: pin its host key, check its host, install the updater. Safe to run again at any time."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.bootstrap.host_facts import PROBE, HostFacts, facts_from_probe, host_notes, host_problems
from fleet.bootstrap.login import LoginRights, drop_rights, join_operators, look_at_login, refuse_to_take
from fleet.bootstrap.loopback import open_loopback_of
from fleet.bootstrap.pull_setup import PullSetup
from fleet.bootstrap.registry_access import RegistryAccess, install_access
from fleet.bootstrap.systemd_unit import UNIT, UNIT_PATH
from fleet.bootstrap.updater_package import launcher_text
from fleet.errors import RobotError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.link.robot import RobotClient
from fleet.ports import Clock, RobotAddress, RobotShell, RobotShells
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import (
    ACTIVE_STATES,
    COMMAND_PATH,
    ROBOT_DIR,
    SOCKET_PATH,
    UPDATER_PATH,
    UpdateState,
)

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
    host_key: str = ""
    """The public key that signs its reports; empty for a robot that does not report."""
    login: str = ""
    """Why the operators' login is root at the robot; empty when it is not."""


@dataclass(frozen=True, slots=True)
class SignedTrust:
    """What a robot believes because it is signed: the fleet's roots, oldest first, and the statement of its updater."""

    roots: Sequence[Signed]
    updater: Signed | None = None
    """None in an unsigned fleet."""


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
    trust: SignedTrust | None = None,
    access: RegistryAccess | None = None,
    privileged_login: bool = True,
    open_loopback: bool = False,
    builds: str = "",
    pull: PullSetup | None = None,
) -> BootstrapReport:
    """Do everything that is not done yet and wait until the updater answers.

    ``zipapp`` and its ``version`` come from `updater_package`, ``access`` to the registry from `registry_access`; None
    of ``trust`` or ``access`` leaves the robot's as it is. A robot without an updater, and one whose updater knows no
    trust root, gets it from root's hands (sudo), and believes the first root that it is brought. Any other one judges
    root and updater by itself, over its socket, whoever logs in. An updater that takes the place of another one is on
    trial: only once it has answered over a new connection is it told to stay, otherwise the one before returns within
    ``trial_s``. Unless ``privileged_login``, the login is no longer root then: in neither sudo nor the group docker;
    with ``builds``, a profile whose engines that login builds there, it is refused.
    ``open_loopback``: the Engine's settings may be changed, so that it speaks plain HTTP to 127.0.0.1. ``pull``: what
    it is told of registry and hub; None leaves that as it is.
    Raises RobotOffline, HostKeyError, and RobotError with everything that must be put right at the robot
    first, when it is in the middle of an update, when it refuses root or updater, or when a new updater did not prove
    itself.
    """
    on_step("host key")
    fingerprint = shells.learn_host_key(robot, replace=accept_new_host_key)
    on_step("checking the host")
    client = RobotClient(robot, shells, clock)
    shell = shells.connect(robot)
    try:
        facts = _facts(robot, shell, clock)
        seen = client.observe().state if facts.updater_version else None
        judges = seen if seen is not None and seen.has_root else None
        _refuse_problems(robot, facts, judges=judges is not None, privileged=privileged_login)
        if seen is not None and seen.state in ACTIVE_STATES and seen.updater_version != version:
            raise _busy(robot, seen)
        taking = facts.root and not facts.is_root and not privileged_login
        if taking:
            _join(robot, shell, client, builds)
        on_step("installing the updater")
        signed = trust.updater if trust else None
        done = (
            _install(robot, fleet, shell, facts, zipapp, version, trial_s, signed)
            if judges is None
            else _bring(client, judges, zipapp, version, trial_s, trust)
        )
        notes = host_notes(facts)
        changed = done.changed | _access(robot, fleet, shell, facts, access, notes)
        if open_loopback and facts.root and facts.docker.closed_loopback:
            on_step("letting Docker speak plainly to 127.0.0.1")
            changed |= open_loopback_of(robot, shell, as_root=facts.is_root)
            notes = host_notes(_facts(robot, shell, clock))
    finally:
        shell.close()
        client.close()
    on_step("waiting for the updater to answer")
    try:
        if done.trial:
            _prove(client, clock, version, clock.monotonic() + trial_s)
        else:
            _wait_for_updater(client, clock, version, done.supervised)
        if trust is not None and judges is None:
            changed |= client.take_root(trust.roots)
            client.take_updater(b"", trust.updater, version, trial_s)
            notes.append("it took the first trust root that it was brought")
        key = "" if pull is None else _pull(client, pull, on_step)
        rights = "root logs in" if facts.is_root else f"{robot.user} has sudo" if facts.root else ""
        if taking:
            on_step("taking root's rights from the login")
            dropped = _drop(robot, shells, client)
            changed, rights = changed or dropped.changed, dropped.rights
    finally:
        client.close()
    return BootstrapReport(robot.name, fingerprint, version, changed, tuple(notes), key, rights)


def _pull(client: RobotClient, pull: PullSetup, on_step: Callable[[str], None]) -> str:
    """Tell the robot of registry and hub, or that there are none any more; return the key that signs its reports."""
    if pull.settings is None and client.status().pull is None:
        return ""
    on_step("registry and hub")
    return client.take_pull(pull.settings, pull.authority)


def _access(
    robot: RobotAddress,
    fleet: str,
    shell: RobotShell,
    facts: HostFacts,
    access: RegistryAccess | None,
    notes: list[str],
) -> bool:
    """Give access to the registry where the login is root; otherwise note that it is left as it is."""
    if access is None:
        return False
    if facts.root:
        return install_access(robot, fleet, shell, access, as_root=facts.is_root)
    if access.is_given:
        notes.append(f"the registry's authority and login are left as they are: {robot.user} is not root here")
    return False


def _join(robot: RobotAddress, shell: RobotShell, client: RobotClient, builds: str) -> None:
    """Let the login ask the updater without being root. Raises RobotError when its rights are needed."""
    refuse_to_take(robot, look_at_login(robot, shell), builds)
    join_operators(robot, shell)
    client.close()  # a login is in the groups that it had when it began


def _drop(robot: RobotAddress, shells: RobotShells, client: RobotClient) -> LoginRights:
    """Take root's rights from the login, and ask the updater over a new connection: that must go on."""
    shell = shells.connect(robot)
    try:
        dropped = drop_rights(robot, shell)
    finally:
        shell.close()
    client.close()
    client.status()
    return dropped


def _bring(
    client: RobotClient, seen: UpdateState, zipapp: bytes, version: str, trial_s: float, trust: SignedTrust | None
) -> _Installed:
    """Bring root and updater to a robot that judges them by itself."""
    changed = client.take_root(trust.roots) if trust is not None else False
    if seen.updater_version == version:
        return _Installed(changed, False, False)
    on_trial = client.take_updater(zipapp, trust.updater if trust is not None else None, version, trial_s)
    return _Installed(True, False, on_trial)


def _facts(robot: RobotAddress, shell: RobotShell, clock: Clock) -> HostFacts:
    # As an argument, not as input: some shells read their program ahead of what it starts.
    result = shell.run(["sh", "-c", PROBE], timeout_s=60.0)
    facts = facts_from_probe(result.stdout, robot.user, clock.now())
    if not facts.complete:
        raise RobotError(
            robot.name,
            f"its host cannot be checked: {words_of(result)}",
            hint=f"see what it says to: fleet exec --robots {robot.name} -- id",
        )
    return facts


def _refuse_problems(robot: RobotAddress, facts: HostFacts, *, judges: bool, privileged: bool) -> None:
    problems = host_problems(facts, judges=judges, privileged=privileged)
    if problems:
        raise RobotError(
            robot.name,
            "; ".join(problem.what for problem in problems),
            hint="at the robot: " + " · ".join(problem.do for problem in problems),
        )


def _busy(robot: RobotAddress, seen: UpdateState) -> RobotError:
    return RobotError(
        robot.name,
        f"an update is in progress ({seen.state}): its updater is not replaced now",
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
    signed: Signed | None,
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
        "signed": "" if signed is None else canonical_json(signed).decode(),
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
