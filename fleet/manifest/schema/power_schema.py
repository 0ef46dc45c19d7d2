"""Keys of the manifest about power and heat: which modes a robot may take, and when it does less."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from fleet.manifest.schema.values import Frozen, Name, Seconds, Share

ModeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""As ``nvpmodel -q`` prints it."""
Celsius = Annotated[float, Field(ge=30.0, le=105.0)]


def _falling(steps: tuple[float, ...]) -> tuple[float, ...]:
    if list(steps) != sorted(set(steps), reverse=True) or any(not 0.0 < step < 1.0 for step in steps):
        raise ValueError("the steps are not decreasing: write decreasing shares between 0% and 100%, as in [50%, 25%]")
    return steps


class Governor(Frozen):
    """When a robot does less, and when more again."""

    enabled: bool = True
    hot: Celsius = 85.0
    """Of the chip's hottest zone, degrees Celsius."""
    critical: Celsius = 95.0
    hysteresis: Annotated[float, Field(ge=1.0, le=40.0)] = 5.0
    """Degrees below ``hot`` from which it has cooled."""
    over_current_per_minute: Annotated[float, Field(ge=0.0)] = 60.0
    busy: Share = 0.9
    idle: Share = 0.3
    worse_after: Annotated[Seconds, Field(ge=1.0, le=600.0)] = 10.0
    better_after: Annotated[Seconds, Field(ge=10.0, le=3600.0)] = 60.0
    rate_steps: Annotated[tuple[Share, ...], Field(max_length=8), AfterValidator(_falling)] = (0.5, 0.25)

    @model_validator(mode="after")
    def _ordered(self) -> Governor:
        if self.critical <= self.hot:
            raise ValueError(f"critical ({self.critical:g}) is not above hot ({self.hot:g}): write hot < critical")
        if self.idle >= self.busy:
            raise ValueError(f"idle ({self.idle:.0%}) is not below busy ({self.busy:.0%}): write idle < busy")
        return self


class Power(Frozen):
    """What a robot may do about heat and load."""

    modes: tuple[ModeName, ...] = ()
    """Slowest first; ``power_mode`` is one of them."""
    essential: tuple[Name, ...] = ()
    """Models that are neither slowed nor refused."""
    lighter: tuple[Name, ...] = ()
    """Models whose fallback costs less than their own engine: it serves as one of the steps down."""
    governor: Governor = Governor()
