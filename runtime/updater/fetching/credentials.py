"""Who we are at a registry: what `docker login` left for root on this robot."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.updater.fetching.errors import Cannot

HELPER_S = 20.0


@dataclass(frozen=True)
class Credentials:
    """A user with a password, or a token that is exchanged for others."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def basic(self) -> str:
        """Return the header of basic authentication."""
        return "Basic " + base64.b64encode("{}:{}".format(self.user, self.password).encode("utf-8")).decode("ascii")


def config_folder() -> Path:
    """Return the folder of the docker client's configuration."""
    told = os.environ.get("DOCKER_CONFIG")
    return Path(told) if told else Path(os.environ.get("HOME", "/root")) / ".docker"


def credentials_for(host: str, folder: Path) -> Optional[Credentials]:
    """Return what the docker client would use for ``host``; None: nobody. Raises Cannot for what we cannot read."""
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        config = decode_object(path.read_bytes(), str(path), WORDS)
    except OSError as error:
        raise Cannot("{} cannot be read: {}".format(path, error)) from error
    except ContractError as error:
        raise Cannot(str(error)) from error
    helper = (config.get("credHelpers") or {}).get(host) or config.get("credsStore")
    found = _from_helper(str(helper), host) if helper else None
    return found or _from_file(config.get("auths") or {}, host)


def _from_file(auths: Dict[str, Any], host: str) -> Optional[Credentials]:
    for name, entry in auths.items():
        plain = name.split("://", 1)[-1].split("/", 1)[0]
        if plain != host or not isinstance(entry, dict):
            continue
        if entry.get("identitytoken"):
            return Credentials(identity_token=str(entry["identitytoken"]))
        if entry.get("auth"):
            user, _, password = base64.b64decode(str(entry["auth"])).decode("utf-8").partition(":")
            return Credentials(user, password)
        if entry.get("username"):
            return Credentials(str(entry["username"]), str(entry.get("password", "")))
    return None


def _from_helper(name: str, host: str) -> Optional[Credentials]:
    command = "docker-credential-" + name
    try:
        ran = subprocess.run(
            [command, "get"], input=host.encode("utf-8"), capture_output=True, timeout=HELPER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Cannot("{} does not answer: {}".format(command, error)) from error
    if ran.returncode != 0:
        return None  # the docker client goes on without, too
    try:
        answer = decode_object(ran.stdout, command, WORDS)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ContractError, KeyError) as error:
        raise Cannot("{} answers what we do not understand".format(command)) from error
    return Credentials(identity_token=secret) if user == "<token>" else Credentials(user, secret)
