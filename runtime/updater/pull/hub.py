"""The hub over HTTP(S): reports go there, nothing that it says is believed. Redirects are not followed."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Dict, Optional
from urllib.parse import urlsplit

from runtime.contract.codec import canonical_json
from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.contract.node.report import REPORTS_PATH, SignedReport
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.fetching.upstream import after_s

CONNECT_S, READ_S = 10.0, 20.0
MAX_ANSWER = 64 * 1024
_HINT = "see the hub's log and the robot's link to it"


@dataclass(frozen=True)
class HubAnswer:
    """What the hub makes of a report."""

    status: int
    sequence: int = 0
    """409: the newest that it knows; else the report's own."""
    said: str = ""
    after_s: float = 0.0


class Hub:
    """``url``: of `pull.json`; ``authority``: path of a PEM bundle, or empty. Raises UpstreamError."""

    def __init__(self, url: str, authority: str) -> None:
        self._url, self._authority = urlsplit(url), authority

    def post(self, report: SignedReport) -> HubAnswer:
        """Hand over one report."""
        body = canonical_json(report)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self._ask("POST", REPORTS_PATH, body, headers)

    def is_there(self) -> bool:
        """Whether a hub answers over a new connection."""
        return self._ask("GET", "/healthz", None, {}).status == 200

    def _ask(self, method: str, path: str, body: Optional[bytes], headers: Dict[str, str]) -> HubAnswer:
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(READ_S)
            where = self._url.path.rstrip("/") + path
            connection.request(method, where, body=body, headers={"User-Agent": "jetfleet-updater", **headers})
            response = connection.getresponse()
            content = response.read(MAX_ANSWER)
            return _answer(response.status, content, after_s(response.getheader("Retry-After") or ""))
        except ssl.SSLCertVerificationError as error:
            text = "the hub {}: its certificate is not trusted: {}".format(self._url.netloc, error.verify_message)
            raise UpstreamError(text, "name its authority in hub/ca_file, then `fleet bootstrap`") from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UpstreamError("the hub {}: {}".format(self._url.netloc, why), _HINT, transient=True) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        context = ssl.create_default_context()
        try:
            if self._authority:
                context.load_verify_locations(cafile=self._authority)
        except OSError as error:  # ssl.SSLError among them
            hint = "run `fleet bootstrap` again"
            raise UpstreamError("{} cannot be used: {}".format(self._authority, error), hint) from error
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context)


def _answer(status: int, content: bytes, wait_s: float) -> HubAnswer:
    """Read an answer as far as it can be: a proxy may speak in the hub's place."""
    try:
        found = decode_object(content, "the hub's answer", WORDS)
    except ContractError:
        found = {}
    sequence = found.get("sequence")
    said = found.get("error") or found.get("detail") or ""
    number = sequence if isinstance(sequence, int) and not isinstance(sequence, bool) and sequence >= 0 else 0
    return HubAnswer(status, number, said[:300] if isinstance(said, str) else json.dumps(said)[:300], wait_s)
