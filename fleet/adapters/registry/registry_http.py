"""HTTP to one registry: authorisation, deadlines, bounded retries, a request count. Knows no repositories or blobs."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, replace
from typing import Protocol

import requests

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.http_session import Session, TrustingAdapter
from fleet.adapters.least_rate import TooSlow, pieces
from fleet.adapters.registry.registry_auth import Authenticator
from fleet.adapters.registry.registry_errors import (
    TRANSIENT_STATUSES,
    TransientRegistryError,
    elsewhere_refused,
    link_broken,
    misdirected,
    refused,
)
from fleet.adapters.registry.registry_request import Body, Reply, Request, Timeouts, retry_after_s
from fleet.adapters.retry import RetryPolicy, retried
from fleet.errors import RegistryError
from fleet.ports import Clock
from runtime.contract.registry.origin import (
    MAX_REDIRECTS,
    REDIRECTS,
    RedirectRefused,
    is_api,
    origin_of,
    redirect_target,
)
from runtime.contract.registry.tokens import TokenRequest, repository_of

__all__ = ["Body", "RegistryHttp", "Reply", "Request", "Timeouts", "is_loopback"]

#: Connections kept open; the client's callers use pools of at most this many threads.
POOL_SIZE = 16
#: Answers read whole (manifests, tag lists, errors) are never larger.
MAX_BODY = 16 << 20


@dataclass(frozen=True)
class _Answer:
    """The last answer of a request and of the redirects that it met."""

    response: requests.Response
    url: str
    sent: str
    """The Authorization that went with it; empty for none, and for everybody but the registry itself."""


class _Header(requests.auth.AuthBase):
    """Our Authorization and no other: requests would take one out of a URL."""

    def __init__(self, value: str) -> None:
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
        trusted: ssl.SSLContext,
        credentials: DockerCredentials,
        clock: Clock,
        retry: RetryPolicy,
        timeouts: Timeouts,
        root: str = "",
    ) -> None:
        self.host = host
        self.base_url = base_url
        self.origin = origin_of(base_url)
        self.clock = clock
        self.retry = retry
        self.requests_made = 0
        self._timeout = (timeouts.connect_s, timeouts.read_s)
        self._adapter = TrustingAdapter(trusted, pool_connections=4, pool_maxsize=POOL_SIZE)
        self._local = threading.local()
        self._count = threading.Lock()
        plain = self.origin.scheme == "http"
        self._auth = Authenticator(host, credentials, self._fetch_token, clock, plain_realm=plain, root=root)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def absolute(self, location: str, relative_to: str, what: str) -> str:
        """Return an address of the registry's API (an upload, the next page) as a URL.

        On its host our scheme and port stay: TLS proxies make registries write others. Raises RegistryError for one
        that must not be followed.
        """
        try:
            url = redirect_target(relative_to, location, self.origin)
            there = origin_of(url)
        except RedirectRefused as error:
            raise misdirected(self.host, what, str(error)) from error
        path = url.split("://", 1)[1].partition("/")[2]
        if there.host == self.origin.host and there.scheme != self.origin.scheme and path.startswith("v2/"):
            return f"{self.origin}/{path}"
        return url

    def send(self, request: Request, *, tries: int | None = None) -> Reply:
        """Send, read the answer whole, retry what is transient. Raises RegistryError."""
        return self._retrying(request, tries, self._attempt)

    def open_stream(self, request: Request) -> requests.Response:
        """Send once and hand the open response over; the caller closes it. Raises RegistryError."""
        return self._authorised(request)

    def answers(self, request: Request) -> int:
        """Return the status of the answer, as patiently as :meth:`send`, without its body. Raises RegistryError."""

        def attempt(each: Request) -> Reply:
            response = self._authorised(each)
            response.close()
            return Reply(response.status_code, response.headers, b"", each.url)

        return self._retrying(request, None, attempt).status

    def pause(self, failures: int, error: TransientRegistryError) -> None:
        """Wait before the next try."""
        self.clock.sleep(self.retry.wait_s(failures, error.retry_after_s))

    def _retrying(self, request: Request, tries: int | None, attempt: _Attempt) -> Reply:
        return retried(lambda: attempt(request), TransientRegistryError, tries or self.retry.tries, self.pause)

    def _attempt(self, request: Request) -> Reply:
        return self._read(request, self._authorised(request))

    def _authorised(self, request: Request) -> requests.Response:
        """Send with what the registry asked for so far; when it asks for (other) credentials, once more."""
        answer = self._follow(request)
        if answer.response.status_code == 401 and origin_of(answer.url) == self.origin:
            challenge = answer.response.headers.get("WWW-Authenticate", "")
            if self._auth.challenged(challenge, request.scopes, answer.sent):
                answer.response.close()
                answer = self._follow(request, beyond_api=not is_api(answer.url, self.origin))
        if answer.response.status_code not in request.accept:
            raise self._refusal(request, answer)
        return answer.response

    def _follow(self, request: Request, *, beyond_api: bool = False) -> _Answer:
        """Send, and go where the registry leads; who we are is told to the registry's own origin alone.

        ``beyond_api``: to all of it, as a part next to its API asked for that.
        """
        url = request.url
        for _ in range(MAX_REDIRECTS + 1):
            shown = is_api(url, self.origin) or (beyond_api and origin_of(url) == self.origin)
            sent = self._auth.header(request.scopes) if shown else ""
            response = self._send_once(request, url, sent)
            if response.status_code not in REDIRECTS:
                return _Answer(response, url, sent)
            response.close()
            url = self._next(request, response, url)
        raise misdirected(self.host, request.what, f"places in a circle, or more than {MAX_REDIRECTS} of them")

    def _next(self, request: Request, response: requests.Response, url: str) -> str:
        try:
            target = redirect_target(url, response.headers.get("Location", ""), self.origin)
        except RedirectRefused as error:
            raise misdirected(self.host, request.what, str(error)) from error
        if request.method in ("GET", "HEAD") or response.status_code in (307, 308):
            return target
        # What was sent to the first place would become a GET at the second (RFC 9110, 15.4).
        raise misdirected(
            self.host, request.what, f"{origin_of(target)} by {response.status_code}, which loses what is sent"
        )

    def _send_once(self, request: Request, url: str, authorization: str) -> requests.Response:
        with self._count:
            self.requests_made += 1
        try:
            return self._session().request(
                request.method,
                url,
                headers={"Accept-Encoding": "identity", **request.headers},
                data=request.body,  # an iterable with a length: requests sends it as it comes, nothing is buffered
                auth=_Header(authorization),
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise link_broken(self.host, request.what, error, self._elsewhere(url)) from error

    def _elsewhere(self, url: str) -> str:
        """Return the server of a URL that is not the registry's; empty for the registry itself."""
        there = origin_of(url)
        return "" if there == self.origin else str(there)

    def _read(self, request: Request, response: requests.Response) -> Reply:
        chunks: list[bytes] = []
        size = 0
        try:
            for chunk in pieces(response, 1 << 16):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY:
                    raise RegistryError(f"{self.host}: {request.what}: the answer is larger than {MAX_BODY >> 20} MiB")
        except requests.RequestException as error:
            raise link_broken(self.host, request.what, error) from error
        except TooSlow as slow:
            hint = "look at the registry and at the link to it"
            raise RegistryError(f"{self.host}: {request.what}: {slow}", hint=hint) from slow
        finally:
            response.close()
        return Reply(response.status_code, response.headers, b"".join(chunks), response.url)

    def _refusal(self, request: Request, answer: _Answer) -> RegistryError:
        reply = self._read(request, answer.response)
        if place := self._elsewhere(answer.url):
            return elsewhere_refused(self.host, request.what, place, reply.status, reply.body)
        credentials = self._auth.describe(request.scopes)
        error = refused(self.host, request.what, reply.status, reply.body, credentials, repository_of(request.scopes))
        if isinstance(error, TransientRegistryError):
            error.retry_after_s = retry_after_s(reply.headers, self.clock.now())
        return error

    def _fetch_token(self, asked: TokenRequest) -> tuple[int, bytes]:
        what = f"token from {asked.url.partition('?')[0]}"
        accept = frozenset(range(200, 600)) - TRANSIENT_STATUSES
        request = Request(asked.method, asked.url, what, headers=dict(asked.headers), body=asked.body, accept=accept)
        reply = self._retrying(request, None, self._token_attempt)
        return reply.status, reply.body

    def _token_attempt(self, request: Request) -> Reply:
        """Ask a token server. It may move within its own origin; what it was told goes nowhere else."""
        url, home = request.url, origin_of(request.url)
        headers = dict(request.headers)
        authorization = headers.pop("Authorization", "")
        bare = replace(request, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send_once(bare, url, authorization if origin_of(url) == home else "")
            if response.status_code not in REDIRECTS:
                if response.status_code not in request.accept:
                    raise self._refusal(request, _Answer(response, url, ""))
                return self._read(request, response)
            response.close()
            url = self._next(request, response, url)
            if request.body is not None and origin_of(url) != home:
                raise misdirected(self.host, request.what, f"{origin_of(url)}: no credentials were sent there")
        raise misdirected(self.host, request.what, f"places in a circle, or more than {MAX_REDIRECTS} of them")

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self._adapter)
        return session


class _Attempt(Protocol):
    def __call__(self, request: Request, /) -> Reply: ...


def is_loopback(hostname: str) -> bool:
    """Say whether Docker would treat this registry as local (and plain HTTP by default)."""
    return hostname == "localhost" or hostname.startswith("127.") or hostname == "::1"
