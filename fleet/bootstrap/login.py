"""The operator's login at a robot: it may ask the updater, and is not root, unless that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.errors import RobotError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.ports import RobotAddress, RobotShell
from runtime.contract.robot.update import OPERATORS_GROUP, ROBOT_DIR, SOCKET_PATH

PROGRAM = Path(__file__).with_name("remote_login.py")
KEEP = "or leave the login its rights: fleet bootstrap --privileged-login"


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


def refuse_lockout(robot: RobotAddress, found: LoginRights) -> None:
    """Raises RobotError when nobody but the login could become root at the console, before anything is changed."""
    if found.rights and not found.console:
        raise RobotError(
            robot.name,
            f"only {robot.user} could become root at its console (no other account with sudo, and root has no "
            "password), so its rights are not taken away",
            hint=f"at the robot: sudo passwd root; {KEEP}",
        )


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
        raise RobotError(robot.name, f"its login {robot.user}: {words_of(result)}", hint=f"put that right; {KEEP}")
    found = answer_of(robot.name, result, "its login")
    console = found.get("console")
    names = tuple(str(each) for each in console) if isinstance(console, list) else ()
    return LoginRights(bool(found.get("changed")), str(found.get("rights") or ""), names)
