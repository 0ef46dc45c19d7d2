"""HTTP(S) downloads: streamed, sha256 checked, retried, never half a file under the final name."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from fleet.adapters.http_session import Session, TrustError, TrustingAdapter, authorities
from fleet.adapters.least_rate import TooSlow, pieces
from fleet.errors import OutsideError

_TRIES = 4
_BACKOFF_S = 1.0
_CONNECT_S, _SILENCE_S = 10.0, 60.0
_CHUNK = 1024 * 1024
#: Protobuf reads no more in one message.
_MAX_BYTES = 2 << 30
_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)


class HttpDownloader:
    """Implements ``fleet.ports.Downloader``: proxies and authorities are this machine's, ~/.netrc is not read."""

    def __init__(self, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._pause = pause
        self._sessions: Session | None = None

    def _session(self) -> Session:
        if self._sessions is None:
            try:
                self._sessions = Session(TrustingAdapter(authorities()))
            except TrustError as error:
                raise OutsideError(str(error), hint="correct the variable that is named") from error
        return self._sessions

    def fetch(self, url: str, to: Path, *, sha256: str) -> None:
        """See Downloader. Raises OutsideError."""
        if not url.startswith(("https://", "http://")):
            raise OutsideError(f"cannot download {url}: only http and https", hint="write an https:// address")
        for attempt in range(1, _TRIES + 1):
            error = self._attempt(url, to, sha256)
            if error is None:
                return
            if attempt == _TRIES:
                raise OutsideError(
                    f"cannot download {url}: {error} ({_TRIES} tries)",
                    hint="check the address, the network and the proxy settings, then run the command again",
                ) from error
            self._pause(_BACKOFF_S * 2 ** (attempt - 1))

    def _attempt(self, url: str, to: Path, sha256: str) -> requests.RequestException | None:
        """Download once. Returns an error that may pass, raises one that will not."""
        try:
            with self._session().get(url, stream=True, timeout=(_CONNECT_S, _SILENCE_S)) as reply:
                if reply.status_code in _RETRY_STATUS:
                    return requests.HTTPError(f"the server says {reply.status_code} {reply.reason}")
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
        except requests.RequestException as error:
            return error
        return None

    def _save(self, reply: requests.Response, url: str, to: Path, sha256: str) -> None:
        digest, left = hashlib.sha256(), _MAX_BYTES
        try:
            with tempfile.NamedTemporaryFile(dir=to.parent, prefix=".partial-", delete=False) as file:
                partial = Path(file.name)
                try:
                    for chunk in pieces(reply, _CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise OutsideError(
                                f"cannot download {url}: it is larger than {_MAX_BYTES >> 30} GiB",
                                hint="no ONNX file is: check the address in the model's source.url",
                            )
                        file.write(chunk)
                        digest.update(chunk)
                    file.flush()
                    _check(url, digest.hexdigest(), sha256)
                    partial.replace(to)
                finally:
                    partial.unlink(missing_ok=True)
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
