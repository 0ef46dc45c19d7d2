"""What of a model's commands reaches the robot, whatever it commands. Pure: no clock of its own, no ROS, no threads.

Whatever comes in, and whenever: none drives for longer than ``deadline`` after the frame it comes from, and what is
sent then is declared. Limits, and what it means to hold, are a `Motion`: a velocity of the robot, or its joints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from runtime.contract.node.health import DRIVE

HOLD, STOPPED = "hold", "stopped"
NO_RESULT_YET = "no result yet"
MAX_STEPS = 2.0
"""A tick that comes late may change the command by no more than so many periods' worth."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Timing:
    """For how long a result commands. Seconds."""

    deadline: float
    """From a frame to the last moment at which its command drives the robot."""
    hold_for: float
    """For how long the last command goes on after a failure or the deadline; 0: not at all."""
    period: float
    """Between two ticks."""


class LimitError(ValueError):
    """A result is not sent at all: it is not finite, or over a limit where that is declared to refuse it."""


@dataclass(frozen=True, slots=True)
class Command(Generic[V]):
    """What the robot is told at one tick."""

    value: V | None
    """None: nothing is sent."""
    state: str
    """drive, hold (something else than the model's command is sent) or stopped (zero, or nothing)."""
    frame: Any
    """What ``accept`` was given with the result that drives; None unless driving."""
    reason: str
    """Why it does not drive; empty while it does."""


class Motion(Protocol[V]):
    """Limits of one kind of command, and what is sent when there is none. Times as the guard's."""

    def limited(self, wanted: V) -> V:
        """Return what of a result may be sent. Raises LimitError."""
        ...

    def unready(self, now: float) -> str:
        """Return why nothing can be commanded now; empty when it can."""
        ...

    def begin(self, now: float) -> V:
        """Return where the first command starts from. Only called when ready."""
        ...

    def towards(self, current: V, wanted: V, passed: float) -> V:
        """Return the command of this moment, ``passed`` seconds after ``current``."""
        ...

    def settled(self, now: float, drove: bool) -> tuple[V | None, str]:
        """Return what is sent after a failure, at once, and the state that this is. ``drove``: a result drove it since
        the start."""
        ...

    def ended(self, now: float, drove: bool) -> V | None:
        """Return the last command, after which nothing comes, or what is sent while nothing can be commanded."""
        ...


class CommandGuard(Generic[V]):
    """Takes results and failures as they come, and says at every tick what the robot is told.

    Times are seconds of one monotonic clock. A time before one already seen counts as that one.
    """

    def __init__(self, motion: Motion[V], timing: Timing) -> None:
        self._motion, self.timing = motion, timing
        self._now = -math.inf
        self._running = self._drove = False
        self._last: V | None = motion.ended(self._now, False)
        """What is sent once more when it is not running."""
        self._forget("not active")

    def _forget(self, reason: str) -> None:
        self._wanted: V | None = None
        self._frame: Any = None
        self._expires = self._hold_until = self._ticked = -math.inf
        self._current: V | None = None
        """What was sent last; None: nothing, so that driving begins from what is measured."""
        self._reason = reason

    def start(self, now: float) -> None:
        """Begin; nothing of an earlier life drives."""
        now = self._at(now)
        self._forget(NO_RESULT_YET)
        self._ticked = now
        self._running, self._drove = True, False

    def stop(self, reason: str = "not active") -> None:
        """Drive no more, at once, until the next start."""
        if self._running:
            self._last = self._motion.ended(self._now, self._drove)
        self._running = False
        self._forget(reason)

    def accept(self, now: float, wanted: V, frame: Any = None, age: float = 0.0) -> None:
        """A good result came, from a frame that is ``age`` seconds old.

        ``frame`` tells frames apart: a result from the same frame as the last one (the camera is silent, and the model
        runs on what it has) does not extend the deadline. None is no frame's name, and always new.
        """
        now = self._at(now)
        if not self._running:
            return
        try:
            limited = self._motion.limited(wanted)
        except LimitError as error:
            self.fail(now, str(error))
            return
        deadline = self.timing.deadline
        expires = now + deadline - max(0.0, age)
        if frame is not None and frame == self._frame:
            expires = min(expires, self._expires)
        if expires <= now:
            self.fail(now, f"the frame is {age:.3f} s old, its deadline is {deadline:g} s")
            return
        self._wanted, self._frame, self._expires = limited, frame, expires
        self._hold_until = expires + self.timing.hold_for
        self._reason = ""

    def fail(self, now: float, reason: str) -> None:
        """The model failed, or its result is of no use. The last command is over; where declared, it is held."""
        now = self._at(now)
        if not self._running:
            return
        if self._wanted is not None:  # not a second failure, which extends nothing
            self._hold_until = min(self._hold_until, min(now, self._expires) + self.timing.hold_for)
            self._wanted = None
        self._reason = reason

    def tick(self, now: float) -> Command[V]:
        """Return what the robot is told now."""
        now = self._at(now)
        if not self._running:
            return Command(self._last, STOPPED, None, self._reason)
        if self._wanted is not None and now >= self._expires:
            self.fail(now, f"no good result from a new frame for {self.timing.deadline:g} s")
        passed = min(max(0.0, now - self._ticked), MAX_STEPS * self.timing.period)
        self._ticked = now
        if unready := self._motion.unready(now):
            self._current = None
            return Command(self._motion.ended(now, self._drove), STOPPED, None, unready)
        if self._wanted is not None:
            current = self._motion.begin(now) if self._current is None else self._current
            self._current, self._drove = self._motion.towards(current, self._wanted, passed), True
            return Command(self._current, DRIVE, self._frame, "")
        if now < self._hold_until and self._current is not None:
            return Command(self._current, HOLD, None, self._reason)
        self._current, state = self._motion.settled(now, self._drove)
        return Command(self._current, state, None, self._reason)

    def _at(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now
