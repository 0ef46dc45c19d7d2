"""What a registry asks for when it says 401: basic authentication, or a token from somebody else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple
from urllib.parse import urlencode

from runtime.updater.fetching.credentials import Credentials
from runtime.updater.fetching.errors import Cannot

_PAIR = re.compile(r'([A-Za-z_]+)="([^"]*)"')
CLIENT = "jetfleet"


@dataclass(frozen=True)
class TokenRequest:
    """How to ask for a token: GET ``url``, or POST ``form`` to it."""

    url: str
    headers: Dict[str, str]
    form: Optional[bytes] = None


def parse_challenge(header: str) -> Tuple[str, Dict[str, str]]:
    """Return the scheme (``basic``, ``bearer``) and its parameters. Raises Cannot for another one."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() not in ("basic", "bearer"):
        raise Cannot("the registry asks for authentication by {!r}".format(scheme or "nothing"))
    return scheme.lower(), dict(_PAIR.findall(rest))


def token_request(parameters: Dict[str, str], repository: str, known: Optional[Credentials]) -> TokenRequest:
    """Return how to get a token that may pull ``repository``. Raises Cannot without a realm."""
    realm = parameters.get("realm", "")
    if not realm.startswith(("http://", "https://")):
        raise Cannot("the registry names no place to get a token from")
    query = {"scope": parameters.get("scope") or "repository:{}:pull".format(repository)}
    if parameters.get("service"):
        query["service"] = parameters["service"]
    if known is not None and known.identity_token:
        query.update(grant_type="refresh_token", refresh_token=known.identity_token, client_id=CLIENT)
        return TokenRequest(realm, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(query).encode())
    headers = {} if known is None else {"Authorization": known.basic()}
    return TokenRequest(realm + ("&" if "?" in realm else "?") + urlencode(query), headers)
