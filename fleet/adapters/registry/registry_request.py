"""What is asked of a registry, what comes back, and how patiently it is asked: plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol

from fleet.adapters.registry.registry_auth import Scopes


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


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that Retry-After asks for, as a number or as a date; ``now`` in Unix seconds."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
