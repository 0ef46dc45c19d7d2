"""Values of the manifest: how they are written, and what they become."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema

Precision = Literal["fp32", "fp16", "int8"]
Backend = Literal["tensorrt", "onnxruntime"]

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SHARE_PATTERN = r"^[0-9]+(\.[0-9]+)?%$"

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        raise ValueError(f"{value!r} is not a duration: write a number and a unit, such as 200ms, 30s, 5m or 1h")
    return value


def _signed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("-"):
        return -_duration(value[1:])
    return _duration(value)


def _share(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)%", value)):
        return float(match[1]) / 100.0
    raise ValueError(f"{value!r} is not a percentage: write 95%")


def _wave(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?%", value) and 0 < float(value[:-1]) <= 100:
        return value
    raise ValueError(f"{value!r} is not a wave: write a count of robots (1) or a percentage (10%)")


_Total = Annotated[
    int | str,
    BeforeValidator(_wave),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": SHARE_PATTERN}]}),
]


class WaveStep(BaseModel):
    """The long form of a wave: ``{to: 10%, approve: true}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: _Total
    """Robots, or a share of all, that have been changed when the wave is over."""
    approve: bool = False
    """The rollout waits before this wave until somebody says why it may go on."""


def _long_form(value: Any) -> Any:
    return value if isinstance(value, (dict, WaveStep)) else WaveStep(to=_wave(value))


def _digits(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def check_waves(waves: tuple[WaveStep, ...]) -> tuple[WaveStep, ...]:
    """Return ``waves``. Raises ValueError unless they grow, counts first, and end with every robot."""
    totals = [wave.to for wave in waves]
    counts = [wave for wave in totals if isinstance(wave, int)]
    percents = [float(wave[:-1]) for wave in totals if isinstance(wave, str)]
    if totals[: len(counts)] != counts:
        raise ValueError("a count of robots comes after a percentage: write counts first, as in [1, 10%, 100%]")
    if any(left >= right for part in (counts, percents) for left, right in pairwise(part)):
        raise ValueError(
            "a wave does not reach more robots than the one before: waves are totals, as in [1, 10%, 100%]"
        )
    if not percents or percents[-1] != 100:
        raise ValueError("the last wave does not reach every robot: end with 100%")
    return waves


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0),
    PlainSerializer(lambda value: f"{_digits(value)}s", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["200ms", "30s", "5m", "1h"]}),
]
SignedSeconds = Annotated[
    float,
    BeforeValidator(_signed),
    Field(ge=-10, le=10),
    PlainSerializer(lambda value: f"{_digits(value) or '0'}s", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^-?{DURATION_PATTERN[1:]}", "examples": ["20ms", "-15ms"]}),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(ge=0, le=1),
    PlainSerializer(lambda value: f"{_digits(value * 100)}%", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": SHARE_PATTERN, "examples": ["95%"]}),
]
Wave = Annotated[WaveStep, BeforeValidator(_long_form, json_schema_input_type=_Total | WaveStep)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$")]
"""Lower-case letters, digits, ``. _ -``: it becomes part of file names, tags and topics."""
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
JumpHost = Annotated[
    str,
    StringConstraints(pattern=r"^(ssh://)?([A-Za-z0-9_.%+-]+@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?$"),
]
"""``[user@]host[:port]``, as `ssh -J` takes it."""
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""One line."""
Topic = Annotated[str, StringConstraints(pattern=r"^(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*$")]
"""A ROS 2 topic: absolute, relative, or ``~/`` for below the node's name."""
Namespace = Annotated[str, StringConstraints(pattern=r"^/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*$")]
"""A ROS 2 namespace, with or without the ``/`` in front."""
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:-]*$")]
"""No commas, ``=``, ``!`` or ``*``: selectors are made of those."""
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
VariableValue = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line: it is written into the release folder's ``.env``."""


class Frozen(BaseModel):
    """Base of all manifest types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
