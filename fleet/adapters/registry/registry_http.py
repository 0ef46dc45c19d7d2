"""HTTP to one registry: authorisation, deadlines, bounded retries, a request count. Knows no repositories or blobs."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.registry_auth import Authenticator, Scopes
from fleet.adapters.registry.registry_errors import TRANSIENT_STATUSES, TransientRegistryError, link_broken, refused
from fleet.errors import RegistryError
from fleet.ports import Clock

#: Connections kept open; the client's callers use pools of at most this many threads.
POOL_SIZE = 16
#: Answers read whole (manifests, tag lists, errors) are never larger.
MAX_BODY = 16 << 20


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently."""

    tries: int = 4
    base_s: float = 0.5
    """Before the second try; doubles each time, plus up to half of it at random."""
    cap_s: float = 15.0
    """No single wait is longer, whatever Retry-After says."""

    def wait_s(self, failures: int, retry_after_s: float | None) -> float:
        """Return seconds to wait after so many failures in a row."""
        backoff = self.base_s * 2.0 ** (failures - 1) * (1 + random.random() / 2)  # noqa: S311  (jitter, no secret)
        return min(max(backoff, retry_after_s or 0.0), self.cap_s)


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    connect_s: float = 5.0
    """Tried several times, so a registry that is not there is told within half a minute."""
    read_s: float = 60.0
    """Silence on an open connection."""


class Body(Protocol):
    """A request body that can be sent again."""

    def __len__(self) -> int:
        """Return its size in bytes."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """Yield it from its start."""
        ...


@dataclass(frozen=True)
class Request:
    """One request, in the words its errors need."""

    method: str
    url: str
    """Absolute."""
    what: str
    """``upload of sha256:… to warehouse/engines``."""
    scopes: Scopes = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    accept: frozenset[int] = frozenset({200})
    """Statuses handed back; any other is an error."""


@dataclass(frozen=True)
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class _Header(requests.auth.AuthBase):
    """Our Authorization and no other: without an explicit auth, requests would take one from ~/.netrc."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            prepared.headers["Authorization"] = self._value
        return prepared


class RegistryHttp:
    """Sends requests to one registry. Thread-safe: a session a thread over one shared connection pool."""

    def __init__(
        self,
        host: str,
        base_url: str,
        *,
        ca_file: str | None,
        credentials: DockerCredentials,
        clock: Clock,
        retry: RetryPolicy,
        timeouts: Timeouts,
    ) -> None:
        self.host = host
        self.base_url = base_url
        self.clock = clock
        self.retry = retry
        self.requests_made = 0
        self._verify: str | bool = ca_file or True
        self._timeout = (timeouts.connect_s, timeouts.read_s)
        self._adapter = HTTPAdapter(pool_connections=4, pool_maxsize=POOL_SIZE)
        self._local = threading.local()
        self._count = threading.Lock()
        plain = base_url.startswith("http://")
        self._auth = Authenticator(host, credentials, self._fetch_token, clock, plain_realm=plain)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def absolute(self, location: str, relative_to: str) -> str:
        """Return a Location header as a URL. On our host our scheme stays: TLS proxies make registries say http."""
        url = urljoin(relative_to, location)
        ours, theirs = urlsplit(self.base_url), urlsplit(url)
        if theirs.hostname == ours.hostname and theirs.scheme != ours.scheme:
            return urlunsplit(theirs._replace(scheme=ours.scheme, netloc=ours.netloc))
        return url

    def send(self, request: Request, *, tries: int | None = None) -> Reply:
        """Send, read the answer whole, retry what is transient. Raises RegistryError."""
        return self._retrying(request, tries, self._attempt)

    def open_stream(self, request: Request) -> requests.Response:
        """Send once and hand the open response over; the caller closes it. Raises RegistryError."""
        return self._authorised(request)

    def pause(self, failures: int, error: TransientRegistryError) -> None:
        """Wait before the next try."""
        self.clock.sleep(self.retry.wait_s(failures, error.retry_after_s))

    def _retrying(self, request: Request, tries: int | None, attempt: _Attempt) -> Reply:
        allowed = tries or self.retry.tries
        for failures in range(1, allowed + 1):
            try:
                return attempt(request)
            except TransientRegistryError as error:  # noqa: PERF203
                if failures == allowed:
                    raise
                self.pause(failures, error)
        raise AssertionError("unreachable: the last try raises")

    def _attempt(self, request: Request) -> Reply:
        return self._read(request, self._authorised(request))

    def _authorised(self, request: Request) -> requests.Response:
        """Send with what the registry asked for so far; when it asks for (other) credentials, once more."""
        ours = urlsplit(request.url).netloc == urlsplit(self.base_url).netloc
        sent = self._auth.header(request.scopes) if ours else None
        response = self._send_once(request, sent)
        if response.status_code == 401 and ours:
            challenge = response.headers.get("WWW-Authenticate", "")
            if self._auth.challenged(challenge, request.scopes, sent):
                response.close()
                response = self._send_once(request, self._auth.header(request.scopes))
        if response.status_code not in request.accept:
            raise self._refusal(request, response)
        return response

    def _send_once(self, request: Request, authorization: str | None) -> requests.Response:
        with self._count:
            self.requests_made += 1
        try:
            return self._session().request(
                request.method,
                request.url,
                headers={"Accept-Encoding": "identity", **request.headers},
                data=request.body,  # an iterable with a length: requests sends it as it comes, nothing is buffered
                auth=_Header(authorization),
                timeout=self._timeout,
                verify=self._verify,
                stream=True,
                allow_redirects=request.method in ("GET", "HEAD"),
            )
        except requests.RequestException as error:
            raise link_broken(self.host, request.what, error) from error

    def _read(self, request: Request, response: requests.Response) -> Reply:
        chunks: list[bytes] = []
        size = 0
        try:
            for chunk in response.iter_content(1 << 16):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise RegistryError(f"{self.host}: {request.what}: the answer is larger than {MAX_BODY >> 20} MiB")
        except requests.RequestException as error:
            raise link_broken(self.host, request.what, error) from error
        finally:
            response.close()
        return Reply(response.status_code, response.headers, b"".join(chunks), response.url)

    def _refusal(self, request: Request, response: requests.Response) -> RegistryError:
        reply = self._read(request, response)
        error = refused(self.host, request.what, reply.status, reply.body, self._auth.describe())
        if isinstance(error, TransientRegistryError):
            error.retry_after_s = _retry_after(reply.headers)
        return error

    def _fetch_token(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        request = Request(method, url, f"token from {url.partition('?')[0]}", headers=dict(headers), body=body)
        request = replace(request, accept=frozenset(range(200, 600)) - TRANSIENT_STATUSES)
        authorization = dict(headers).get("Authorization")
        reply = self._retrying(request, None, lambda it: self._token_attempt(it, authorization))
        return reply.status, reply.body

    def _token_attempt(self, request: Request, authorization: str | None) -> Reply:
        response = self._send_once(request, authorization)
        if response.status_code not in request.accept:
            raise self._refusal(request, response)
        return self._read(request, response)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.mount("https://", self._adapter)
            session.mount("http://", self._adapter)
            # Like Docker: a registry on this machine is never asked through a proxy.
            session.trust_env = not is_loopback(urlsplit(self.base_url).hostname or "")
        return session


class _Attempt(Protocol):
    def __call__(self, request: Request, /) -> Reply: ...


def is_loopback(hostname: str) -> bool:
    """Say whether Docker would treat this registry as local (and plain HTTP by default)."""
    return hostname == "localhost" or hostname.startswith("127.") or hostname == "::1"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read seconds; the date form is rare and the backoff serves it as well."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
