"""Keys of the manifest about robots that come for their release, and about the hub that collects their reports."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from fleet.manifest.schema.registry_schema import Secret
from fleet.manifest.schema.trust_schema import Lifetime
from fleet.manifest.schema.values import Frozen, Seconds, Text
from runtime.contract.robot.desired import MOST_DESIRED_S

Link = Literal["ssh", "pull"]
"""How a robot is reached: the operator logs in, or the robot looks into the registry by itself."""
_DAY_S = 86400.0
_PORT = re.compile(r"https?://(?:\[[^\]]*\]|[^:/]*)(?::([0-9]*))?(?:/.*)?")


def _hub_url(value: str) -> str:
    match = _PORT.fullmatch(value)
    port = match[1] if match is not None else None
    if port is not None and not (port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r} has no port between 1 and 65535: write it as in https://hub.example:8443")
    return value.rstrip("/")


def _statement(seconds: float) -> float:
    if seconds > MOST_DESIRED_S:
        raise ValueError(
            f"{seconds / _DAY_S:g} days are longer than robots take a statement: "
            f"write {MOST_DESIRED_S / _DAY_S:.0f}d or less"
        )
    return seconds


class Hub(Frozen):
    """Where robots send their signed reports, and where `fleet` reads them."""

    url: Annotated[
        str,
        StringConstraints(pattern=r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?(/[A-Za-z0-9._~/-]*)?$"),
        AfterValidator(_hub_url),
    ]
    """``https://hub.example:8443``; a path below it where a proxy has one. Without a slash at its end."""
    ca_file: Text | None = None
    """PEM bundle of the authority of its certificate, relative to fleet.yaml; added to the machine's, here and on
    robots."""
    token: Secret | None = None
    """What reading asks for; robots never have it."""


class Pull(Frozen):
    """How often robots look and report, and how long what is signed for them lasts."""

    poll: Annotated[Seconds, Field(ge=1.0, le=_DAY_S)] = 60.0
    """A robot looks for a new desired statement so often, less or more by its own share of it."""
    report: Annotated[Seconds, Field(ge=1.0, le=_DAY_S)] = 300.0
    """A robot reports so often when nothing changed; a change is reported at once."""
    reachable: Annotated[Seconds, Field(ge=2.0, le=30 * _DAY_S)] = 900.0
    """A robot that reported within this time counts as reachable."""
    statement: Annotated[Lifetime, AfterValidator(_statement)] = Field(
        default=_DAY_S, json_schema_extra={"default": "24h"}
    )
    """A desired statement counts for so long after it was signed; a robot that has no later one then holds."""
