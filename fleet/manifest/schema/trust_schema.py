"""Who signs releases, as the manifest says it. What the keys mean for a person is in `reference.yaml`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from fleet.manifest.schema.values import Frozen, Text
from runtime.contract.robot.root import MOST_NEWEST_S
from runtime.contract.robot.trust import MOST_RELEASE_S

_LIFETIME = re.compile(r"([0-9]{1,4})(h|d)")
_SECONDS = {"h": 3600.0, "d": 86400.0}
DEFAULT_S = 90 * _SECONDS["d"]


def _lifetime(value: Any) -> Any:
    match = _LIFETIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not how long a signature lasts: write hours or days, such as 12h or 90d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > MOST_RELEASE_S:
        raise ValueError(
            f"{value!r} is longer than robots accept a release: write {MOST_RELEASE_S / 86400:.0f}d or less"
        )
    return seconds


Lifetime = Annotated[
    float,
    BeforeValidator(_lifetime),
    WithJsonSchema({"type": "string", "pattern": _LIFETIME.pattern, "examples": ["12h", "90d"]}),
]


def _newest(value: Any) -> Any:
    return 0.0 if value == "none" else _lifetime(value)


NewestLifetime = Annotated[
    float,
    BeforeValidator(_newest),
    WithJsonSchema({"type": "string", "pattern": f"{_LIFETIME.pattern}|none", "examples": ["24h", "7d", "none"]}),
]


class Trust(Frozen):
    """Robots of this fleet take only releases that enough of these people signed."""

    signers: Text
    """An OpenSSH allowed_signers file; relative to fleet.yaml."""
    threshold: Annotated[int, Field(ge=1, le=16)] = 1
    """So many of them must have signed, each with a key of their own."""
    sign_with: Text | None = None
    """The operator's SSH key, or the public half of one that an agent or a token holds; relative to fleet.yaml, ``~``
    is their home."""
    expires: Lifetime = Field(default=DEFAULT_S, json_schema_extra={"default": "90d"})
    """Robots take a release for so long after it was signed."""
    revoked: Text | None = None
    """File of public keys, or an OpenSSH KRL, that count no more; relative to fleet.yaml."""
    builders: Text | None = None
    """An allowed_signers file of those who attest engines and base images; relative to fleet.yaml. Left out: the lines
    of ``signers`` that may sign in the namespace ``jetfleet.provenance``."""
    build_with: Text | None = None
    """The key that `fleet build` attests with, as ``sign_with`` names one; ``sign_with`` when left out."""

    advance: Text | None = None
    """An allowed_signers file of those who say which release is the newest; relative to fleet.yaml. Left out: the lines
    of ``signers`` that may sign in the namespace ``jetfleet.newest``."""
    advance_with: Text | None = None
    """The key for that, as ``sign_with`` names one; ``sign_with`` when left out."""
    newest: NewestLifetime = Field(default=MOST_NEWEST_S, json_schema_extra={"default": "7d"})
    """A robot that sees no newer statement for so long is stale; ``none``: nobody says which release is the newest."""

    @property
    def unsigned(self) -> bool:
        """Robots take releases that nobody signed."""
        return not self.signers


UNSIGNED = Trust.model_construct(
    signers="",
    threshold=0,
    sign_with=None,
    expires=0.0,
    revoked=None,
    builders=None,
    build_with=None,
    advance=None,
    advance_with=None,
    newest=0.0,
)
"""What ``trust: unsigned`` comes to."""


def _trust(value: Any) -> Any:
    if value == "unsigned":
        return UNSIGNED
    if isinstance(value, str):
        raise ValueError(
            f"{value!r} names no signers: write {{signers: allowed_signers}}, or unsigned for a fleet without "
            "signatures"
        )
    return value


TrustOrUnsigned = Annotated[
    Trust, BeforeValidator(_trust, json_schema_input_type=Literal["unsigned"] | Trust)  # the short form
]
