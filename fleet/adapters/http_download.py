"""HTTP(S) downloads: streamed, sha256 checked, retried, never half a file under the final name."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import requests

from fleet.adapters.http_session import Session, session_of_this_machine
from fleet.adapters.least_rate import TooSlow
from fleet.adapters.received_file import Received, TooLarge, replaced_whole
from fleet.adapters.retry import RetryPolicy, retried
from fleet.errors import OutsideError

_RETRY = RetryPolicy(base_s=1.0)
_CONNECT_S, _SILENCE_S = 10.0, 60.0
#: Protobuf reads no more in one message.
_MAX_BYTES = 2 << 30
_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)


class HttpDownloader:
    """Implements ``fleet.ports.Downloader``: proxies and authorities are this machine's, ~/.netrc is not read."""

    def __init__(self, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._pause = pause

    @functools.cached_property
    def _session(self) -> Session:
        return session_of_this_machine()

    def fetch(self, url: str, to: Path, *, sha256: str) -> None:
        """See Downloader. Raises OutsideError."""
        if not url.startswith(("https://", "http://")):
            raise OutsideError(f"cannot download {url}: only http and https", hint="write an https:// address")
        try:
            retried(
                lambda: self._attempt(url, to, sha256),
                requests.RequestException,
                _RETRY.tries,
                lambda failures, _error: self._pause(_RETRY.wait_s(failures)),
            )
        except requests.RequestException as error:
            raise OutsideError(
                f"cannot download {url}: {error} ({_RETRY.tries} tries)",
                hint="check the address, the network and the proxy settings, then run the command again",
            ) from error

    def _attempt(self, url: str, to: Path, sha256: str) -> None:
        """Download once. Raises requests' errors, which may pass, and OutsideError."""
        try:
            with self._session.get(url, stream=True, timeout=(_CONNECT_S, _SILENCE_S)) as reply:
                if reply.status_code in _RETRY_STATUS:
                    raise requests.HTTPError(f"the server says {reply.status_code} {reply.reason}")
                if reply.status_code != 200:
                    raise OutsideError(
                        f"cannot download {url}: the server says {reply.status_code} {reply.reason}",
                        hint="check the address in the model's source.url, and that it needs no login",
                    )
                self._save(reply, url, to, sha256)
        except requests.exceptions.SSLError as error:
            raise OutsideError(
                f"cannot download {url}: its certificate is not trusted: {error}",
                hint="set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to your authority's certificates",
            ) from error

    def _save(self, reply: requests.Response, url: str, to: Path, sha256: str) -> None:
        try:
            with replaced_whole(to) as file:
                received = Received(file)
                received.take(reply, _MAX_BYTES)
                _check(url, received.sha256, sha256)
        except TooLarge as error:
            raise OutsideError(
                f"cannot download {url}: it is larger than {_MAX_BYTES >> 30} GiB",
                hint="an ONNX file cannot be larger: check the address in the model's source.url",
            ) from error
        except TooSlow as slow:
            raise OutsideError(
                f"cannot download {url}: {slow}", hint="look at the server and the network, then run the command again"
            ) from slow
        except requests.RequestException:
            raise  # an OSError too, but one that may pass
        except OSError as error:
            raise OutsideError(
                f"cannot save {url} as {to}: {error}", hint="make room or fix the permissions"
            ) from error


def _check(url: str, found: str, pinned: str) -> None:
    if found != pinned:
        raise OutsideError(
            f"{url} has sha256 {found[:12]}…, the manifest pins {pinned[:12]}…",
            hint="if the change is intended set source.sha256 to the new value, otherwise ask who changed the file",
        )
