"""Credentials as Docker keeps them: `config.json` of a folder, and the credential helpers that it names.

The file's format is that of the docker client (docs.docker.com/reference/cli/docker/login). A key may go on with a path
(``registry.example/team``), as podman and kaniko write it: it counts for the repositories below, the longest first.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.contract.printable import printable

HELPER_TIMEOUT_S = 30.0
#: Docker files Docker Hub's credentials under this name, whatever its API's host is called.
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_MAX_BYTES = 1 << 20


class LoginError(Exception):
    """Credentials that are there and cannot be used. ``transient``: another try may help."""

    def __init__(self, message: str, hint: str, transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transient = transient


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
        """Say who that is."""
        who = "user {!r}".format(self.username) if self.username else "a token"
        return "used {} from {}".format(who, self.source)

    def basic(self) -> str:
        """Return the header of basic authentication; empty without a user."""
        if not self.username:
            return ""
        pair = "{}:{}".format(self.username, self.secret).encode("utf-8")
        return "Basic " + base64.b64encode(pair).decode("ascii")


class DockerLogins:
    """What one configuration folder knows. Read again at each look-up: a login takes effect at once."""

    def __init__(self, folder: Path, helper_timeout_s: float = HELPER_TIMEOUT_S) -> None:
        self.path = folder / "config.json"
        self._helper_timeout_s = helper_timeout_s

    def lookup(self, host: str, repository: str = "") -> Optional[Credentials]:
        """Return the credentials for a repository of a registry, or None: nobody.

        The helper of the longest key in ``credHelpers`` goes first, then the common ``credsStore``, then ``auths``.
        Raises LoginError for a file or a helper that cannot be used.
        """
        config = self._load()
        helpers = config.get("credHelpers")
        for key, helper in _matching(helpers, host, repository):
            found = self._ask_helper(str(helper), server_key(key), "credHelpers → {}".format(key))
            if found:
                return found
        if config.get("credsStore"):
            found = self._ask_helper(str(config["credsStore"]), server_key(host), "credsStore")
            if found:
                return found
        for key, entry in _matching(config.get("auths"), host, repository):
            found = self._entry(key, entry) if isinstance(entry, dict) else None
            if found:
                return found
        return None

    def knows(self, host: str) -> bool:
        """Say whether the file has an entry for the registry; asks no helper. Raises LoginError as :meth:`lookup`."""
        config = self._load()
        entries = [*_matching(config.get("credHelpers"), host, ""), *_matching(config.get("auths"), host, "")]
        return bool(config.get("credsStore")) or any(value for _, value in entries)

    def _load(self) -> Dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES:
                raise ValueError("it is larger than 1 MiB")
            return decode_object(content, "it", WORDS)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise LoginError(
                "{}: Docker's configuration cannot be read: {}".format(self.path, error),
                "correct the file, or point DOCKER_CONFIG to another folder",
            ) from error

    def _entry(self, key: str, entry: Dict[str, Any]) -> Optional[Credentials]:
        source = "{} (auths → {})".format(self.path, key)
        username, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            try:
                pair = base64.b64decode(str(entry["auth"]), validate=True).decode("utf-8")
            except (binascii.Error, ValueError) as error:
                raise LoginError(
                    "{}: its auth value is not base64 of user:password".format(source),
                    "log in again: docker login {}".format(key),
                ) from error
            username, _, secret = pair.partition(":")
        identity, registry = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
        if not (username and secret) and not identity and not registry:
            return None
        return Credentials(source, username, secret.rstrip("\0"), identity, registry)

    def _ask_helper(self, helper: str, server: str, where: str) -> Optional[Credentials]:
        program = "docker-credential-" + helper
        source = "{}, named in {} ({})".format(program, self.path, where)
        try:
            done = subprocess.run(  # the name is of the docker client's own configuration; the client runs it as well
                [program, "get"],
                input=server.encode("utf-8"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=self._helper_timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise LoginError(
                "{}: not on PATH".format(source), "install the helper, or take it out of the file"
            ) from error
        except subprocess.TimeoutExpired as error:
            text = "{}: no answer within {:.0f} s".format(source, self._helper_timeout_s)
            hint = "try it by hand: echo {} | {} get (it may be asking for a passphrase)".format(server, program)
            raise LoginError(text, hint, transient=True) from error
        except OSError as error:
            raise LoginError(
                "{}: cannot be run: {}".format(source, error), "check the program's permissions"
            ) from error
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode == 0:
            return _helper_answer(source, said)
        words = printable(said.strip() or done.stderr.decode("utf-8", "replace").strip(), 500)
        # The protocol has no error codes: this sentence is how every helper says that it knows nothing.
        if "credentials not found" in words.lower():
            return None
        text = "{}: failed with exit code {}: {}".format(source, done.returncode, words or "no output")
        raise LoginError(text, "try it by hand: echo {} | {} get".format(server, program), transient=True)


def _helper_answer(source: str, said: str) -> Optional[Credentials]:
    try:
        answer = decode_object(said, source, WORDS)
        username, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
    except ContractError as error:
        raise LoginError("{}: its answer is not JSON".format(source), "update the credential helper") from error
    if not secret:
        return None
    if username == "<token>":
        return Credentials(source, identity_token=secret)
    return Credentials(source, username, secret)


def _matching(entries: Any, host: str, repository: str) -> Iterator[Tuple[str, Any]]:
    """Yield the entries whose key stands for the repository: the longest path first, the host alone last."""
    if not isinstance(entries, dict):
        return
    wanted = _folded(host)[0]
    path = [part for part in repository.split("/") if part]
    fitting: List[Tuple[int, bool, str]] = []
    for key in map(str, entries):
        found, below = _folded(key)
        if found == wanted and path[: len(below)] == below:
            fitting.append((-len(below), key != host, key))
    for _, _, key in sorted(fitting, key=lambda each: each[:2]):
        yield key, entries[key]


def _folded(key: str) -> Tuple[str, List[str]]:
    """Return host and path of a key, however it is written; ``/v1/`` and ``/v2/`` of old clients are no path."""
    bare = key.split("://", 1)[-1]
    host, _, path = bare.partition("/")
    host = host.lower()
    if host.endswith(":443"):
        host = host[: -len(":443")]
    if host in _DOCKER_HUB_HOSTS:
        host = "docker.io"
    parts = [part for part in path.split("/") if part]
    return host, [] if parts in (["v1"], ["v2"]) else parts


def server_key(key: str) -> str:
    """Return under which name Docker files a registry's login, and asks a helper for it."""
    return DOCKER_HUB_KEY if _folded(key) == ("docker.io", []) else key
