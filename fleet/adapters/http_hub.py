"""A hub over HTTP(S): every answer is bounded in bytes and time, and read with care: nobody has to believe a hub."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from fleet.adapters.http_session import Session, TrustError, TrustingAdapter, authorities
from fleet.errors import HubError
from fleet.ports import HubPage, HubRow, WaitingRobot
from runtime.contract.codec import ContractError, from_dict
from runtime.contract.json_decoder import Limits, decode_object
from runtime.contract.node.report import MAX_ENVELOPE, SignedReport
from runtime.contract.printable import printable

_CONNECT_S, _READ_S, _WHOLE_S = 10.0, 20.0, 60.0
_MOST_BYTES = 16 * 1024 * 1024
_LIMITS = Limits(size=_MOST_BYTES, depth=8, values=200000, text=MAX_ENVELOPE)
_TRIES = 3
_BACKOFF_S = 1.0
_MAY_PASS = (429, 502, 503, 504)
_MOST_WAIT_S = 10.0
_NOT_FOUND = 404
_NAME_CHARACTERS = 64
_CHECK = "check hub/url in fleet.yaml, and that the hub runs"


class RequestsHub:
    """Implements ``fleet.ports.HubClient``. Proxies and authorities are this machine's, and those of ``ca_file``."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        token: str = "",
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self._ca_file = ca_file
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._pause, self._monotonic = pause, monotonic

    def robots(self, after: str = "", limit: int = 500) -> HubPage:
        """See HubClient. Raises HubError."""
        said = self._get(f"/v1/robots?after={quote(after, safe='')}&limit={limit}")
        robots, following = said.get("robots"), said.get("next")
        if not isinstance(robots, list) or not (following is None or isinstance(following, str)):
            raise self._strange("it has no list of robots")
        rows: list[HubRow] = []
        unreadable: dict[str, str] = {}
        for each in robots:
            name = self._name(each)
            row = _row(name, each)
            if isinstance(row, str):
                unreadable[name] = row
            else:
                rows.append(row)
        return HubPage(tuple(rows), following, unreadable)

    def robot(self, name: str) -> HubRow | None:
        """See HubClient. Raises HubError."""
        said = self._get(f"/v1/robots/{quote(name, safe='')}", absent_is_none=True)
        if not said:
            return None
        row = _row(name, said)
        if isinstance(row, str):
            raise self._strange(f"what it shows for {name} is no report: {row}")
        return row

    def waiting(self) -> tuple[WaitingRobot, ...]:
        """See HubClient. Raises HubError."""
        robots = self._get("/v1/waiting").get("robots")
        try:
            return tuple(from_dict(WaitingRobot, each, "robots[]") for each in _listed(robots))
        except ContractError as error:
            raise self._strange(str(error)) from error

    def _name(self, entry: Any) -> str:
        name = entry.get("robot") if isinstance(entry, dict) else None
        if not isinstance(name, str) or len(name) > _NAME_CHARACTERS:
            raise self._strange("one of its robots has no name")
        return name

    def _get(self, path: str, *, absent_is_none: bool = False) -> Mapping[str, Any]:
        """Return the object behind a path; an empty one for a 404 where that is an answer. Tries again a few times."""
        for tries in range(1, _TRIES + 1):
            status, body, wait_s = self._ask(path, last=tries == _TRIES)
            if status not in _MAY_PASS or tries == _TRIES:
                break
            self._pause(min(max(wait_s, _BACKOFF_S * tries), _MOST_WAIT_S))
        if status == _NOT_FOUND and absent_is_none:
            return {}
        try:
            said = decode_object(body, "the answer", _LIMITS)
        except ContractError as error:
            if status == requests.codes.ok:
                raise self._strange(str(error)) from error
            said = {}
        if status == requests.codes.ok:
            return said
        why = printable(str(said.get("error") or body[:200].decode("utf-8", "replace")), 200)
        refused = status in (requests.codes.unauthorized, requests.codes.forbidden)
        hint = "name the hub's token in hub/token of fleet.yaml" if refused else _CHECK
        raise HubError(f"the hub {self.url} answers HTTP {status}: {why}", hint=hint)

    def _ask(self, path: str, *, last: bool) -> tuple[int, bytes, float]:
        """Return status, body and how long to wait before the next try. An unreachable hub is status 503 until the
        last try, which raises HubError."""
        try:
            until = self._monotonic() + _WHOLE_S
            with self._session.get(
                self.url + path,
                headers=self._headers,
                timeout=(_CONNECT_S, _READ_S),
                allow_redirects=False,
                stream=True,
            ) as reply:
                after = reply.headers.get("Retry-After", "")
                wait_s = float(after) if after.isascii() and after.isdigit() and len(after) < 5 else 0.0
                return reply.status_code, self._body(reply, until), wait_s
        except (requests.RequestException, OSError) as error:
            if not last:
                return 503, b"", 0.0
            raise HubError(f"the hub {self.url} cannot be asked: {_in_words(error)}", hint=_CHECK) from error

    def _body(self, reply: requests.Response, until: float) -> bytes:
        parts, size = [], 0
        for part in reply.iter_content(256 * 1024):
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise self._strange(f"it is larger than {_MOST_BYTES >> 20} MiB")
            if self._monotonic() > until:
                raise self._strange(f"it did not come to its end within {_WHOLE_S:g} s")
        return b"".join(parts)

    def _strange(self, why: str) -> HubError:
        said = printable(why, 300)
        return HubError(f"the hub {self.url} gives an answer that is none: {said}", hint="see what answers there")

    @functools.cached_property
    def _session(self) -> Session:
        try:
            return Session(TrustingAdapter(authorities(self._ca_file)))
        except TrustError as error:
            raise HubError(
                str(error), hint="correct hub/ca_file in fleet.yaml, or the variable that is named"
            ) from error


def _row(name: str, entry: Any) -> HubRow | str:
    """Return what is shown for a robot, or why it is no report."""
    received, envelope = entry.get("received_at"), entry.get("envelope")
    if not (received is None or (isinstance(received, (int, float)) and not isinstance(received, bool))):
        return "received_at is no time"
    try:
        found = None if envelope is None else from_dict(SignedReport, envelope, "envelope")
    except ContractError as error:
        return printable(str(error), 200)
    return HubRow(name, None if received is None else float(received), found)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ContractError("robots: expected a list")
    return value


def _in_words(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted (hub/ca_file names its authority)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not connect"
    if isinstance(error, requests.exceptions.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "it cannot be reached"
    return type(error).__name__
