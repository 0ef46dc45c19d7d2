"""Hooks: who is told of a rollout's steps, what they are told, and what becomes of one that fails.

Nobody is told a secret: the payload has names, versions, counts and sentences that `fleet history` shows too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from fleet.bootstrap.secret import read_secret
from fleet.errors import OutsideError, UsageError
from fleet.manifest.schema.hook_schema import Hook, check_url
from fleet.ports import Clock, HttpPoster
from fleet.programs import ProgramFailed, run_program
from fleet.rollout import audit
from fleet.rollout.result import RolloutResult

BEFORE_ROLLOUT, BEFORE_WAVE, AFTER_WAVE = "before-rollout", "before-wave", "after-wave"
ON_PAUSE, ON_FAILURE, AFTER_ROLLOUT = "on-pause", "on-failure", "after-rollout"
SCHEMA = 1
MOST_NAMES = 100
"""Robots that a payload names; ``robot_count`` says how many there are."""
_SIGNATURE = "X-Jetfleet-Signature"


@dataclass(frozen=True)
class HookFailure:
    """A hook that did not do what it is for."""

    event: str
    hook: str
    """``hooks/1 (hooks.example)``."""
    why: str
    stops: bool


@dataclass(frozen=True)
class _Ready:
    """A hook with its secrets in memory."""

    hook: Hook
    name: str
    url: str = ""
    secret: str = ""
    key: str = ""


@dataclass
class Hooks:
    """The hooks of one rollout. Made before anything is changed: a secret that is missing is refused then."""

    fleet: str
    version: str
    release: str
    kind: str
    """rollout | rollback."""
    root: Path
    poster: HttpPoster
    clock: Clock
    ready: tuple[_Ready, ...] = ()
    failures: list[HookFailure] = field(default_factory=list)

    def tell(self, event: str, **facts: Any) -> str:
        """Tell all hooks of an event, in order. Return why the rollout is to stop; empty: it goes on.

        A hook that fails is in ``failures``, whatever it means for the rollout. ``facts``: keys of the payload.
        """
        stop = ""
        payload = self._payload(event, facts)
        for each in self.ready:
            if event not in each.hook.events:
                continue
            if why := self._one(each, event, payload):
                stops = each.hook.on_error == "stop" and self.kind != audit.ROLLBACK  # The way out waits for nobody.
                self.failures.append(HookFailure(event, each.name, why, stops))
                stop = stop or (f"{each.name} failed {event}: {why}" if stops else "")
        return stop

    def ended(self, result: RolloutResult, reason: str) -> None:
        """Tell how it ended: paused, failed or over. ``reason``: of the error it ends with, if any."""
        error = result.error()
        facts = {
            "outcome": audit.outcome_of(result),
            "reason": reason,
            "counts": result.counts,
            **_names([robot.name for robot in result.robots]),
        }
        if result.paused is not None:
            self.tell(ON_PAUSE, wave=result.paused.wave, waves=len(result.paused.waves), **facts)
            return
        if error is not None and error.exit_code in (3, 4):
            self.tell(ON_FAILURE, **facts)
        self.tell(AFTER_ROLLOUT, **facts)

    def wave(self, event: str, wave: int, waves: int, robots: Sequence[str], counts: dict[str, int]) -> str:
        """Tell of a wave's begin or end; see `tell`."""
        return self.tell(event, wave=wave, waves=waves, counts=counts, **_names(robots))

    def _payload(self, event: str, facts: dict[str, Any]) -> dict[str, Any]:
        payload = {
            "schema": SCHEMA,
            "id": uuid.uuid4().hex,
            "event": event,
            "at": self.clock.now(),
            "fleet": self.fleet,
            "kind": self.kind,
            "version": self.version,
            "release": self.release,
            "by": audit.operator(),
            "wave": None,
            "waves": None,
            "outcome": None,
            "reason": "",
            "counts": {},
            "robots": [],
            "robot_count": 0,
            **facts,
        }
        return {**payload, "text": _text(payload)}

    def _one(self, each: _Ready, event: str, payload: dict[str, Any]) -> str:
        """Tell one hook; return why that failed."""
        timeout_s = each.hook.timeout
        try:
            if each.hook.command is not None:
                environment = {"JETFLEET_EVENT": event}
                body = json.dumps(payload).encode()
                run_program(each.hook.command, self.root, timeout_s, stdin=body, environment=environment)
            else:
                body = json.dumps(_formatted(each, event, payload)).encode()
                self.poster.post(each.url, body, self._headers(each, event, payload, body), deadline_s=timeout_s)
        except (ProgramFailed, OutsideError) as error:
            return error.message
        return ""

    def _headers(self, each: _Ready, event: str, payload: dict[str, Any], body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "jetfleet",
            "X-Jetfleet-Event": event,
            "X-Jetfleet-Id": str(payload["id"]),
        }
        if each.secret:
            headers[_SIGNATURE] = signature(each.secret, body, int(self.clock.now()))
        return headers


def signature(secret: str, body: bytes, at: int) -> str:
    """Return ``t=<Unix seconds>,v1=<hex HMAC-SHA256 of "<seconds>.<body>">``: old posts cannot be sent again unseen."""
    mac = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def make_hooks(
    hooks: Sequence[Hook],
    *,
    fleet: str,
    version: str,
    release: str,
    kind: str,
    root: Path,
    poster: HttpPoster,
    clock: Clock,
) -> Hooks:
    """Read the secrets of the hooks. Raises UsageError for one that is missing, before anything is changed.

    A rollback goes on without a hook whose secret is missing: that is a failure of the hook, to be told.
    """
    made = Hooks(fleet, version, release, kind, root, poster, clock)
    ready: list[_Ready] = []
    for index, hook in enumerate(hooks):
        if kind != audit.ROLLBACK:
            ready.append(_ready(index, hook))
            continue
        found = _ready_or_why(index, hook)
        if isinstance(found, _Ready):
            ready.append(found)
        else:
            made.failures.append(HookFailure(BEFORE_ROLLOUT, f"hooks/{index}", found, stops=False))
    made.ready = tuple(ready)
    return made


def _ready_or_why(index: int, hook: Hook) -> _Ready | str:
    try:
        return _ready(index, hook)
    except UsageError as error:
        return error.message


def _ready(index: int, hook: Hook) -> _Ready:
    at = f"hooks/{index}"
    if hook.command is not None:
        return _Ready(hook, f"{at} ({PurePath(shlex.split(hook.command)[0]).name})")
    assert hook.url is not None, "a hook is a command or an address"
    url = hook.url.address or ""
    if hook.url.secret is not None:
        url = read_secret(hook.url.secret, f"{at}/url")
        try:
            check_url(url)
        except ValueError as error:
            raise UsageError(f"{at}/url: {error}", hint="correct what is kept there") from error
    return _Ready(
        hook,
        f"{at} ({urlsplit(url).hostname})",
        url,
        read_secret(hook.secret, f"{at}/secret") if hook.secret else "",
        read_secret(hook.key, f"{at}/key") if hook.key else "",
    )


def _names(robots: Sequence[str]) -> dict[str, Any]:
    return {"robots": list(robots[:MOST_NAMES]), "robot_count": len(robots)}


def _text(payload: dict[str, Any]) -> str:
    """Return the event in one line for people."""
    what = f"{payload['fleet']}: {payload['kind']} of {payload['version']}"
    wave = f" wave {payload['wave']} of {payload['waves']}" if payload["wave"] else ""
    counts = ", ".join(f"{count} {name}" for name, count in payload["counts"].items())
    said = {
        BEFORE_ROLLOUT: f"begins for {payload['robot_count']} robots",
        BEFORE_WAVE: f"begins{wave}, {payload['robot_count']} robots",
        AFTER_WAVE: f"has passed{wave}",
        ON_PAUSE: f"waits before{wave}",
        ON_FAILURE: "failed",
        AFTER_ROLLOUT: str(payload["outcome"]),
    }[str(payload["event"])]
    return (
        f"{what} {said}" + (f" ({counts})" if counts else "") + (f": {payload['reason']}" if payload["reason"] else "")
    )


def _formatted(each: _Ready, event: str, payload: dict[str, Any]) -> dict[str, Any]:
    if each.hook.format == "slack":
        return {"text": payload["text"]}
    if each.hook.format == "pagerduty":
        failed = event == ON_FAILURE
        resolved = event == AFTER_ROLLOUT and payload["outcome"] == audit.SUCCEEDED
        return {
            "routing_key": each.key,
            "event_action": "resolve" if resolved else "trigger",
            "dedup_key": f"jetfleet/{payload['fleet']}",
            "payload": {
                "summary": str(payload["text"])[:1024],
                "source": payload["fleet"],
                "severity": "error" if failed else "info",
                "custom_details": payload,
            },
        }
    return payload
