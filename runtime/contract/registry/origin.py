"""Whose server a URL means, and where a registry may send its client.

Credentials belong to one origin: scheme, host and port (RFC 6454). A registry may redirect to a store of blobs, and
that store is somebody else: what it asks for it does not get (CVE-2020-15157 is a client that answered).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}
#: What may stand in a URL as it is; `urllib.request` quotes the rest in the same way.
_AS_IS = "%/:=&?~#+!$,;'@()*[]|"
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)


class RedirectRefused(ValueError):
    """A place that a client must not go to. The message says why, without any secret part of the place."""


@dataclass(frozen=True)
class Origin:
    """One server."""

    scheme: str
    """``http`` or ``https``."""
    host: str
    """Lower case, IPv6 addresses without brackets."""
    port: int

    def __str__(self) -> str:
        """Return ``https://registry.example:5000``, without a port that goes without saying."""
        host = "[{}]".format(self.host) if ":" in self.host else self.host
        return "{}://{}{}".format(self.scheme, host, "" if self.port == _PORTS[self.scheme] else ":%d" % self.port)


def origin_of(url: str) -> Origin:
    """Return the server of an absolute URL. Raises RedirectRefused for what is none, or carries a user or password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise RedirectRefused("a URL that cannot be read") from error
    if parts.scheme not in _PORTS or not host or not all(32 < ord(letter) < 127 for letter in host):
        raise RedirectRefused("a URL that is neither http nor https, or names no host")
    if "@" in parts.netloc:
        raise RedirectRefused("a URL with a user or a password in it, to {}".format(host))
    return Origin(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)


def redirect_target(url: str, location: str, registry: Origin) -> str:
    """Return where an answer to ``url`` with this Location leads. Raises RedirectRefused.

    Once TLS protects what is asked, nothing leads out of it. A registry behind a TLS proxy often writes ``http`` into
    its own URLs: below ``/v2/`` of its own host that means itself.
    """
    if not location.strip():
        raise RedirectRefused("nowhere: the answer has no Location")
    here = origin_of(url)
    try:
        joined = urljoin(url, location.strip()).partition("#")[0]
    except ValueError as error:
        raise RedirectRefused("a URL that cannot be read") from error
    # Headers come as Latin-1: so the bytes of the address stay what they were.
    target = quote(joined, safe=_AS_IS, encoding="latin-1", errors="replace")
    there = origin_of(target)
    if there.scheme == "https" or "https" not in (here.scheme, registry.scheme):
        return target
    path = target.split("://", 1)[1].partition("/")[2]
    if there.host == registry.host and path.startswith("v2/") and registry.scheme == "https":
        return "{}/{}".format(registry, path)
    raise RedirectRefused("{}, which has no TLS".format(there))
