"""What a registry's refusals and broken links mean for a person: every sentence of the registry client is here."""

from __future__ import annotations

import re

import requests

from fleet.errors import RegistryAuthError, RegistryError, RepositoryMissing
from fleet.oci.repositories import repositories_of
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.printable import printable

_SOCKS = "pip install pysocks in fleet's environment, or take the proxy out of ALL_PROXY and HTTPS_PROXY"

#: Statuses worth another try: the registry, or the proxy before it, says that it is not its day.
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})


#: Characters of a registry's own words that are shown.
_SHOWN = 500


class TransientRegistryError(RegistryError):
    """May go away by itself: a broken link, an overloaded registry. Raised to callers only after the last try."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


#: What ECR, Artifact Registry, Harbor and others say of a repository, or project, that nobody has created.
_NO_REPOSITORY = re.compile(
    rb"NAME_UNKNOWN|(repository|project)\b[^\"]{0,200}(does not exist|not found)", re.IGNORECASE
)


class DigestMismatch(RegistryError):
    """Bytes are not what their digest says."""

    def __init__(self, host: str, what: str, wanted: str, got: str) -> None:
        super().__init__(
            f"{host}: {what}: digest mismatch: wanted {wanted}, got {got}",
            hint="the registry's storage or a proxy before it changed the bytes; nothing was kept. Try again, and if "
            "it stays, check the registry's disk",
        )


def link_broken(host: str, what: str, error: requests.RequestException, place: str = "") -> RegistryError:
    """Translate a request that got no (whole) answer. ``place``: the server asked, where that is not the registry."""
    text = _innermost(error)
    if place:
        return _link_elsewhere(host, what, error, place, text)
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in text:
        return RegistryError(f"{host}: {what}: a SOCKS proxy is set, and this Python lacks PySocks", hint=_SOCKS)
    if isinstance(error, requests.exceptions.SSLError) and "EOF occurred" not in text:
        return _tls_failed(host, what, text)
    if isinstance(error, requests.exceptions.ProxyError):
        hint = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY: a registry on the local network usually belongs in NO_PROXY"
        return TransientRegistryError(f"{host}: {what}: the proxy failed: {text}", hint=hint)
    if isinstance(error, requests.exceptions.Timeout):
        hint = "check that the registry is up and that the network reaches it, then run the command again"
        return TransientRegistryError(f"{host}: {what}: no answer in time: {text}", hint=hint)
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        hint = "check registry.address in fleet.yaml, that the registry is up and that this machine can reach it"
        return TransientRegistryError(f"registry {host} is not reachable: {what}: {text}", hint=hint)
    return RegistryError(f"{host}: {what}: {text}", hint="check registry.address in fleet.yaml")


def _link_elsewhere(host: str, what: str, error: requests.RequestException, place: str, text: str) -> RegistryError:
    """The registry sent us on (to its store of blobs, say), and the link to that place failed."""
    if isinstance(error, requests.exceptions.SSLError) and "EOF occurred" not in text:
        return RegistryError(
            f"{host}: {what}: it redirects to {place}, whose TLS certificate is not accepted: {text}",
            hint=f"add the authority that signed the certificate of {place} to registry.ca_file (a PEM file may hold "
            "several) or to this machine's authorities",
        )
    return TransientRegistryError(
        f"{host}: {what}: it redirects to {place}, which does not answer: {text}",
        hint=f"check that this machine reaches {place}; a proxy in the way belongs in NO_PROXY",
    )


def elsewhere_refused(host: str, what: str, place: str, status: int, body: bytes) -> RegistryError:
    """Translate an error status of a place that the registry led to. Nothing of ours was shown there."""
    text = f"{host}: {what}: it redirects to {place}, which answers {status}{_said(body)}"
    if status in (401, 403):
        # Signed addresses of stores end after some minutes: the registry gives another one.
        hint = f"no credentials are sent there; if {place} is the registry itself, make it registry.address"
        return TransientRegistryError(text, hint=hint)
    if status in TRANSIENT_STATUSES:
        return TransientRegistryError(text, hint=f"look at {place}, then run the command again")
    return RegistryError(text, hint=f"look at {place}: the registry keeps its blobs there")


def misdirected(host: str, what: str, place: str) -> RegistryError:
    """Say that the registry leads to a place where nobody goes."""
    return RegistryError(
        f"{host}: {what}: the registry redirects to {place}",
        hint="make the registry's own address, with TLS where it has that, registry.address in fleet.yaml",
    )


def _tls_failed(host: str, what: str, text: str) -> RegistryError:
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "wrong version number" in text:
        hint = "the registry answers in plain HTTP: serve it with TLS, or set registry.plain_http: true in fleet.yaml"
        return RegistryError(f"{host}: {what}: it does not speak TLS: {text}", hint=hint)
    hint = "set registry.ca_file in fleet.yaml to the authority that signed the registry's certificate (a PEM file)"
    return RegistryError(f"{host}: {what}: its TLS certificate is not accepted: {text}", hint=hint)


def _innermost(error: BaseException) -> str:
    """Say what went wrong at the bottom: urllib3 wraps `connection refused` four times."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen and len(seen) < 10:
        seen.append(current)
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in current.args if isinstance(arg, BaseException)), None)
        current = inner or current.__cause__
    return str(seen[-1]) or type(seen[-1]).__name__


def refused(host: str, what: str, status: int, body: bytes, credentials: str, repository: str = "") -> RegistryError:
    """Translate an answer with an error status. ``credentials`` names where the credentials used came from."""
    said = _said(body)
    if status == 404 and repository and _NO_REPOSITORY.search(body):
        return _repository_missing(host, what, repository, said)
    if status in (401, 403):
        return RegistryAuthError(
            f"{host}: {what}: refused ({status}{said}); {credentials}",
            hint=f"log in with an account that may do this: docker login {host}",
        )
    if status in TRANSIENT_STATUSES or status == 507:
        return _server_failed(host, what, status, body, said)
    return RegistryError(f"{host}: {what}: {_meaning(status)} ({status}{said})", hint=_hint(status, body))


def _repository_missing(host: str, what: str, repository: str, said: str) -> RepositoryMissing:
    names = ", ".join(repositories_of(repository.rpartition("/")[0]))
    return RepositoryMissing(
        f"{host}: {what}: the repository {repository} does not exist, and this registry does not create repositories "
        f"by itself (404{said})",
        hint=f"a fleet needs {names}: fleet registry prepare creates them, or says how",
    )


def _server_failed(host: str, what: str, status: int, body: bytes, said: str) -> RegistryError:
    # distribution answers 500 UNKNOWN and puts the driver's errno into the detail: 28 is ENOSPC.
    if status == 507 or b"no space left" in body or b'"Err":28' in body.replace(b" ", b""):
        return RegistryError(
            f"{host}: {what}: the registry's disk is full ({status}{said})",
            hint="free space on the registry: delete old releases' manifests, then run its garbage collection "
            "(docs/registry.md); what was uploaded so far is kept",
        )
    name = "too many requests" if status == 429 else "the registry failed"
    hint = "wait and run the command again" if status == 429 else "look at the registry's log, then run again"
    return TransientRegistryError(f"{host}: {what}: {name} ({status}{said})", hint=hint)


def _meaning(status: int) -> str:
    return {
        400: "the registry does not accept it",
        404: "not found",
        405: "the registry does not allow it",
        413: "too large for the registry",
    }.get(status, "unexpected answer")


def _hint(status: int, body: bytes) -> str:
    if b"HTTP request to an HTTPS server" in body or b"plain HTTP request was sent to HTTPS" in body:
        return (
            "the registry speaks TLS: remove registry.plain_http from fleet.yaml; on this machine TLS is used "
            "when registry.ca_file names its authority"
        )
    if b"BLOB_UNKNOWN" in body:
        return "a blob vanished while publishing (garbage collection?): run the same command again"
    if status == 413:
        return "a proxy before the registry limits request sizes: raise it (nginx: client_max_body_size 0)"
    if status == 404:
        return "check registry.address in fleet.yaml: host, port and prefix"
    return "check that registry.address in fleet.yaml is an OCI registry that allows this"


def _said(body: bytes) -> str:
    """Return ``: CODE: message`` out of the registry's error document, or the start of whatever it sent."""
    try:
        errors = decode_object(body, "the answer", WORDS)["errors"]
        parts = [": ".join(str(e[k]) for k in ("code", "message") if e.get(k)) for e in errors if isinstance(e, dict)]
        text = "; ".join(parts)
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode("utf-8", "replace").strip()
    return f": {printable(text, _SHOWN)}" if text else ""
