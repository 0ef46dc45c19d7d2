"""What of a model's velocity reaches the robot. Pure: no clock of its own, no ROS, no threads.

Whatever comes in, and whenever: no command is over the limits, none lives longer than ``deadline`` after the frame it
comes from (plus ``hold_for`` where that is declared), and after a stop there is nothing but zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.contract.node.commands import velocity_guard
from runtime.contract.node.health import DRIVE
from runtime.decoding.results import Velocity

Vector = tuple[float, float, float]
ZERO = Velocity((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
HOLD, STOPPED = "hold", "stopped"
NO_RESULT_YET = "no result yet"
MAX_STEPS = 2.0
"""A tick that comes late may change the velocity by no more than so many periods' worth."""


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


@dataclass(frozen=True, slots=True)
class Command:
    """What the robot is told at one tick."""

    velocity: Velocity
    state: str
    """drive, hold or stopped."""
    frame: Any
    """What ``accept`` was given with the result that drives; None unless driving."""
    reason: str
    """Why it does not drive; empty while it does."""


class VelocityGuard:
    """Takes results and failures as they come, and says at every tick what the robot is told.

    Times are seconds of one monotonic clock. A time before one already seen counts as that one.
    """

    def __init__(self, limits: VelocityLimits) -> None:
        self._limits = limits
        self._now = -math.inf
        self._running = False
        self._forget("not active")

    def _forget(self, reason: str) -> None:
        self._wanted: Velocity | None = None
        self._frame: Any = None
        self._expires = -math.inf
        self._hold_until = -math.inf
        self._current = ZERO
        self._ticked = -math.inf
        self._reason = reason

    def start(self, now: float) -> None:
        """Begin at zero; nothing of an earlier life drives."""
        now = self._at(now)
        self._forget(NO_RESULT_YET)
        self._ticked = now
        self._running = True

    def stop(self, reason: str = "not active") -> None:
        """Zero from now on, at once, until the next start."""
        self._running = False
        self._forget(reason)

    def accept(self, now: float, wanted: Velocity, frame: Any = None, age: float = 0.0) -> None:
        """A good result came, from a frame that is ``age`` seconds old.

        ``frame`` tells frames apart: a result from the same frame as the last one (the camera is silent, and the model
        runs on what it has) does not extend the deadline. None is no frame's name, and always new.
        """
        now = self._at(now)
        if not self._running:
            return
        if not all(map(math.isfinite, (*wanted.linear, *wanted.angular))):
            self.fail(now, "the result is not a finite number")
            return
        expires = now + self._limits.deadline - max(0.0, age)
        if frame is not None and frame == self._frame:
            expires = min(expires, self._expires)
        if expires <= now:
            self.fail(now, f"the frame is {age:.3f} s old, its deadline is {self._limits.deadline:g} s")
            return
        self._wanted, self._frame, self._expires = self._limited(wanted), frame, expires
        self._hold_until = expires + self._limits.hold_for
        self._reason = ""

    def fail(self, now: float, reason: str) -> None:
        """The model failed, or its result is of no use. The last command is over; where declared, it is held."""
        now = self._at(now)
        if not self._running:
            return
        if self._wanted is not None:  # not a second failure, which extends nothing
            self._hold_until = min(self._hold_until, min(now, self._expires) + self._limits.hold_for)
            self._wanted = None
        self._reason = reason

    def tick(self, now: float) -> Command:
        """Return what the robot is told now."""
        now = self._at(now)
        if not self._running:
            return Command(ZERO, STOPPED, None, self._reason)
        if self._wanted is not None and now >= self._expires:
            self.fail(now, f"no good result from a new frame for {self._limits.deadline:g} s")
        if self._wanted is not None:
            self._current = self._towards(self._wanted, now)
            self._ticked = now
            return Command(self._current, DRIVE, self._frame, "")
        self._ticked = now
        if now < self._hold_until:
            return Command(self._current, HOLD, None, self._reason)
        self._current = ZERO
        return Command(ZERO, STOPPED, None, self._reason)

    def _at(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    def _limited(self, wanted: Velocity) -> Velocity:
        """Return it slowed down as a whole, so that the robot stays on the curve that the model wants."""
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

    def _towards(self, wanted: Velocity, now: float) -> Velocity:
        limits = self._limits
        passed = min(max(0.0, now - self._ticked), MAX_STEPS * limits.period)
        linear = _step(self._current.linear, wanted.linear, limits.max_linear_acceleration * passed)
        angular = _step(self._current.angular, wanted.angular, limits.max_angular_acceleration * passed)
        return Velocity(_within(linear, limits.max_linear), _within(angular, limits.max_angular))


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
