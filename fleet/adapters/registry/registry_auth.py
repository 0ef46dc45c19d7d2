"""Answers a registry's 401: Basic, or Bearer with tokens from the realm that it names, cached by scope."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from fleet.adapters.docker.docker_config import Credentials, DockerCredentials
from fleet.errors import RegistryAuthError
from fleet.ports import Clock
from runtime.contract.json_decoder import WORDS, decode_object

Scopes = tuple[str, ...]
"""``repository:warehouse/runtime:pull,push``; a mount needs one of each repository."""

#: A token this close to its end is renewed, so that it does not expire under a request.
_MARGIN_S = 5.0
#: Token servers that name no lifetime mean this (distribution's token specification).
_DEFAULT_LIFETIME_S = 60.0
_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_CLIENT_ID = "jetfleet"


class TokenFetch(Protocol):
    """Sends one request to a token server and returns (status, body)."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        """Retry what is worth it. Raises RegistryError."""
        ...


@dataclass(frozen=True)
class _Bearer:
    realm: str
    service: str
    scope: str


@dataclass(frozen=True)
class _Token:
    value: str
    expires_at: float


class Authenticator:
    """Knows what to send as ``Authorization`` to one registry. Thread-safe; asks for credentials on the first 401."""

    def __init__(
        self, host: str, credentials: DockerCredentials, fetch: TokenFetch, clock: Clock, *, plain_realm: bool
    ) -> None:
        self._host = host
        self._plain_realm = plain_realm
        self._docker = credentials
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: _Bearer | str | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self._credentials: Credentials | None = None
        self._looked_up = False

    def header(self, scopes: Scopes) -> str | None:
        """Return the header's value as far as the registry has asked for one."""
        with self._lock:
            if self._challenge == "basic":
                return self._basic()
            if not isinstance(self._challenge, _Bearer):
                return None
            if (found := self._found()) and found.registry_token:
                return f"Bearer {found.registry_token}"
            token = self._tokens.get(scopes)
            if token is None or token.expires_at - _MARGIN_S <= self._clock.monotonic():
                token = self._tokens[scopes] = self._new_token(self._challenge, scopes)
            return f"Bearer {token.value}"

    def challenged(self, www_authenticate: str, scopes: Scopes, sent: str | None) -> bool:
        """Take in a 401. True when another try with :meth:`header` makes sense."""
        with self._lock:
            self._challenge = _parse(www_authenticate) or self._challenge
            if isinstance(self._challenge, _Bearer):
                token = self._tokens.get(scopes)
                if token and sent == f"Bearer {token.value}":
                    del self._tokens[scopes]
            elif self._challenge is None:
                return False
            return self.header(scopes) not in (None, sent)

    def describe(self) -> str:
        """Say which credentials were used, without the secret."""
        with self._lock:
            if not self._looked_up:
                return "no credentials were sent: the registry did not say which kind it wants"
            return str(self._credentials) if self._credentials else f"no credentials for it in {self._docker.path}"

    def _found(self) -> Credentials | None:
        if not self._looked_up:
            self._credentials = self._docker.lookup(self._host)
            self._looked_up = True
        return self._credentials

    def _basic(self) -> str | None:
        found = self._found()
        return _basic_header(found) if found and found.username else None

    def _new_token(self, challenge: _Bearer, scopes: Scopes) -> _Token:
        self._refuse_downgrade(challenge.realm)
        wanted = scopes or tuple(filter(None, (challenge.scope,)))
        found = self._found()
        status, body = self._ask(challenge, wanted, found)
        if status != 200:
            said = body[:200].decode("utf-8", "replace").strip()
            raise RegistryAuthError(
                f"{self._host}: its token server {challenge.realm} refused {' '.join(wanted) or 'a login'} "
                f"({status}: {said}); {self.describe()}",
                hint=f"log in with an account that may do this: docker login {self._host}",
            )
        return self._token_from(challenge, body)

    def _ask(self, challenge: _Bearer, scopes: Scopes, found: Credentials | None) -> tuple[int, bytes]:
        if found and found.identity_token:
            form = {"grant_type": "refresh_token", "service": challenge.service, "client_id": _CLIENT_ID}
            form |= {"scope": " ".join(scopes), "refresh_token": found.identity_token}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._fetch("POST", challenge.realm, headers, urlencode(form).encode())
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope) for scope in scopes] + [("client_id", _CLIENT_ID)]
        separator = "&" if urlsplit(challenge.realm).query else "?"
        headers = {"Authorization": _basic_header(found)} if found and found.username else {}
        return self._fetch("GET", challenge.realm + separator + urlencode(query), headers, None)

    def _token_from(self, challenge: _Bearer, body: bytes) -> _Token:
        try:
            answer = decode_object(body, "its answer", WORDS)
            value = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or _DEFAULT_LIFETIME_S)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryAuthError(
                f"{self._host}: its token server {challenge.realm} answered without a token",
                hint="check the registry's auth configuration",
            ) from error
        return _Token(str(value), self._clock.monotonic() + max(lifetime, 2 * _MARGIN_S))

    def _refuse_downgrade(self, realm: str) -> None:
        """Credentials go over plain HTTP only to this machine, or where the registry itself is plain HTTP."""
        parts = urlsplit(realm)
        if parts.scheme == "https" or (parts.scheme == "http" and self._plain_realm):
            return
        raise RegistryAuthError(
            f"{self._host}: its token server {realm} is not https: no credentials were sent",
            hint="configure the registry with an https realm",
        )


def _basic_header(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.secret}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _parse(header: str) -> _Bearer | str | None:
    """Read WWW-Authenticate; several challenges in one header: Bearer is preferred."""
    lowered = header.lower()
    at = lowered.find("bearer ")
    if at >= 0:
        values = {m[1].lower(): m[2] or m[3] or "" for m in _PARAMETER.finditer(header[at + 7 :])}
        if values.get("realm"):
            return _Bearer(values["realm"], values.get("service", ""), values.get("scope", ""))
    return "basic" if "basic" in lowered else None
