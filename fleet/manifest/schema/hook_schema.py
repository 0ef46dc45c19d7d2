"""`hooks` of the manifest: who is told of a rollout, and may stop it."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fleet.manifest.schema.registry_schema import Secret
from fleet.manifest.schema.values import Frozen, Seconds, Text

HookEvent = Literal["before-rollout", "before-wave", "after-wave", "on-pause", "on-failure", "after-rollout"]
MAY_STOP = frozenset({"before-rollout", "before-wave", "after-wave"})
"""Events after which something is still to come."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check_url(value: str) -> str:
    """Return an address that may be posted to. Raises ValueError, which does not repeat it: it may be a secret."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("the address is none: write https://host/path") from error
    if not host or parts.scheme not in ("https", "http") or re.search(r"[\x00-\x20\x7f]", value):
        raise ValueError("the address is none: write https://host/path")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError("what is posted can be read on the way: write an https:// address")
    return value


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"the command cannot be read ({error}): write it as for a shell, its quotes closed") from error
    if not words:
        raise ValueError("the command is empty: write the program, and its arguments")
    return value


def _url(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


class HookUrl(Frozen):
    """Where a hook is posted to: written here, or found as a secret is."""

    address: Annotated[Text, AfterValidator(check_url)] | None = None
    command: Annotated[Text, AfterValidator(_command)] | None = None
    file: Text | None = None
    env: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> HookUrl:
        if sum(each is not None for each in (self.address, self.command, self.file, self.env)) != 1:
            raise ValueError("an address is in one place: write it, or give one of command, file and env")
        return self

    @property
    def secret(self) -> Secret | None:
        """Where it is found, when it is not written here."""
        return None if self.address else Secret(command=self.command, file=self.file, env=self.env)


class Hook(Frozen):
    """One program or address that is told of events."""

    events: Annotated[tuple[HookEvent, ...], Field(min_length=1)]
    command: Annotated[Text, AfterValidator(_command)] | None = None
    """Run without a shell in the folder of fleet.yaml; gets the payload on stdin, the event as JETFLEET_EVENT."""
    url: Annotated[HookUrl, BeforeValidator(_url, json_schema_input_type=str | HookUrl)] | None = None
    """Gets the payload by HTTPS POST."""
    secret: Secret | None = None
    """Signs what is posted (HMAC-SHA256), so that the receiver can trust it."""
    format: Literal["jetfleet", "slack", "pagerduty"] = "jetfleet"
    """What is posted: our own document, or what these services take."""
    key: Secret | None = None
    """PagerDuty's routing key, which it wants in the body."""
    timeout: Annotated[Seconds, Field(gt=0, le=120)] = 30.0
    """Its deadline, all tries together."""
    on_error: Literal["warn", "stop"] = "warn"
    """What becomes of the rollout when the hook fails: it is said and goes on, or no further robot is begun."""

    @model_validator(mode="after")
    def _whole(self) -> Hook:
        if (self.command is None) == (self.url is None):
            raise ValueError("a hook is one of two: give command or url")
        if self.command is not None and (self.secret or self.key or self.format != "jetfleet"):
            raise ValueError("a command gets our own document on stdin: leave secret, key and format out")
        if (self.format == "pagerduty") != (self.key is not None):
            raise ValueError("PagerDuty finds its service by a routing key: give format: pagerduty and key together")
        late = [event for event in self.events if event not in MAY_STOP]
        if self.on_error == "stop" and late:
            raise ValueError(
                f"nothing is left to stop {late[0]}: give on_error: stop to {', '.join(sorted(MAY_STOP))} only"
            )
        return self
