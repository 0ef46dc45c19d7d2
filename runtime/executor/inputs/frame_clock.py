"""How old a frame is, by two clocks, and which publishers' clocks are not the robot's. Pure: all times are passed in.

A stamp alone cannot be trusted: a camera may stamp since its boot, or minutes ahead. A frame is therefore never younger
than the time since it arrived, by the steady clock.
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.contract.node.commands import deadline_of
from runtime.contract.node.options import OptionError
from runtime.contract.node.runtime_config import ModelRuntime
from runtime.executor.inputs.frames import Stamp

CLOCK_AHEAD, CLOCK_BEHIND = "clock_ahead", "clock_behind"
AHEAD_S = 0.25
"""A stamp further ahead of the robot's clock than this says nothing about the frame's age. Time services keep machines
within milliseconds; a simulated clock advances in steps of up to a tenth of a second."""
BEHIND_S = 10.0
"""A stamp further behind than this at arrival is taken for another clock, where nothing tighter is declared."""
CURE = "set the publisher's clock, or declare `stamp: arrival` for this input"


def age_s(stamp: Stamp, now_ns: int, steady_s: float) -> float:
    """Return the frame's age in seconds, never negative: by its stamp or since its arrival, whichever is more.

    ``now_ns``: nanoseconds of the node's clock (simulated, where that is declared); ``steady_s``: seconds of the steady
    clock. What is not known (a stamp of 0, no arrival) counts as 0.
    """
    by_stamp = (now_ns - stamp.nanoseconds) / 1e9 if stamp.nanoseconds else 0.0
    since_arrival = steady_s - stamp.arrived_s if stamp.arrived_s else 0.0
    return max(0.0, by_stamp, since_arrival)


def ahead_s(stamp: Stamp, now_ns: int) -> float:
    """Return by how many seconds the stamp is ahead of ``now_ns``; 0 when that is within what clocks differ by."""
    ahead = (stamp.nanoseconds - now_ns) / 1e9 if stamp.nanoseconds else 0.0
    return ahead if ahead > AHEAD_S else 0.0


def behind_limit_s(model: ModelRuntime) -> float:
    """Return from which lag at arrival a frame is of no use to ``model``: its ``max_age``, or a command's deadline."""
    limits = [BEHIND_S]
    if model.join.max_age_s is not None:
        limits.append(model.join.max_age_s)
    for output in model.outputs:
        try:
            deadline = deadline_of(output.options)
        except OptionError:  # loading the model says so
            continue
        if deadline is not None:
            limits.append(deadline)
    return min(limits)


class FrameClocks:
    """Per input of one model: how its stamps lie to the robot's clock. Callers lock."""

    def __init__(self, sources: Mapping[str, str], behind_limit_s: float) -> None:
        """``sources``: input tensor → what feeds it, for a person."""
        self._sources, self._limit_s = sources, behind_limit_s
        self._lag_s: dict[str, float] = {}
        self.counts = {CLOCK_AHEAD: 0, CLOCK_BEHIND: 0}

    def arrived(self, tensor: str, stamp: Stamp, arrived_ns: int) -> None:
        """Note a frame's stamp and when it arrived by the node's clock (0: not known)."""
        if not stamp.nanoseconds or not arrived_ns:
            self._lag_s.pop(tensor, None)
            return
        lag_s = (arrived_ns - stamp.nanoseconds) / 1e9
        self._lag_s[tensor] = lag_s
        if lag_s < -AHEAD_S:
            self.counts[CLOCK_AHEAD] += 1
        elif lag_s >= self._limit_s:
            self.counts[CLOCK_BEHIND] += 1

    def clear(self) -> None:
        """Forget the newest stamps, keep the counts."""
        self._lag_s.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each input whose newest stamp does not fit."""
        return tuple(
            said for tensor, lag_s in list(self._lag_s.items()) if (said := self._said(self._sources[tensor], lag_s))
        )

    def _said(self, source: str, lag_s: float) -> str:
        if lag_s < -AHEAD_S:
            return (
                f"{source}: stamps are {-lag_s:.3f} s ahead of the robot's clock, so the age of its frames is not "
                f"known: {CURE}"
            )
        if lag_s >= self._limit_s:
            return (
                f"{source}: stamps are {lag_s:.3f} s behind the robot's clock when they arrive, {self._limit_s:g} s is "
                f"the most: the frames are late, or stamped by another clock (since boot?): {CURE}"
            )
        return ""
