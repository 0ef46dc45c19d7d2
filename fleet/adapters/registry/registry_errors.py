"""What a registry's refusals and broken links mean for a person: every sentence of the registry client is here."""

from __future__ import annotations

import requests

from fleet.errors import RegistryAuthError, RegistryError
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.printable import printable

#: Statuses worth another try: the registry, or the proxy before it, says that it is not its day.
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})


#: Characters of a registry's own words that are shown.
_SHOWN = 500


class TransientRegistryError(RegistryError):
    """May go away by itself: a broken link, an overloaded registry. Raised to callers only after the last try."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DigestMismatch(RegistryError):
    """Bytes are not what their digest says."""

    def __init__(self, host: str, what: str, wanted: str, got: str) -> None:
        super().__init__(
            f"{host}: {what}: digest mismatch: wanted {wanted}, got {got}",
            hint="the registry's storage or a proxy before it changed the bytes; nothing was kept. Try again, and if "
            "it stays, check the registry's disk",
        )


def link_broken(host: str, what: str, error: requests.RequestException) -> RegistryError:
    """Translate a request that got no (whole) answer."""
    text = _innermost(error)
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


def refused(host: str, what: str, status: int, body: bytes, credentials: str) -> RegistryError:
    """Translate an answer with an error status. ``credentials`` names where the credentials used came from."""
    said = _said(body)
    if status in (401, 403):
        return RegistryAuthError(
            f"{host}: {what}: refused ({status}{said}); {credentials}",
            hint=f"log in with an account that may do this: docker login {host}",
        )
    if status in TRANSIENT_STATUSES or status == 507:
        return _server_failed(host, what, status, body, said)
    return RegistryError(f"{host}: {what}: {_meaning(status)} ({status}{said})", hint=_hint(status, body))


def _server_failed(host: str, what: str, status: int, body: bytes, said: str) -> RegistryError:
    # distribution answers 500 UNKNOWN and puts the driver's errno into the detail: 28 is ENOSPC.
    if status == 507 or b"no space left" in body or b'"Err":28' in body.replace(b" ", b""):
        return RegistryError(
            f"{host}: {what}: the registry's disk is full ({status}{said})",
            hint="free space on the registry: delete old releases' manifests, then run its garbage collection "
            "(docs/registry.md); what was uploaded so far is kept",
        )
    name = "too many requests" if status == 429 else "the registry failed"
    hint = "wait a little and run the command again" if status == 429 else "look at the registry's log, then run again"
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
        return "the registry speaks TLS: remove registry.plain_http from fleet.yaml"
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
