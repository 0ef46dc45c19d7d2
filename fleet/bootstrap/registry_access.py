"""What a robot needs to pull from a private registry: its authority, and a login that may only read."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.bootstrap.secret import read_secret
from fleet.errors import RobotError, UsageError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.manifest.schema.registry_schema import RegistryRef, RobotsLogin
from fleet.ports import RobotAddress, RobotShell
from runtime.contract.registry.docker_logins import server_key
from runtime.contract.robot.update import REGISTRY_FOLDER, ROBOT_DIR

IDENTITY_PATH = f"{ROBOT_DIR}/state/robot.json"
LOGIN_DIR = f"{ROBOT_DIR}/{REGISTRY_FOLDER}"
CERTS_DIR = "/etc/docker/certs.d"
PROGRAM = Path(__file__).with_name("remote_registry.py")


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """The same for every robot. None of it is ever printed."""

    host: str
    """``registry.example:5000``, as image references carry it."""
    authority: bytes | None = None
    """PEM; None: robots trust what their machine trusts."""
    helper: str | None = None
    login: dict[str, Any] | None = field(default=None, repr=False)
    """A docker client's config.json; None: robots' own `docker login`."""

    @property
    def is_given(self) -> bool:
        """Whether the manifest gives robots anything."""
        return self.authority is not None or self.login is not None


def registry_access(reference: RegistryRef) -> RegistryAccess:
    """Read authority and password where the manifest says they are. Raises UsageError."""
    authority = None
    if reference.ca_file is not None:
        try:
            authority = Path(reference.ca_file).read_bytes()
        except OSError as error:
            raise UsageError(
                f"{reference.ca_file} cannot be read: {error.strerror or error}", hint="correct registry.ca_file"
            ) from error
    login = reference.robots
    if login is None:
        return RegistryAccess(reference.host, authority)
    return RegistryAccess(reference.host, authority, login.helper, _config(server_key(reference.host), login))


def _config(server: str, login: RobotsLogin) -> dict[str, Any]:
    if login.helper is not None:
        return {"credHelpers": {server: login.helper}}
    assert login.password is not None, "the schema wants a helper, or user and password"
    pair = f"{login.username}:{read_secret(login.password, 'registry.robots.password')}"
    return {"auths": {server: {"auth": base64.b64encode(pair.encode()).decode("ascii")}}}


def install_access(
    robot: RobotAddress, fleet: str, shell: RobotShell, access: RegistryAccess, *, as_root: bool
) -> bool:
    """Make the robot have this access and no other of ours; return whether that changed anything. Raises RobotError.

    ``as_root``: the connection is root's already. The password goes over the connection's stdin into a file that is
    root's alone (0600); it is in no argument, order, journal or log.
    """
    authority = None if access.authority is None else base64.b64encode(access.authority).decode("ascii")
    parameters = {
        "identity": IDENTITY_PATH,
        "robot": robot.name,
        "fleet": fleet,
        "host": access.host,
        "certs": CERTS_DIR,
        "authority": authority,
        "folder": LOGIN_DIR,
        "login": access.login,
        "helper": access.helper,
        # The digest of all this is an argument at the robot, and a password alone could be guessed from it.
        "salt": secrets.token_hex(16),
    }
    result = run_program(shell, PROGRAM, parameters, as_root=as_root, timeout_s=60.0)
    what = f"its access to {access.host} cannot be set up"
    if result.exit_code != 0:
        said = words_of(result)
        raise RobotError(robot.name, f"{what}: {said}", hint=_hint(robot, access, said))
    return bool(answer_of(robot.name, result, what).get("changed"))


def _hint(robot: RobotAddress, access: RegistryAccess, said: str) -> str:
    if access.helper is not None and "docker-credential-" in said:
        return f"install docker-credential-{access.helper} there, or correct registry.robots.helper in fleet.yaml"
    if "machine" in said:
        return f"fleet bootstrap --robots {robot.name}"
    return "check sudo and the robot's disk"
