"""What the agent takes from its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.codec import ContractError, from_json
from runtime.contract.node.runtime_config import (
    CONFIG_PATH,
    DEFAULT_HEALTH_PORT,
    ENV_HEALTH_PORT,
    ENV_IMAGE,
    ENV_RELEASE,
    ENV_ROBOT,
    NODE_DIR,
    RuntimeConfig,
)
from runtime.contract.node.serving import ENV_NODE_DIR, ENV_SERVE_DIR, ENV_SLOT, SERVE_DIR_INSIDE, TOKEN, health_socket
from runtime.contract.robot.power import ENV_POWER, POWER_SOCKET, PowerPolicy

#: Another configuration file than the image's (laptops and tests).
ENV_CONFIG = "JETFLEET_CONFIG"
#: Prefixed to /proc and /sys (tests).
ENV_ROOT = "JETFLEET_HOST_ROOT"
#: Seconds between a SIGTERM to the agent and the SIGKILL of its executor. Docker gives the container ten.
ENV_STOP_TIMEOUT = "JETFLEET_STOP_TIMEOUT_S"
DEFAULT_STOP_TIMEOUT_S = 7.0
#: Another socket of the host's updater (tests).
ENV_POWER_SOCKET = "JETFLEET_POWER_SOCKET"


class SettingsError(ValueError):
    """An environment variable or the configuration file is unusable. The message says which, and what to do."""


@dataclass(frozen=True)
class AgentSettings:
    """Where the agent finds things and what it is called."""

    config_path: Path
    robot: str
    release: str
    image: str
    port: int
    stop_timeout_s: float
    root: Path = Path("/")
    power: PowerPolicy | None = None
    power_socket: Path = Path(POWER_SOCKET)
    slot: str = ""
    token: Path = Path(SERVE_DIR_INSIDE) / TOKEN
    own_socket: Path = Path(NODE_DIR) / health_socket("")
    """Where this agent answers whichever container has the port."""
    executor: tuple[str, ...] = (sys.executable, "-m", "runtime.executor")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> AgentSettings:
        """Read the environment. Raises SettingsError."""
        return cls(
            config_path=Path(environment.get(ENV_CONFIG) or CONFIG_PATH),
            robot=environment.get(ENV_ROBOT, ""),
            release=environment.get(ENV_RELEASE, ""),
            image=environment.get(ENV_IMAGE, ""),
            port=_port(environment.get(ENV_HEALTH_PORT) or str(DEFAULT_HEALTH_PORT)),
            stop_timeout_s=_seconds(environment.get(ENV_STOP_TIMEOUT) or str(DEFAULT_STOP_TIMEOUT_S)),
            root=Path(environment.get(ENV_ROOT) or "/"),
            power=_policy(environment.get(ENV_POWER, "")),
            power_socket=Path(environment.get(ENV_POWER_SOCKET) or POWER_SOCKET),
            slot=environment.get(ENV_SLOT, ""),
            token=Path(environment.get(ENV_SERVE_DIR) or SERVE_DIR_INSIDE) / TOKEN,
            own_socket=Path(environment.get(ENV_NODE_DIR) or NODE_DIR) / health_socket(environment.get(ENV_SLOT, "")),
        )


def load_config(path: Path) -> RuntimeConfig:
    """Read a RuntimeConfig. Raises SettingsError with the path and the offending key."""
    try:
        return from_json(RuntimeConfig, path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"cannot read the runtime configuration {path}: {error.strerror}; "
            f"it is part of the image (elsewhere set {ENV_CONFIG})"
        ) from error
    except ContractError as error:
        raise SettingsError(f"{path}: {error}; publish the release again with the `fleet` of this image") from error


def _port(text: str) -> int:
    if text.isdigit() and int(text) < 65536:
        return int(text)
    raise SettingsError(f"{ENV_HEALTH_PORT}={text!r} is not a TCP port: give a number from 0 (any free port) to 65535")


def _policy(text: str) -> PowerPolicy | None:
    try:
        return from_json(PowerPolicy, text) if text else None
    except ContractError as error:
        raise SettingsError(
            f"{ENV_POWER} cannot be read: {error}; it comes from the manifest: publish the release again with the "
            "`fleet` of this image"
        ) from error


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0.0 < value <= 3600.0:
        return value
    raise SettingsError(f"{ENV_STOP_TIMEOUT}={text!r} is not a time: give seconds, more than 0 and at most 3600")
