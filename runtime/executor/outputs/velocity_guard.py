"""A velocity of the robot as a command: its limits, and zero wherever there is no result.

Whatever comes in, and whenever: no command is over the limits, none lives longer than ``deadline`` after the frame it
comes from (plus ``hold_for`` where that is declared), and after a stop there is nothing but zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.contract.node.commands import velocity_guard
from runtime.decoding.results import Velocity
from runtime.executor.outputs.command_guard import STOPPED, CommandGuard, LimitError, Timing

Vector = tuple[float, float, float]
ZERO = Velocity((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class VelocityLimits:
    """How far a model is trusted."""

    max_linear: float
    """m/s, length of the vector."""
    max_angular: float
    """rad/s."""
    max_linear_acceleration: float
    """m/s²; bounds every change but the one to zero after a failure, which is at once."""
    max_angular_acceleration: float
    """rad/s²."""
    deadline: float
    """Seconds from a frame to the last moment at which its command drives the robot."""
    hold_for: float
    """Seconds for which the last command goes on after a failure or the deadline; 0: not at all."""
    period: float
    """Seconds between two ticks."""

    @staticmethod
    def of(options: Mapping[str, Any]) -> VelocityLimits:
        """Return the limits in an output's options. Raises OptionError."""
        take = velocity_guard(options)
        return VelocityLimits(
            take["max_linear"],
            take["max_angular"],
            take["max_linear_acceleration"],
            take["max_angular_acceleration"],
            take["deadline"],
            take["hold_for"] if take["on_failure"] == "hold" else 0.0,
            1.0 / take["rate"],
        )


class VelocityMotion:
    """How a velocity is limited, and zero when there is none. A `Motion`."""

    def __init__(self, limits: VelocityLimits) -> None:
        self._limits = limits

    def limited(self, wanted: Velocity) -> Velocity:
        """Return it slowed down as a whole, so that the robot stays on the curve that the model wants."""
        if not all(map(math.isfinite, (*wanted.linear, *wanted.angular))):
            raise LimitError("the result is not a finite number")
        limits = self._limits
        share = 1.0  # an axis that is switched off with a limit of 0 does not stop the others
        if limits.max_linear > 0.0:
            share = _share(wanted.linear, limits.max_linear)
        if limits.max_angular > 0.0:
            share = min(share, _share(wanted.angular, limits.max_angular))
        return Velocity(
            _within(_scaled(wanted.linear, share), limits.max_linear),
            _within(_scaled(wanted.angular, share), limits.max_angular),
        )

    def unready(self, now: float) -> str:
        """A velocity needs nothing that is measured."""
        del now
        return ""

    def begin(self, now: float) -> Velocity:
        """The robot stands: zero was sent until now."""
        del now
        return ZERO

    def towards(self, current: Velocity, wanted: Velocity, passed: float) -> Velocity:
        """Accelerate within the limits."""
        limits = self._limits
        linear = _step(current.linear, wanted.linear, limits.max_linear_acceleration * passed)
        angular = _step(current.angular, wanted.angular, limits.max_angular_acceleration * passed)
        return Velocity(_within(linear, limits.max_linear), _within(angular, limits.max_angular))

    def settled(self, now: float, drove: bool) -> tuple[Velocity, str]:
        """Zero at once, without a ramp: the base limits its own braking."""
        del now, drove
        return ZERO, STOPPED

    def ended(self, now: float, drove: bool) -> Velocity:
        """Zero."""
        del now, drove
        return ZERO


class VelocityGuard(CommandGuard[Velocity]):
    """The guard of a velocity."""

    def __init__(self, limits: VelocityLimits) -> None:
        super().__init__(VelocityMotion(limits), Timing(limits.deadline, limits.hold_for, limits.period))


def _share(vector: Vector, limit: float) -> float:
    """Return by how much to scale ``vector`` for a length of ``limit``; 1 when it is shorter."""
    largest = max(map(abs, vector))
    if largest == 0.0:
        return 1.0
    length = largest * math.hypot(*(part / largest for part in vector))  # hypot of huge numbers overflows to infinity
    return 1.0 if length <= limit else limit / length


def _scaled(vector: Vector, share: float) -> Vector:
    return (vector[0] * share, vector[1] * share, vector[2] * share)


def _within(vector: Vector, limit: float) -> Vector:
    """Take off what rounding left over the limit."""
    for _ in range(4):
        length = math.hypot(*vector)
        if length <= limit:
            return vector
        vector = _scaled(vector, min(limit / length, 1.0 - 2.0**-52))
    return ZERO.linear  # only where a float has no smaller neighbour left


def _step(current: Vector, wanted: Vector, most: float) -> Vector:
    """Return the point on the way from ``current`` to ``wanted`` that is at most ``most`` away."""
    way: Vector = (wanted[0] - current[0], wanted[1] - current[1], wanted[2] - current[2])
    length = math.hypot(*way)
    if length <= most:
        return wanted
    share = most / length
    return (current[0] + way[0] * share, current[1] + way[1] * share, current[2] + way[2] * share)
