"""Commands of joints: limits, the ramp from what is measured, and what is sent when there is no result. Pure.

*Hold* is by interface: a velocity becomes zero; a position becomes the last measured one, or nothing more is published,
as declared; an effort becomes the declared damping of the measured velocity. Zero is never sent undeclared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.commands import EFFORT, HOLD_POSITION, POSITION, VELOCITY, ZERO, each, joint_guard
from runtime.decoding.results import JointCommand
from runtime.executor.outputs.command_guard import HOLD, STOPPED, LimitError, Timing
from runtime.executor.outputs.measured_joints import MeasuredJoints, Rules

Floats = npt.NDArray[np.float64]
_BOUND = {POSITION: "", VELOCITY: "max_velocity", EFFORT: "max_effort"}
_STEP = {POSITION: "max_velocity", VELOCITY: "max_acceleration", EFFORT: "max_effort_rate"}
"""The option that bounds the change of a command, in its unit a second."""


@dataclass(frozen=True, slots=True)
class JointLimits:
    """How far a model is trusted. Arrays have one number for each joint; rad and Nm, or m and N."""

    joints: tuple[str, ...]
    interface: str
    low: Floats
    high: Floats
    """Of the command itself."""
    rate: Floats
    """Largest change of the command in a second."""
    least_position: Floats
    most_position: Floats
    """Of what is measured; infinite where that is not limited."""
    max_velocity: Floats
    """Of what is measured, with efforts; infinite otherwise."""
    damping: Floats
    stray: Floats
    """How far outside its limits a measured position may be."""
    on_failure: str
    when_stopped: str
    refuses: bool

    @staticmethod
    def of(options: Mapping[str, Any]) -> JointLimits:
        """Return the limits in an output's options. Raises OptionError."""
        take = joint_guard(options)
        joints, interface = take["joints"], take["interface"]

        def array(name: str, absent: float) -> Floats:
            return np.array(each(take[name], len(joints)) or (absent,) * len(joints), np.float64)

        least, most = array("min_position", -np.inf), array("max_position", np.inf)
        bound = array(_BOUND[interface], 0.0) if interface != POSITION else most
        return JointLimits(
            joints=joints,
            interface=interface,
            low=least if interface == POSITION else -bound,
            high=bound,
            rate=array(_STEP[interface], 0.0),
            least_position=least,
            most_position=most,
            max_velocity=array("max_velocity", np.inf) if interface == EFFORT else np.full(len(joints), np.inf),
            damping=array("damping", 0.0),
            stray=array("max_jump", 0.0),
            on_failure=take["on_failure"],
            when_stopped=take["when_stopped"],
            refuses=take["over_limit"] == "refuse",
        )


def timing_of(options: Mapping[str, Any]) -> Timing:
    """Return for how long results of an output command. Raises OptionError."""
    take = joint_guard(options)
    return Timing(take["deadline"], take["hold_for"], 1.0 / take["rate"])


def rules_of(options: Mapping[str, Any]) -> Rules:
    """Return what measurements of an output's joints must be. Raises OptionError."""
    take = joint_guard(options)
    return Rules(
        take["joints"],
        each(take["max_jump"], len(take["joints"])),
        each(take["max_velocity"], len(take["joints"])),
        take["measured_max_age"],
        take["interface"] != POSITION,
        take["measured_stamp"] == "arrival",
    )


class JointMotion:
    """How commands of joints are limited, and what is sent when there is none. A `Motion`."""

    def __init__(self, limits: JointLimits, measured: MeasuredJoints) -> None:
        self._limits, self._measured = limits, measured
        self.limited_count = 0
        """Results that were over a limit, and commands that were held back at one."""
        self.said = ""
        """The last of them, for a person."""
        self._held: Floats | None = None
        """The position that is held since the last result."""

    def limited(self, wanted: JointCommand) -> JointCommand:
        """Cut each joint's command at its limits. Raises LimitError for NaN, and where it is declared to refuse."""
        limits, values = self._limits, wanted.values
        finite = np.isfinite(values)
        if values.shape != limits.low.shape or not finite.all():
            raise LimitError(f"the result has {int(finite.sum())} finite numbers for {len(limits.joints)} joints")
        cut = np.clip(values, limits.low, limits.high)
        over = np.abs(values - cut)
        if over.any():
            worst = int(np.argmax(over))
            said = (
                f"the command of {limits.joints[worst]} is {values[worst]:.4g}, its limits are "
                f"{limits.low[worst]:g} to {limits.high[worst]:g}"
            )
            self._count(said)
            if limits.refuses:
                raise LimitError(f"{said}: refused (over_limit)")
        return JointCommand(cut)

    def unready(self, now: float) -> str:
        """Stale or missing measurements, and joints far outside their limits, are no ground to command on."""
        if why := self._measured.why_not(now):
            return why
        limits, position = self._limits, self._measured.position
        outside = np.maximum(limits.least_position - position, position - limits.most_position) - limits.stray
        worst = int(np.argmax(outside))
        if outside[worst] <= 0.0:
            return ""
        return (
            f"the measured position of {limits.joints[worst]} is {position[worst]:.4g}, outside its limits "
            f"{limits.least_position[worst]:g} to {limits.most_position[worst]:g}: move it back, or correct the limits"
        )

    def begin(self, now: float) -> JointCommand:
        """Where the joints are: their measured position or velocity, or the effort that damps it."""
        del now
        interface = self._limits.interface
        start = {POSITION: self._measured.position, VELOCITY: self._measured.velocity}.get(interface)
        return JointCommand(self._cut(self._damped() if start is None else start))

    def towards(self, current: JointCommand, wanted: JointCommand, passed: float) -> JointCommand:
        """Move by no more than the limits let it; velocities and efforts do not push on at a joint's limit."""
        self._held = None
        most = self._limits.rate * passed
        step = np.clip(wanted.values - current.values, -most, most)
        values = self._cut(current.values + step)
        return JointCommand(values if self._limits.interface == POSITION else self._held_back(values))

    def settled(self, now: float, drove: bool) -> tuple[JointCommand | None, str]:
        """Hold, by interface. Nothing is sent before a first result drove, but for velocities: those are zero."""
        del now
        limits = self._limits
        if limits.interface == VELOCITY:
            return JointCommand(np.zeros(len(limits.joints))), STOPPED
        if not drove:
            return None, STOPPED
        if limits.interface == EFFORT:
            return JointCommand(self._damped()), HOLD
        if limits.on_failure != HOLD_POSITION:
            return None, STOPPED
        if self._held is None:
            self._held = self._cut(self._measured.position)
        return JointCommand(self._held), HOLD

    def ended(self, now: float, drove: bool) -> JointCommand | None:
        """Zero velocity; the measured position where that is held; zero effort or nothing, as declared."""
        limits = self._limits
        self._held = None
        if limits.interface == VELOCITY or (limits.interface == EFFORT and drove and limits.when_stopped == ZERO):
            return JointCommand(np.zeros(len(limits.joints)))
        if limits.interface == POSITION and not self.unready(now):
            return self.settled(now, drove)[0]
        return None

    def _cut(self, values: Floats) -> Floats:
        cut: Floats = np.clip(values, self._limits.low, self._limits.high)
        return cut

    def _damped(self) -> Floats:
        return self._cut(-self._limits.damping * self._measured.velocity)

    def _held_back(self, values: Floats) -> Floats:
        """Return zero velocity, or damping, for joints at a limit that the command would move further beyond it."""
        limits, position, speed = self._limits, self._measured.position, self._measured.velocity
        at_most = (position >= limits.most_position) & (values > 0.0)
        at_least = (position <= limits.least_position) & (values < 0.0)
        too_fast = (np.abs(speed) > limits.max_velocity) & (values * speed > 0.0)
        back = at_most | at_least | too_fast
        if not back.any():
            return values
        first = int(np.argmax(back))
        what = f"faster than {limits.max_velocity[first]:g}" if too_fast[first] else "at the limit of its position"
        self._count(f"{limits.joints[first]} is {what}: its {limits.interface} is not commanded further")
        rest = self._damped() if limits.interface == EFFORT else np.zeros(len(limits.joints))
        return np.where(back, rest, values)

    def _count(self, said: str) -> None:
        self.limited_count += 1
        self.said = said
