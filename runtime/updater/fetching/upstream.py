"""The real registry over HTTP(S): authentication, redirects, ranges. Only in the fetching process."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Dict, Iterator, List, Optional, Tuple
from urllib.parse import urlsplit

from runtime.contract.registry.authorizer import AuthError, Authorizer, Lookup
from runtime.contract.registry.origin import (
    MAX_REDIRECTS,
    REDIRECTS,
    Origin,
    RedirectRefused,
    is_api,
    origin_of,
    redirect_target,
)
from runtime.contract.registry.tokens import Scopes, TokenRequest
from runtime.updater.fetching.errors import Cannot, UpstreamError
from runtime.updater.fetching.link import Link
from runtime.updater.fetching.pace import Pace
from runtime.updater.fetching.reference import Reference
from runtime.updater.fetching.settings import Way
from runtime.updater.robot.registry_login import LOGIN_HINT, TRUST_HINT

CONNECT_S, READ_S = 10.0, 10.0
MAX_TOKEN_BYTES = 1 << 20
_REALM_HINT = "look at the registry's auth configuration: its realm is wrong"
_REDIRECT_HINT = "make the registry's own address, with TLS where it has that, registry.address in fleet.yaml"
_GONE_HINT = "the image is not in the registry: publish the release again"
MANIFEST_TYPES = ", ".join(
    "application/vnd." + name
    for name in (
        "oci.image.manifest.v1+json",
        "docker.distribution.manifest.v2+json",
        "oci.image.index.v1+json",
        "docker.distribution.manifest.list.v2+json",
    )
)


class Answer:
    """One answer whose body is still on the way. Close it."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, origin: Origin, pace: Pace
    ) -> None:
        self.status = response.status
        self.origin = origin
        """Who answered."""
        self.api = True
        """Whether it was the registry's API, not a part of its host beside that."""
        self._left: Optional[int] = response.length
        self._pace = pace
        self._host = connection.host if connection.port is None else "{}:{}".format(connection.host, connection.port)
        self._connection, self._response = connection, response

    def header(self, name: str) -> str:
        """Return a header, empty without it."""
        return self._response.getheader(name) or ""

    def headers(self, name: str) -> List[str]:
        """Return a header's lines."""
        return self._response.headers.get_all(name) or []

    def read(self, count: int) -> bytes:
        """Return what has come, at most ``count`` bytes; empty at the end. Raises UpstreamError."""
        if self._left is not None:
            count = min(count, self._left)
        if count <= 0:
            return b""
        try:
            piece = self._response.read1(count)  # `read` waits until all of them are there
            self._left = None if self._left is None else self._left - len(piece)
            return piece
        except (OSError, http.client.HTTPException) as error:
            raise broken(error, self._host) from error

    def close(self) -> None:
        """Hang up."""
        self._pace.closed(self._connection)
        self._connection.close()


class Upstream:
    """One repository of one registry. Raises UpstreamError; Cannot for what only the Engine can do.

    ``lookup`` says who we are there. That is told to the registry's own origin alone (`runtime.contract.registry`).
    """

    def __init__(self, reference: Reference, way: Way, lookup: Lookup, link: Link) -> None:
        self._base = "/v2/{}/".format(reference.repository)
        self._way, self._lookup, self._link = way, lookup, link
        self._scopes: Scopes = ("repository:{}:pull".format(reference.repository),)
        self._lock = threading.Lock()
        self._found: Optional[_Registry] = None

    def get(self, path: str, headers: Dict[str, str]) -> Answer:
        """GET ``path`` below the repository; the answer is 200 or 206."""
        return self.ask("GET", path, headers, (200, 206))

    def ask(self, method: str, path: str, headers: Dict[str, str], wanted: Tuple[int, ...]) -> Answer:
        """Ask for ``path`` below the repository; the answer is one of those that are wanted."""
        registry = self._registry()
        url = str(registry.origin) + self._base + path
        answer, sent = self._follow(registry, url, headers, method=method)
        if answer.status == 401 and answer.origin == registry.origin:
            challenge = ", ".join(answer.headers("WWW-Authenticate"))
            answer.close()
            if self._challenged(registry, challenge, sent):
                answer, _ = self._follow(registry, url, headers, not answer.api, method)
        if answer.status in wanted and (answer.status < 400 or answer.origin == registry.origin):
            return answer
        answer.close()
        if answer.origin != registry.origin:
            raise elsewhere_refused(str(answer.origin), answer.status)
        raise refused(path, answer.status, after_s(answer.header("Retry-After")))

    def _challenged(self, registry: _Registry, challenge: str, sent: str) -> bool:
        with _translated():
            again = registry.auth.challenged(challenge, self._scopes, sent)
        unknown = registry.auth.unknown_schemes()
        if unknown:
            raise Cannot("the registry asks for authentication by {}".format(", ".join(map(repr, unknown))))
        return again

    def _follow(
        self, registry: _Registry, url: str, headers: Dict[str, str], beyond_api: bool = False, method: str = "GET"
    ) -> Tuple[Answer, str]:
        """Ask for ``url`` and where it leads; return the last answer and the Authorization that went with it.

        ``beyond_api``: that is shown to all of the registry's origin, as a part beside its API asked for it.
        """
        for _ in range(MAX_REDIRECTS + 1):
            sent = ""
            if is_api(url, registry.origin) or (beyond_api and origin_of(url) == registry.origin):
                with _translated():
                    sent = registry.auth.header(self._scopes)
            answer = self._once(method, url, {**headers, "Authorization": sent} if sent else headers)
            answer.api = is_api(url, registry.origin)
            if answer.status not in REDIRECTS:
                return answer, sent
            answer.close()
            url = _target(url, answer, registry.origin)
        raise UpstreamError("the registry redirects more than {} times".format(MAX_REDIRECTS), transient=True)

    def _once(self, method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None) -> Answer:
        origin, parts = origin_of(url), urlsplit(url)
        connection = self._connection(origin)
        self._link.pace.opened(connection)
        try:
            connection.connect()
            self._link.pace.opened(connection, connection.sock)
            if self._link.buffer:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._link.buffer)
            connection.sock.settimeout(READ_S)
            path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
            connection.request(method, path, body=body, headers={"User-Agent": "jetfleet-updater", **headers})
            return Answer(connection, connection.getresponse(), origin, self._link.pace)
        except BaseException as error:
            self._link.pace.closed(connection)
            connection.close()
            if not isinstance(error, (OSError, http.client.HTTPException)):
                raise
            raise broken(error, parts.netloc) from error

    def _connection(self, origin: Origin) -> http.client.HTTPConnection:
        if origin.scheme == "http":
            return http.client.HTTPConnection(origin.host, origin.port, timeout=CONNECT_S)
        ours = origin == origin_of("https://" + self._way.host)
        context = (self._way.context if ours else self._way.elsewhere) or ssl.create_default_context()
        return http.client.HTTPSConnection(origin.host, origin.port, timeout=CONNECT_S, context=context)

    def _registry(self) -> _Registry:
        """Return the registry, found as the Engine finds it: TLS; plain only where it is allowed, without TLS there."""
        with self._lock:
            if self._found is None:
                origin = self._probe()
                tls, host = origin.scheme == "https", self._way.host
                auth = Authorizer(host, tls, self._lookup, lambda ask: self._token(ask, origin), time.monotonic)
                self._found = _Registry(origin, auth)
            return self._found

    def _probe(self) -> Origin:
        try:
            secure, plain = (origin_of("{}://{}".format(scheme, self._way.host)) for scheme in ("https", "http"))
        except RedirectRefused as error:
            raise Cannot("{} is {}".format(self._way.host, error)) from error
        try:
            self._once("GET", "{}/v2/".format(secure), {}).close()
            return secure
        except UpstreamError as error:
            silent = isinstance(error.__cause__, (ssl.SSLError, ConnectionRefusedError, ConnectionResetError))
            if not (self._way.plain_too and silent):
                raise
        self._once("GET", "{}/v2/".format(plain), {}).close()
        return plain

    def _token(self, ask: TokenRequest, registry: Origin) -> Tuple[int, bytes]:
        """Ask a token server. It may move within its own origin; what it is told goes nowhere else."""
        url, home = ask.url, origin_of(ask.url)
        for _ in range(MAX_REDIRECTS + 1):
            if ask.body is not None and origin_of(url) != home:
                raise UpstreamError("the registry's token server redirects to {}: not followed".format(origin_of(url)))
            answer = self._once(ask.method, url, ask.headers if origin_of(url) == home else {}, ask.body)
            try:
                if answer.status not in REDIRECTS:
                    if answer.status >= 500 or answer.status == 429:
                        raise refused("a token", answer.status, after_s(answer.header("Retry-After")))
                    return answer.status, _whole(answer)
                if ask.body is not None and answer.status not in (307, 308):
                    raise refused("a token", answer.status)
                url = _target(url, answer, registry)
            finally:
                answer.close()
        raise UpstreamError("the registry's token server redirects more than {} times".format(MAX_REDIRECTS))


@dataclass(frozen=True)
class _Registry:
    origin: Origin
    auth: Authorizer


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the rules of authorization say into our errors."""
    try:
        yield
    except AuthError as error:
        raise UpstreamError(error.message, LOGIN_HINT if error.refused else _REALM_HINT) from error


def _whole(answer: Answer) -> bytes:
    found = b""
    while len(found) < MAX_TOKEN_BYTES:
        piece = answer.read(65536)
        if not piece:
            break
        found += piece
    return found


def _target(url: str, answer: Answer, registry: Origin) -> str:
    try:
        return redirect_target(url, answer.header("Location"), registry)
    except RedirectRefused as error:
        raise UpstreamError("the registry redirects to {}".format(error), _REDIRECT_HINT) from error


def refused(what: str, status: int, after: float = 0.0) -> UpstreamError:
    """Return the error for an answer that is none; ``after``: the seconds that the registry asks us to wait."""
    text = "the registry answers {} to {}".format(status, what)
    if status in (401, 403):
        return UpstreamError("{}: unauthorized".format(text), LOGIN_HINT)
    if status == 404:
        return UpstreamError("{}: {} unknown".format(text, "manifest" if "manifest" in what else "blob"), _GONE_HINT)
    again = status >= 500 or status in (408, 416, 425, 429)
    return UpstreamError(text, "see the registry's log", again, after)


def elsewhere_refused(place: str, status: int) -> UpstreamError:
    """Return the error for an answer of a place that the registry led to. Nothing of ours was shown there.

    Addresses of stores are signed, and end after some minutes: the registry gives another one.
    """
    text = "the registry redirects to {}, which answers {}".format(place, status)
    return UpstreamError(text, "see the log of {}".format(place), transient=status != 404)


def after_s(value: str) -> float:
    """Return the seconds that Retry-After asks for, as a number or as a date; 0 for none."""
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


def broken(error: Exception, host: str) -> UpstreamError:
    """Return the error for a connection that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamError("{}: its certificate is not trusted: {}".format(host, error.verify_message), TRUST_HINT)
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UpstreamError("{}: {}".format(host, why), "check the robot's link to the registry", transient=True)
