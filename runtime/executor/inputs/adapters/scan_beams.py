"""Which beams of a scan stand for those that the model declares, by their angles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import FULL_TURN
from runtime.executor.inputs.frames import FrameRefusedError


class Beams(NamedTuple):
    """The beams of a scan. Angles in radians."""

    first: float
    step: float
    size: int


class Chosen(NamedTuple):
    """What each declared beam takes of a scan's."""

    nearest: npt.NDArray[np.intp]
    """By declared beam: the scan's beam with the nearest angle."""
    nearest_of: npt.NDArray[np.intp]
    """By the scan's beam: the nearest declared one; one that is nearest to none has a number past the last."""
    closest: bool

    def __call__(self, ranges: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return one range a declared beam, metres. NaN is no measurement, and counts only where there is no other."""
        result = ranges[self.nearest]
        if self.closest:
            used = (self.nearest_of < self.nearest.size) & ~np.isnan(ranges)
            np.fmin.at(result, self.nearest_of[used], ranges[used])
        return result


class Resampler:
    """Gives every declared angle a beam of the scan: the nearest, or the closest range of those around it.

    Angles count modulo a full turn, so a scan from 0 to 2π fits one that is declared from -π to π.
    """

    def __init__(self, first: float, last: float, size: int, *, closest: bool) -> None:
        """``first`` and ``last`` angle of ``size`` declared beams, radians; ``closest``: of all beams that are nearer
        to a declared one than to others, the one with the smallest range; otherwise the nearest beam."""
        self._declared = Beams(first, (last - first) / (size - 1), size)
        self._closest = closest
        self._known: tuple[Beams, Chosen] | None = None

    def choose(self, beams: Beams) -> Chosen:
        """Return what to take of a scan with these beams. Raises FrameRefusedError where it leaves an angle out."""
        if self._known is None or self._known[0] != beams:
            self._known = (beams, self._chosen(beams))
        return self._known[1]

    def _chosen(self, beams: Beams) -> Chosen:
        first, step, count = beams
        if not np.isfinite([first, step]).all() or count < 2 or not 1e-6 < abs(step) <= FULL_TURN:
            raise FrameRefusedError(f"{count} beams from {first:g} rad by {step:g} rad are no scan", "angles")
        at = _places(self._declared, beams)
        outside = (at < -1.0) | (at > count)  # one beam of tolerance: drivers round the angles that they declare
        if outside.any():
            missing = self._declared.first + self._declared.step * int(np.argmax(outside))
            raise FrameRefusedError(
                f"beams from {first:.4g} to {first + step * (count - 1):.4g} rad leave out {missing:.4g} rad, which is "
                "declared: set the driver's angles, or declare the angles that it has",
                "angles",
            )
        nearest = np.clip(np.rint(at), 0, count - 1).astype(np.intp)
        own = np.rint(_places(beams, self._declared)).astype(np.intp)
        own[own < 0] = self._declared.size
        return Chosen(nearest, own, self._closest)


def _places(wanted: Beams, among: Beams) -> npt.NDArray[np.float64]:
    """Return where the angles of ``wanted`` lie among the beams of ``among``: 1.5 is between its second and third."""
    period = FULL_TURN / abs(among.step)
    at = np.mod((wanted.first + wanted.step * np.arange(wanted.size) - among.first) / among.step, period)
    before = at - period
    # Past the last beam and before the first is the same gap: it counts from the end that is nearer.
    result: npt.NDArray[np.float64] = np.where(np.abs(before) < at - (among.size - 1), before, at)
    return result
