"""What to send as ``Authorization`` to one registry, from its first 401 on: Basic, or Bearer with tokens of its realm.

The caller must show it only to the registry's own origin, and only hand in 401s that came from there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from runtime.contract.printable import printable
from runtime.contract.registry.challenge import Challenge, parse_challenges
from runtime.contract.registry.docker_logins import Credentials
from runtime.contract.registry.origin import RedirectRefused, origin_of
from runtime.contract.registry.tokens import (
    Scopes,
    Token,
    TokenRequest,
    missing_scopes,
    read_token,
    repository_of,
    token_request,
)

TokenFetch = Callable[[TokenRequest], Tuple[int, bytes]]
"""Sends one request to a token server, with retries of its own; returns status and body."""
Lookup = Callable[[str], Optional[Credentials]]
"""Repository → its credentials, read again."""

#: A token this close to its end is renewed, so that it does not expire under a request.
_MARGIN_S = 5.0
#: Characters of a server's own words that are shown.
MAX_SHOWN = 200


class AuthError(Exception):
    """A registry or its token server refuses, or asks for what must not be sent. Names no secret."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused
        """Other credentials may help."""


@dataclass(frozen=True)
class _Held:
    token: Token
    until: float


class Authorizer:
    """For one registry. Thread-safe; asks for credentials on the first 401, and again when they are refused.

    ``tls``: whether the registry itself is asked by TLS; then its token server must be, too. ``root``: the repository
    whose credentials stand for the registry as a whole.
    """

    def __init__(
        self, host: str, tls: bool, lookup: Lookup, fetch: TokenFetch, clock: Callable[[], float], root: str = ""
    ) -> None:
        self._host, self._tls, self._root = host, tls, root
        self._lookup, self._fetch, self._clock = lookup, fetch, clock
        self._lock = threading.RLock()
        self._bearer: Optional[Challenge] = None
        self._basic = False
        self._asked: List[str] = []
        """Schemes of the last challenge."""
        self._named: Dict[Scopes, Scopes] = {}
        """Scopes that the registry named beyond those that a request was sent with."""
        self._tokens: Dict[Scopes, _Held] = {}
        self._known: Dict[str, Optional[Credentials]] = {}

    def header(self, scopes: Scopes) -> str:
        """Return the header's value as far as the registry has asked for one; empty for none. Raises AuthError."""
        with self._lock:
            if self._bearer is not None:
                found = self._credentials(scopes)
                if found is not None and found.registry_token:
                    return "Bearer " + found.registry_token
                try:
                    return self._token_header(self._bearer, scopes)
                except AuthError as error:
                    if not (error.refused and self._basic and found is not None and found.basic()):
                        raise
                    self._bearer = None  # it offered both, and its token server does not take us
            found = self._credentials(scopes) if self._basic else None
            return found.basic() if found is not None else ""

    def challenged(self, www_authenticate: str, scopes: Scopes, sent: str) -> bool:
        """Take in a 401 of the registry itself. True when another try with :meth:`header` makes sense."""
        with self._lock:
            self._take(www_authenticate, scopes)
            if self._bearer is None and not self._basic:
                return False
            held = self._tokens.get(scopes)
            if held is not None and sent == "Bearer " + held.token.value:
                del self._tokens[scopes]
            if sent:
                self._renewed(scopes)
            return self.header(scopes) not in ("", sent)

    def unknown_schemes(self) -> Tuple[str, ...]:
        """Return the schemes that the registry asks for, where it asks for nothing that is known here."""
        with self._lock:
            return () if self._bearer is not None or self._basic else tuple(self._asked)

    def used(self, scopes: Scopes) -> Tuple[bool, Optional[Credentials]]:
        """Say whether credentials were looked up for these scopes, and which were found."""
        with self._lock:
            repository = repository_of(scopes) or self._root
            return repository in self._known, self._known.get(repository)

    def _take(self, www_authenticate: str, scopes: Scopes) -> None:
        offered = parse_challenges(www_authenticate)
        self._asked = [each.scheme for each in offered]
        bearer = next((each for each in offered if each.scheme == "bearer" and each.parameters.get("realm")), None)
        basic = any(each.scheme == "basic" for each in offered)
        if bearer is not None or basic:
            self._bearer, self._basic = bearer, basic
        elif not offered and self._bearer is None:
            # A 401 must say what it wants (RFC 9110). Registries behind a proxy that drops headers want a password.
            self._basic = bool((self._credentials(scopes) or Credentials("")).basic())
        if bearer is not None:
            insufficient = bearer.parameters.get("error") == "insufficient_scope"
            self._named[scopes] = missing_scopes(bearer.parameters.get("scope", ""), scopes, insufficient)

    def _credentials(self, scopes: Scopes) -> Optional[Credentials]:
        repository = repository_of(scopes) or self._root
        if repository not in self._known:
            self._known[repository] = self._lookup(repository)
        return self._known[repository]

    def _renewed(self, scopes: Scopes) -> bool:
        """Look the credentials up again, as they may have been renewed; say whether they are others now."""
        before = self._known.pop(repository_of(scopes) or self._root, None)
        return self._credentials(scopes) != before

    def _token_header(self, bearer: Challenge, scopes: Scopes) -> str:
        held = self._tokens.get(scopes)
        if held is None or held.until - _MARGIN_S <= self._clock():
            held = self._tokens[scopes] = self._new_token(bearer, scopes)
        return "Bearer " + held.token.value

    def _new_token(self, bearer: Challenge, scopes: Scopes) -> _Held:
        realm = self._checked_realm(bearer.parameters["realm"])
        wanted = (*scopes, *self._named.get(scopes, ()))
        status, body = self._ask(realm, bearer, wanted, scopes)
        if status in (400, 401, 403) and self._renewed(scopes):
            status, body = self._ask(realm, bearer, wanted, scopes)
        shown = printable(realm.partition("?")[0], MAX_SHOWN)
        if status != 200:
            said = printable(body[:MAX_SHOWN].decode("utf-8", "replace").strip(), MAX_SHOWN)
            raise AuthError(
                "{}: its token server {} refused {} ({}: {})".format(
                    self._host, shown, " ".join(wanted) or "a login", status, said
                ),
                refused=True,
            )
        try:
            token = read_token(body)
        except ValueError as error:
            raise AuthError("{}: its token server {} answered without a token".format(self._host, shown)) from error
        return _Held(token, self._clock() + max(token.lifetime_s, 2 * _MARGIN_S))

    def _ask(self, realm: str, bearer: Challenge, wanted: Scopes, scopes: Scopes) -> Tuple[int, bytes]:
        return self._fetch(
            token_request(realm, bearer.parameters.get("service", ""), wanted, self._credentials(scopes))
        )

    def _checked_realm(self, realm: str) -> str:
        """Credentials go over plain HTTP only where the registry itself is plain HTTP."""
        try:
            origin = origin_of(realm)
        except RedirectRefused as error:
            raise AuthError("{}: its token server is {}: no credentials were sent".format(self._host, error)) from error
        if self._tls and origin.scheme != "https":
            shown = printable(urlsplit(realm)._replace(query="", fragment="").geturl(), MAX_SHOWN)
            raise AuthError("{}: its token server {} is not https: no credentials were sent".format(self._host, shown))
        return realm
