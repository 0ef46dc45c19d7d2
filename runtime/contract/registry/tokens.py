"""Tokens of a registry: how one is asked for (distribution's token specification, OAuth2 included), and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Optional, Tuple
from urllib.parse import urlencode, urlsplit

from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.registry.docker_logins import Credentials

Scopes = Tuple[str, ...]
"""``repository:warehouse/runtime:pull,push``; a mount needs one of each repository."""

CLIENT_ID = "jetfleet"
#: Token servers that name no lifetime mean this.
_DEFAULT_LIFETIME_S = 60.0
_MAX_LIFETIME_S = 24 * 3600.0


@dataclass(frozen=True)
class TokenRequest:
    """What to send to a token server."""

    method: str
    url: str
    headers: Dict[str, str]
    body: Optional[bytes] = None


@dataclass(frozen=True)
class Token:
    """What a token server gave."""

    value: str
    lifetime_s: float


def token_request(realm: str, service: str, scopes: Scopes, known: Optional[Credentials]) -> TokenRequest:
    """Return how to ask ``realm`` for a token of these scopes; without credentials an anonymous one."""
    if known is not None and known.identity_token:
        form = {"grant_type": "refresh_token", "service": service, "client_id": CLIENT_ID}
        form.update(scope=" ".join(scopes), refresh_token=known.identity_token)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", realm, headers, urlencode(form).encode("ascii"))
    query: List[Tuple[str, str]] = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes] + [("client_id", CLIENT_ID)]
    url = realm + ("&" if urlsplit(realm).query else "?") + urlencode(query)
    basic = known.basic() if known is not None else ""
    return TokenRequest("GET", url, {"Authorization": basic} if basic else {})


def read_token(body: bytes) -> Token:
    """Return the token of an answer. Raises ValueError for one that has none."""
    try:
        answer = decode_object(body, "its answer", WORDS)
        value = answer.get("token") or answer["access_token"]
        lifetime_s = float(answer.get("expires_in") or _DEFAULT_LIFETIME_S)
    except (KeyError, TypeError) as error:
        raise ValueError("no token") from error
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError("not a valid token")
    return Token(value, lifetime_s if 0 < lifetime_s <= _MAX_LIFETIME_S else _DEFAULT_LIFETIME_S)


def missing_scopes(named: str, scopes: Scopes, insufficient: bool) -> Scopes:
    """Return what a challenge names beyond ``scopes``: other resources.

    Further actions on ours too, but only once the registry says that ours are ``insufficient``: a robot's login may
    pull and nothing else, and a token that is to do more is refused as a whole.
    """
    have = [_parts(scope) for scope in scopes]
    wanted = []
    for scope in named.split():
        resource, actions = _parts(scope)
        if not any(resource == other and (actions <= more or not insufficient) for other, more in have):
            wanted.append(scope)
    return tuple(wanted)


def repository_of(scopes: Scopes) -> str:
    """Return the repository that a request is about; empty for the registry itself."""
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        if kind == "repository":
            return rest.rpartition(":")[0]
    return ""


def _parts(scope: str) -> Tuple[str, FrozenSet[str]]:
    resource, _, actions = scope.rpartition(":")
    return resource, frozenset(actions.split(","))
