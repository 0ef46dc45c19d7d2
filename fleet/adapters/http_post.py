"""HTTP(S) POST to those who want to be told: tried again with backoff up to a deadline, redirects not followed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import requests

from fleet.adapters.http_session import Session, session_of_this_machine
from fleet.errors import OutsideError

_BACKOFF_S = 1.0
_TRY_S = 10.0
"""One try waits no longer for an answer."""
_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)
_MOST_SAID = 200


class RequestsPoster:
    """Implements ``fleet.ports.HttpPoster``: proxies and authorities are this machine's."""

    def __init__(
        self, *, pause: Callable[[float], None] = time.sleep, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause = pause
        self._monotonic = monotonic

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> None:
        """See HttpPoster. Raises OutsideError."""
        until = self._monotonic() + deadline_s
        host = urlsplit(url).hostname or "?"
        tries = 0
        while True:
            tries += 1
            left_s = until - self._monotonic()
            why, may_pass, wait_s = self._attempt(url, body, headers, min(_TRY_S, max(left_s, 0.1)))
            if not why:
                return
            wait_s = max(wait_s, _BACKOFF_S * 2 ** (tries - 1))
            if not may_pass or self._monotonic() + wait_s >= until:
                times = f"{tries} tries" if tries > 1 else "1 try"
                raise OutsideError(
                    f"{host} did not take it: {why} ({times}, {deadline_s:g} s at most)",
                    hint="check the address, its receiver and the proxy settings",
                )
            self._pause(wait_s)

    def _attempt(self, url: str, body: bytes, headers: Mapping[str, str], wait_s: float) -> tuple[str, bool, float]:
        """Post once. Return why it was not taken (empty: it was), whether that may pass, and how long to wait."""
        try:
            with self._session.post(
                url, data=body, headers=dict(headers), timeout=(wait_s, wait_s), allow_redirects=False, stream=True
            ) as reply:
                if 200 <= reply.status_code < 300:
                    return "", False, 0.0
                after = reply.headers.get("Retry-After", "")
                wait = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
                said = reply.raw.read(_MOST_SAID, decode_content=True).decode("utf-8", "replace")
                why = f"HTTP {reply.status_code} {' '.join(said.split())}".strip()
                return why, reply.status_code in _RETRY_STATUS, wait
        except requests.RequestException as error:
            return _without_address(error), True, 0.0
        except OSError as error:
            return type(error).__name__, True, 0.0

    @functools.cached_property
    def _session(self) -> Session:
        return session_of_this_machine()


def _without_address(error: requests.RequestException) -> str:
    """Say what went wrong without the address, of which a part may be a secret."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not connect"
    if isinstance(error, requests.exceptions.Timeout):
        return "it did not answer in time"
    return "it cannot be reached" if isinstance(error, requests.exceptions.ConnectionError) else type(error).__name__
