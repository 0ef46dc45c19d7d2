"""Credentials the way Docker keeps them: `config.json`, credential helpers, identity tokens."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import RegistryAuthError
from runtime.contract.json_decoder import WORDS, ContractError, decode, decode_object

HELPER_TIMEOUT_S = 30.0
#: Docker files Docker Hub's credentials under this name, whatever its API's host is called.
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Credentials:
    """What to show a registry. ``source`` says where it came from; the secrets are never printed."""

    source: str
    username: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """Exchanged for access tokens (OAuth2 refresh token)."""
    registry_token: str = field(default="", repr=False)
    """Sent as it is (`Authorization: Bearer`)."""

    def __str__(self) -> str:
        who = f"user {self.username!r}" if self.username else "a token"
        return f"used {who} from {self.source}"


class DockerCredentials:
    """Looks credentials up in Docker's configuration folder. Raises RegistryAuthError for a broken one."""

    def __init__(self, config_dir: Path, *, helper_timeout_s: float = HELPER_TIMEOUT_S) -> None:
        self.path = config_dir / "config.json"
        self._helper_timeout_s = helper_timeout_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> DockerCredentials:
        """Take DOCKER_CONFIG, otherwise ``~/.docker``."""
        configured = (os.environ if environ is None else environ).get("DOCKER_CONFIG")
        return cls(Path(configured) if configured else Path.home() / ".docker")

    def lookup(self, host: str) -> Credentials | None:
        """Return the credentials for a registry: its own helper, the common helper, then what the file holds."""
        config = self._load()
        key = DOCKER_HUB_KEY if host in _DOCKER_HUB_HOSTS else host
        helpers = config.get("credHelpers")
        own = helpers.get(key) or helpers.get(host) if isinstance(helpers, dict) else None
        if own:
            return self._ask_helper(str(own), key, f"credHelpers → {key}")
        if store := config.get("credsStore"):
            found = self._ask_helper(str(store), key, "credsStore")
            if found:
                return found
        return self._from_auths(config.get("auths"), key)

    def _load(self) -> dict[str, Any]:
        try:
            config = decode(self.path.read_bytes(), "it", WORDS)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RegistryAuthError(
                f"{self.path}: Docker's configuration cannot be read: {error}",
                hint="mend the file, or point DOCKER_CONFIG to another folder",
            ) from error
        return config if isinstance(config, dict) else {}

    def _from_auths(self, auths: Any, key: str) -> Credentials | None:
        for name, entry in auths.items() if isinstance(auths, dict) else ():
            if isinstance(entry, dict) and (name == key or _host_of(name) == _host_of(key)):
                found = self._entry(name, entry)
                if found:
                    return found
        return None

    def _entry(self, name: str, entry: dict[str, Any]) -> Credentials | None:
        source = f"{self.path} (auths → {name})"
        username, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
        if auth := entry.get("auth"):
            try:
                username, _, secret = base64.b64decode(str(auth), validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise RegistryAuthError(
                    f"{source}: its auth value is not base64 of user:password",
                    hint=f"log in again: docker login {name}",
                ) from error
        tokens = {"identity_token": entry.get("identitytoken"), "registry_token": entry.get("registrytoken")}
        known = {k: str(v) for k, v in tokens.items() if v}
        if not (username and secret) and not known:
            return None
        return Credentials(source, username, secret.rstrip("\0"), **known)

    def _ask_helper(self, helper: str, key: str, where: str) -> Credentials | None:
        program = f"docker-credential-{helper}"
        source = f"{program}, named in {self.path} ({where})"
        try:
            done = subprocess.run(  # the name comes from the operator's own configuration, as with `docker`
                [program, "get"], input=key, capture_output=True, text=True, timeout=self._helper_timeout_s, check=False
            )
        except FileNotFoundError as error:
            raise RegistryAuthError(
                f"{source}: not on PATH", hint="install the helper, or take it out of the file"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise RegistryAuthError(
                f"{source}: no answer within {self._helper_timeout_s:.0f} s",
                hint=f"try it by hand: echo {key} | {program} get (it may be asking for a passphrase)",
            ) from error
        except OSError as error:
            raise RegistryAuthError(
                f"{source}: cannot be run: {error}", hint="check the program's permissions"
            ) from error
        if done.returncode != 0:
            _refuse_unless_unknown(source, program, key, done)
            return None
        return _helper_answer(source, done.stdout)


def _refuse_unless_unknown(source: str, program: str, key: str, done: subprocess.CompletedProcess[str]) -> None:
    said = (done.stdout.strip() or done.stderr.strip())[:500]
    # The protocol has no error codes: this sentence is how every helper says that it knows nothing.
    if "credentials not found" in said.lower():
        return
    raise RegistryAuthError(
        f"{source}: failed with exit code {done.returncode}: {said or 'no output'}",
        hint=f"try it by hand: echo {key} | {program} get",
    )


def _helper_answer(source: str, stdout: str) -> Credentials | None:
    try:
        answer = decode_object(stdout, source, WORDS)
        username, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
    except ContractError as error:
        raise RegistryAuthError(f"{source}: its answer is not JSON", hint="update the credential helper") from error
    if not secret:
        return None
    if username == "<token>":
        return Credentials(source, identity_token=secret)
    return Credentials(source, username, secret)


def _host_of(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
