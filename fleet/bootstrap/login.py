"""The operator's login at a robot: it may ask the updater, and is not root, unless that is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fleet.errors import RobotError
from fleet.link.host_docker import HostProblem
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.manifest.schema.manifest_schema import Profile
from fleet.ports import RobotAddress, RobotShell
from runtime.contract.robot.update import OPERATORS_GROUP, ROBOT_DIR, SOCKET_PATH

PROGRAM = Path(__file__).with_name("remote_login.py")
KEEP = "leave the login its rights: fleet bootstrap --privileged-login"


@dataclass(frozen=True, slots=True)
class LoginRights:
    """What a robot's host says of the login."""

    changed: bool
    rights: str
    """What makes it root; empty for nothing."""
    console: tuple[str, ...]
    """Who else can become root at the console."""


def look_at_login(robot: RobotAddress, shell: RobotShell) -> LoginRights:
    """Say what the login may do, and change nothing. Raises RobotError."""
    return _run(robot, shell, "look")


def join_operators(robot: RobotAddress, shell: RobotShell) -> LoginRights:
    """Put the login into the group whose members may ask the updater. Raises RobotError."""
    return _run(robot, shell, "join")


def drop_rights(robot: RobotAddress, shell: RobotShell) -> LoginRights:
    """Take root's rights from the login. Raises RobotError: nobody else could become root there."""
    return _run(robot, shell, "drop")


def builds_here(robot: RobotAddress, profiles: Iterable[Profile]) -> str:
    """Return the profile whose builder is this login, over ``ssh://``; empty: none is."""
    for profile in profiles:
        place = urlsplit(profile.builder.endpoint)
        same = place.hostname in (robot.host.lower(), robot.name.lower()) and place.username in (None, robot.user)
        if place.scheme == "ssh" and same:
            return profile.name
    return ""


def why_kept(robot: RobotAddress, found: LoginRights, builds: str) -> HostProblem | None:
    """Return why the login's rights cannot be taken away; None: it has none, or nobody needs them.

    ``builds``: what `builds_here` returned.
    """
    if not found.rights:
        return None
    if builds:
        what = f"{robot.user} builds engines there over ssh:// (profile {builds}), for which it needs the group docker"
        return HostProblem(what, f"{KEEP}; or give builder.endpoint of {builds} another machine or another user")
    if found.console:
        return None
    what = (
        f"only {robot.user} could become root at its console (no other account with sudo, and root has no "
        "password), so its rights are not taken away"
    )
    return HostProblem(what, f"at the robot: sudo passwd root; or {KEEP}")


def refuse_to_take(robot: RobotAddress, found: LoginRights, builds: str) -> None:
    """Raises RobotError when the login's rights cannot be taken away, before anything is changed."""
    if problem := why_kept(robot, found, builds):
        raise RobotError(robot.name, problem.what, hint=problem.do)


def _run(robot: RobotAddress, shell: RobotShell, do: str) -> LoginRights:
    parameters = {
        "user": robot.user,
        "group": OPERATORS_GROUP,
        "socket": SOCKET_PATH,
        "state": f"{ROBOT_DIR}/state",
        "etc": "/etc",
        "do": do,
    }
    result = run_program(shell, PROGRAM, parameters, as_root=False, timeout_s=120.0)
    if result.exit_code != 0:
        raise RobotError(robot.name, f"its login {robot.user}: {words_of(result)}", hint=f"put that right; or {KEEP}")
    found = answer_of(robot.name, result, "its login")
    console = found.get("console")
    names = tuple(str(each) for each in console) if isinstance(console, list) else ()
    return LoginRights(bool(found.get("changed")), str(found.get("rights") or ""), names)
