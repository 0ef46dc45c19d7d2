"""Whether a robot can pull: asked at the robot, as its updater would, with the login that it has or is to get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.bootstrap.registry_access import LOGIN_DIR, registry_access
from fleet.errors import UsageError
from fleet.link.host_docker import HostProblem
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.manifest.schema.registry_schema import RegistryRef
from fleet.ports import RobotShell

PROGRAM = Path(__file__).with_name("remote_registry_check.py")
_TIMEOUT_S = 60.0
CONFIGS = (f"{LOGIN_DIR}/config.json", "~root/.docker/config.json")
"""Logins that a robot has already: what bootstrap brought, else root's own."""


def check_registry(
    robot: str,
    shell: RobotShell,
    reference: RegistryRef,
    *,
    as_root: bool,
    trusted: bool,
    configs: tuple[str, ...] = CONFIGS,
) -> tuple[tuple[HostProblem, ...], tuple[str, ...]]:
    """Return what keeps the robot from pulling, and notes. Raises RobotError when the link fails.

    ``trusted``: its host key is pinned; the manifest's login is not given to a machine that nobody vouches for.
    """
    if not trusted and reference.robots is not None:
        return (), (f"its login to {reference.host} is checked when its host key is pinned: after fleet bootstrap",)
    try:
        access = registry_access(reference)
    except UsageError as error:
        return (HostProblem(error.message, error.hint),), ()
    parameters: dict[str, Any] = {
        "host": reference.host,
        "plain_http": reference.plain_http,
        "repository": f"{reference.prefix}/releases",
        "authority": None if access.authority is None else access.authority.decode("utf-8", "replace"),
        "login": access.login,
        "configs": configs,
    }
    result = run_program(shell, PROGRAM, parameters, as_root=as_root, timeout_s=_TIMEOUT_S)
    if result.exit_code != 0:
        return (), (f"whether it can pull from {reference.host} is not known: {words_of(result)}",)
    said = answer_of(robot, result, "the check of its registry login")
    why, whose = str(said.get("why") or ""), str(said.get("login") or "none")
    if not why:
        return (), (f"it can pull from {reference.host} (login: {whose})",)
    return (HostProblem(f"it cannot pull from {reference.host}: {why} (login: {whose})", _do(said, reference)),), ()


def _do(said: dict[str, Any], reference: RegistryRef) -> str:
    if not said.get("reached"):
        return f"curl -v {'http' if reference.plain_http else 'https'}://{reference.host}/v2/ at the robot says why"
    if reference.robots is None:
        return f"name registry.robots in fleet.yaml, or at the robot: sudo docker login {reference.host}"
    return "correct registry.robots in fleet.yaml: the account must be able to pull; then fleet bootstrap"
