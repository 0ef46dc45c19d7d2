"""Keys of the manifest about a robot's resources, and about when it must not be updated."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from fleet.manifest.schema.values import Frozen, Seconds, Topic

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(KiB|MiB|GiB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _size(value: Any) -> Any:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(float(match[1]) * _UNITS[match[2]])
    raise ValueError(f"{value!r} is not a size: write a number and a unit, such as 512MiB or 2GiB")


def _distinct(cpus: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(cpus)) != len(cpus):
        raise ValueError("a CPU is named twice: name each once, as in [2, 3]")
    return cpus


Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(lambda value: f"{value / (1 << 20):g}MiB", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(KiB|MiB|GiB)$", "examples": ["512MiB", "2GiB"]}),
]
Cpus = Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], AfterValidator(_distinct)]
MIN_MEMORY = 256 << 20
"""Agent and executor without an engine take about half of it."""


class Resources(Frozen):
    """What the node gets, and leaves to others, on a robot."""

    worker_cpus: Cpus = ()
    spin_cpus: Cpus = ()
    memory: Annotated[Size, Field(ge=MIN_MEMORY)] | None = None
    """The container may take no more."""
    keep_free: Size | None = None
    """Left free whenever an engine is loaded, or it is refused."""


class Inhibit(Frozen):
    """The robot is not updated while this holds: exactly one of the three."""

    velocity: Topic | None = None
    flag: Topic | None = None
    service: Topic | None = None
    message: Literal["Twist", "TwistStamped"] = "Twist"
    within: Annotated[Seconds, Field(ge=0.5, le=3600.0)] = 10.0

    @model_validator(mode="after")
    def _one_of(self) -> Inhibit:
        if sum(value is not None for value in (self.velocity, self.flag, self.service)) != 1:
            raise ValueError("a rule is of one kind: give exactly one of velocity, flag or service")
        for key, owners in (("message", ("velocity",)), ("within", ("velocity", "service"))):
            if key in self.model_fields_set and all(getattr(self, owner) is None for owner in owners):
                raise ValueError(f"{key} is for {' and '.join(owners)} rules: take it away")
        return self
