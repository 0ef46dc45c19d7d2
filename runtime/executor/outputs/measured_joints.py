"""What is measured of the joints that an output commands. Nothing is commanded on what is stale, missing or jumps.

Pure but for the clocks that are passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import JOINT_FIELDS, JOINT_STATE
from runtime.executor.inputs.adapters.joints import MOST_JOINTS
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frame_clock import age_s, ahead_s
from runtime.executor.inputs.frames import FrameRefusedError, Stamp
from runtime.executor.inputs.mixed_publishers import MixedPublishers

STEADY_S = 1.0
"""After a jump, so long without another one until what is measured is believed again."""
LARGEST = 1e6
"""Rad, m, rad/s or m/s: what is more is no measurement."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a measurement must be."""

    joints: tuple[str, ...]
    max_jump: tuple[float, ...]
    """Rad or m: largest change of each joint's position from one message to the next, beyond what its speed
    explains."""
    max_velocity: tuple[float, ...]
    """Rad/s or m/s of each joint."""
    max_age_s: float
    needs_velocity: bool
    by_arrival: bool
    """The publisher's clock is not the robot's: a measurement is as old as its arrival."""


class MeasuredJoints:
    """The newest positions and velocities, from messages of one topic. Callers lock."""

    def __init__(self, topic: str, rules: Rules, now_ns: Callable[[], int]) -> None:
        """``topic``: for a person. ``now_ns``: nanoseconds of the node's clock, which stamps are compared with."""
        self.topic, self._rules, self._now_ns = topic, rules, now_ns
        self._max_jump, self._max_velocity = np.array(rules.max_jump), np.array(rules.max_velocity)
        self._names: tuple[str, ...] = ()
        self._at: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        self.position: Floats = np.zeros(0)
        self.velocity: Floats = np.zeros(0)
        self.refused = 0
        """Messages that name the joints, or some of them, and cannot be used."""
        self.forget()

    def forget(self) -> None:
        """Begin anew: what came before says nothing of now."""
        self._arrived = self._good_until = self._steady_at = -math.inf
        self._problem = self._jumped = self._absent = ""
        self._publishers = MixedPublishers()

    def take(self, message: bytes, now: float, publisher: bytes = b"") -> None:
        """Take a serialized sensor_msgs/msg/JointState that came at ``now``, seconds of the steady clock.

        ``publisher``: its id; empty where the middleware does not tell.
        """
        try:
            found = self._read(message, now)
        except FrameRefusedError as error:
            self.refused += 1
            self._problem = str(error)
            return
        if found is None:
            return
        if publisher:
            self._publishers.heard(publisher, now)
        position, velocity, age = found
        if now <= self._good_until:
            self._look_for_jump(position, now)
        self.position, self.velocity = position, velocity
        self._arrived, self._good_until, self._problem = now - age, now - age + self._rules.max_age_s, ""

    def why_not(self, now: float) -> str:
        """Return why nothing can be commanded by it at ``now``; empty when it can."""
        if self._arrived == -math.inf:
            if self._problem:
                return f"{self.topic}: {self._problem}"
            if self._names:
                return f"{self.topic} has other joints ({', '.join(self._names)}): correct joints, or measured"
            return self._absent or f"nothing arrives on {self.topic} yet"
        if now > self._good_until:
            said = f": {self._problem}" if self._problem else ""
            age, most = now - self._arrived, self._rules.max_age_s
            return f"the newest measurement on {self.topic} is {age:.3f} s old, {most:g} s is the most{said}"
        if now < self._steady_at:
            return self._jumped
        if mixed := len(self._publishers.mixed(now)):
            return f"{self.topic}: {mixed} publishers measure the same joints: stop or remap all but one"
        return ""

    def published_as(self, kinds: set[str]) -> None:
        """Note as what types the topic is published."""
        if not kinds:
            self._absent = f"nothing arrives on {self.topic}: it has no publisher"
        elif JOINT_STATE not in kinds:
            self._absent = f"nothing arrives on {self.topic}: it is published as {min(kinds)}, expected {JOINT_STATE}"
        else:
            self._absent = f"nothing arrives on {self.topic}, though it has a publisher"

    def _look_for_jump(self, position: Floats, now: float) -> None:
        moved = self._max_velocity * (now - self._arrived)
        over = np.abs(position - self.position) - self._max_jump - moved
        worst = int(np.argmax(over))
        if over[worst] <= 0.0:
            return
        self.refused += 1
        self._steady_at = now + STEADY_S
        self._jumped = (
            f"the measured position of {self._rules.joints[worst]} jumped from {self.position[worst]:.4g} to "
            f"{position[worst]:.4g} (max_jump is {self._rules.max_jump[worst]:g}): no command until {self.topic} is "
            f"without a jump for {STEADY_S:g} s"
        )

    def _read(self, message: bytes, now: float) -> tuple[Floats, Floats, float] | None:
        """Return positions, velocities and the age in seconds; None where the message has none of the joints."""
        fields = Fields(message)
        stamp = fields.header()
        (count,) = fields.unpack("I")
        if count > MOST_JOINTS:
            raise fields.short()
        names = tuple(fields.text() for _ in range(count))
        if not set(names).intersection(self._rules.joints):  # of another part of the robot, on the same topic
            self._names = self._names or names
            return None
        if names != self._names or not self._at.size:
            self._at, self._names = self._places(names), names
        position, velocity = (self._chosen(name, fields.sequence("f8")) for name in JOINT_FIELDS[:2])
        return position, velocity, self._age(stamp, now)

    def _age(self, stamp: Stamp, now: float) -> float:
        if self._rules.by_arrival:
            return 0.0
        now_ns = self._now_ns()
        if ahead := ahead_s(stamp, now_ns):
            raise FrameRefusedError(
                f"stamps are {ahead:.3f} s ahead of the robot's clock, so their age is not known: set the publisher's "
                "clock, or declare measured_stamp: arrival"
            )
        age = age_s(stamp, now_ns, now)
        if age > self._rules.max_age_s:
            raise FrameRefusedError(
                f"stamps are {age:.3f} s behind the robot's clock when they arrive: set the publisher's clock, or "
                "declare measured_stamp: arrival"
            )
        return age

    def _places(self, names: tuple[str, ...]) -> npt.NDArray[np.intp]:
        twice = sorted({name for name in self._rules.joints if names.count(name) > 1})
        if twice:
            raise FrameRefusedError(f"joint {', '.join(twice)} is named twice in one message")
        missing = [name for name in self._rules.joints if name not in names]
        if missing:
            raise FrameRefusedError(
                f"no joint is called {', '.join(missing)}; the message has {', '.join(names)}: correct joints, or the "
                "driver; all joints of one output come in one message"
            )
        return np.array([names.index(name) for name in self._rules.joints], np.intp)

    def _chosen(self, field: str, numbers: Floats) -> Floats:
        needed = field == "position" or self._rules.needs_velocity
        if numbers.size != len(self._names):
            if numbers.size or needed:
                raise FrameRefusedError(f"{numbers.size} values of {field} for {len(self._names)} joints")
            return np.zeros(0)
        chosen: Floats = numbers[self._at].astype(np.float64)
        possible = np.abs(chosen) <= LARGEST  # False for NaN
        if needed and not possible.all():
            first = int(np.argmin(possible))
            raise FrameRefusedError(
                f"the {field} of {self._rules.joints[first]} is {chosen[first]:g}: no joint has that"
            )
        return chosen
