"""The real registry over HTTP(S): authentication, redirects, ranges. Only in the fetching process."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Dict, Optional
from urllib.parse import urljoin, urlsplit

from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.updater.fetching.challenge import parse_challenge, token_request
from runtime.updater.fetching.credentials import Credentials
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.fetching.link import Link
from runtime.updater.fetching.pace import Pace
from runtime.updater.fetching.reference import Reference
from runtime.updater.fetching.settings import Way

CONNECT_S, READ_S = 10.0, 10.0
MAX_REDIRECTS = 5
_TRUST_HINT = "put the registry's authority below /etc/docker/certs.d on the robot"
_LOGIN_HINT = "give the robot credentials for the registry: `docker login` as root on the robot"
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

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, pace: Pace) -> None:
        self.status = response.status
        self._left: Optional[int] = response.length
        self._pace = pace
        self._host = connection.host if connection.port is None else "{}:{}".format(connection.host, connection.port)
        self._connection, self._response = connection, response

    def header(self, name: str) -> str:
        """Return a header, empty without it."""
        return self._response.getheader(name) or ""

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
    """One repository of one registry. Raises UpstreamError; Cannot for what only the Engine can do."""

    def __init__(self, reference: Reference, way: Way, credentials: Optional[Credentials], link: Link) -> None:
        self._base = "/v2/{}/".format(reference.repository)
        self._repository, self._way, self._known, self._link = reference.repository, way, credentials, link
        self._scheme = ""
        self._authorization = ""

    def get(self, path: str, headers: Dict[str, str]) -> Answer:
        """GET ``path`` below the repository; the answer is 200 or 206."""
        url = "{}://{}{}{}".format(self._scheme or self._probe(), self._way.host, self._base, path)
        answer = self._send(url, headers)
        if answer.status == 401:
            challenge = answer.header("WWW-Authenticate")
            answer.close()
            self._authorization = self._authorize(challenge)
            answer = self._send(url, headers)
        if answer.status in (200, 206):
            return answer
        answer.close()
        raise refused(path, answer.status)

    def _send(self, url: str, headers: Dict[str, str]) -> Answer:
        """GET ``url`` and where it leads; who we are is told to the registry alone."""
        for _ in range(MAX_REDIRECTS):
            ours = urlsplit(url).netloc == self._way.host
            told = {"Authorization": self._authorization} if ours and self._authorization else {}
            answer = self._once("GET", url, {**headers, **told})
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            url = urljoin(url, answer.header("Location"))
            answer.close()
        raise UpstreamError("the registry redirects more than {} times".format(MAX_REDIRECTS), transient=True)

    def _once(self, method: str, url: str, headers: Dict[str, str], body: Optional[bytes] = None) -> Answer:
        parts = urlsplit(url)
        connection = self._connection(parts.scheme, parts.netloc)
        self._link.pace.opened(connection)
        try:
            connection.connect()
            if self._link.buffer:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._link.buffer)
            connection.sock.settimeout(READ_S)
            path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
            connection.request(method, path, body=body, headers={"User-Agent": "jetfleet-updater", **headers})
            return Answer(connection, connection.getresponse(), self._link.pace)
        except BaseException as error:
            self._link.pace.closed(connection)
            connection.close()
            if not isinstance(error, (OSError, http.client.HTTPException)):
                raise
            raise broken(error, parts.netloc) from error

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, timeout=CONNECT_S)
        # What a registry redirects to (a store of blobs) is no matter of its own authority.
        context = self._way.context if host == self._way.host else ssl.create_default_context()
        return http.client.HTTPSConnection(host, timeout=CONNECT_S, context=context)

    def _probe(self) -> str:
        """Return the scheme, found as the Engine finds it: TLS; plain only where it is allowed, without TLS there."""
        try:
            self._once("GET", "https://{}/v2/".format(self._way.host), {}).close()
            self._scheme = "https"
        except UpstreamError as error:
            cause = error.__cause__
            plain = isinstance(cause, (ssl.SSLError, ConnectionRefusedError, ConnectionResetError))
            if not (self._way.plain_too and plain):
                raise
            self._once("GET", "http://{}/v2/".format(self._way.host), {}).close()
            self._scheme = "http"
        return self._scheme

    def _authorize(self, challenge: str) -> str:
        scheme, parameters = parse_challenge(challenge)
        if scheme == "basic":
            if self._known is None or self._known.identity_token:
                raise UpstreamError("the registry wants a user and a password", _LOGIN_HINT)
            return self._known.basic()
        ask = token_request(parameters, self._repository, self._known)
        answer = self._once("GET" if ask.form is None else "POST", ask.url, ask.headers, ask.form)
        try:
            if answer.status != 200:
                raise refused("a token", answer.status)
            token = _token(answer.read(1 << 20))
        finally:
            answer.close()
        return "Bearer " + token


def _token(body: bytes) -> str:
    try:
        told = decode_object(body, "the token service's answer", WORDS)
        return str(told.get("token") or told["access_token"])
    except (ContractError, KeyError) as error:
        raise UpstreamError("the registry's token service answers without a token", transient=True) from error


def refused(what: str, status: int) -> UpstreamError:
    """Return the error for an answer that is none."""
    text = "the registry answers {} to {}".format(status, what)
    if status in (401, 403):
        return UpstreamError("{}: unauthorized".format(text), _LOGIN_HINT)
    if status == 404:
        return UpstreamError("{}: {} unknown".format(text, "manifest" if "manifest" in what else "blob"), _GONE_HINT)
    return UpstreamError(text, "see the registry's log", transient=status >= 500 or status in (408, 416, 425, 429))


def broken(error: Exception, host: str) -> UpstreamError:
    """Return the error for a connection that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamError("{}: its certificate is not trusted: {}".format(host, error.verify_message), _TRUST_HINT)
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UpstreamError("{}: {}".format(host, why), "check the robot's link to the registry", transient=True)
