"""HTTP sessions of this machine: its proxies, its authorities, and nothing that would show credentials by itself.

`requests` alone reads ~/.netrc (again at each redirect), keeps cookies, takes certifi's authorities in place of the
system's, and does not know ``NO_PROXY=*.lan``.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from fleet.errors import OutsideError
from runtime.contract.registry.no_proxy import without_proxy

#: Instead of the system's authorities, as `requests` has it; the first that is set.
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: For an answer's status and headers, seconds from the end of the request. A body has a least rate (`least_rate`).
HEAD_S = 180.0
#: OpenSSL's own: each in place of the system's file or folder.
OPENSSL = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class TrustError(Exception):
    """A file of authorities that cannot be read. The message names it."""


def authorities(ca_file: str | Path | None = None, environ: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Return who is trusted: this machine's authorities, and those of ``ca_file`` too. Raises TrustError.

    The machine's are those that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, and SSL_CERT_FILE and SSL_CERT_DIR name; without
    any of these the system's and certifi's (a minimal container has none of its own).
    """
    variables = os.environ if environ is None else environ
    bundle = [name for name in BUNDLES if variables.get(name)][:1]
    given = [name for name in OPENSSL if variables.get(name)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if bundle else ssl.create_default_context()
    for name in (*bundle, *given):  # OpenSSL by itself overlooks a file that is not there
        _load(context, variables[name], name)
    if not bundle and not given:
        _load(context, DEFAULT_CA_BUNDLE_PATH, "certifi")
    if ca_file is not None:
        _load(context, str(ca_file), "")
    return context


def _load(context: ssl.SSLContext, place: str, named_by: str) -> None:
    at = f"{named_by}={place}" if named_by else place
    try:
        context.load_verify_locations(**({"capath": place} if Path(place).is_dir() else {"cafile": place}))
    except FileNotFoundError as error:
        raise TrustError(f"{at}: no such file") from error
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TrustError(f"{at}: no certificates can be read there: {error}") from error


def proxies_for(url: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what `requests` takes as ``proxies`` for this URL: at most one; none for hosts in NO_PROXY."""
    parts = urlsplit(url)
    found = getproxies() if environ is None else _environment_proxies(environ)
    proxy = found.get(parts.scheme) or found.get("all")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not proxy or without_proxy(found.get("no", ""), parts.hostname or "", port):
        return {}
    return {parts.scheme: proxy}


def _environment_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    names = ("http", "https", "all", "no")
    return {name: environ.get(f"{name}_proxy") or environ.get(f"{name}_PROXY".upper()) or "" for name in names}


class Session(requests.Session):
    """One thread's connections. No ~/.netrc, no cookies; the proxy is found again for each place that is asked."""

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:  # as in requests, with our proxies
        """Return the settings of one request."""
        return super().merge_environment_settings(url, proxies or proxies_for(str(url)), stream, verify, cert)

    def rebuild_proxies(self, prepared_request: Any, proxies: Any) -> Any:  # noqa: ARG002  (its interface)
        """Return the proxies of a redirect's target."""
        return proxies_for(str(prepared_request.url))


class _WholeHead:
    """Mixed into a connection: its answers' heads are whole within ``HEAD_S``.

    A timeout of the socket begins anew with every byte.
    """

    sock: Any

    def getresponse(self) -> Any:
        """Return the answer. Raises TimeoutError, after hanging up, for one whose head does not end."""
        line, late = self.sock, threading.Event()

        def hang_up() -> None:
            late.set()
            with suppress(OSError):  # it is closed already
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(HEAD_S, hang_up)
        timer.daemon = True
        timer.start()
        try:
            found = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():  # what came looks like a head that ended
            raise TimeoutError(f"the head of its answer did not end within {HEAD_S:g} s")
        return found


class _Plain(_WholeHead, HTTPConnection):
    """HTTP."""


class _Secure(_WholeHead, HTTPSConnection):
    """HTTPS."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class TrustingAdapter(HTTPAdapter):
    """Connections that trust what ``context`` trusts, with or without a proxy."""

    def __init__(self, context: ssl.SSLContext, **pool: Any) -> None:
        self._context = context
        super().__init__(**pool)

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """Make the pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **settings)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """Make the pool of a proxy; one that is asked by TLS is judged in the same way."""
        if proxy.lower().startswith("https:"):
            settings["proxy_ssl_context"] = self._context
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **settings)
        if type(manager) is ProxyManager:  # that of SOCKS has pools of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002  (its interface)
        """Leave the judgement to the context: requests would add its own authorities."""
        conn.cert_reqs = "CERT_REQUIRED"


def session_of_this_machine() -> Session:
    """Return a session that trusts what this machine trusts. Raises OutsideError for unreadable authorities."""
    try:
        return Session(TrustingAdapter(authorities()))
    except TrustError as error:
        raise OutsideError(str(error), hint="correct the variable that is named") from error
