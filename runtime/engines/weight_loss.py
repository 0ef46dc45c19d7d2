"""What weights lose in float16, counted and judged: a constant that is cut at 65504, and weights that become 0.

A network's answer may keep its direction with either, or be right on the golden frames alone; so it is said, whatever
the gates find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import BuildJob
from runtime.engines.errors import EngineError

LARGEST = float(np.finfo(np.float16).max)
STANDS_FOR_INFINITY = 1e8
"""From here on a constant masks something out (attention masks of -1e9 or the lowest float32): 65504 does that too."""
MOST_LOST = 0.5
"""Share of a weight's norm that may be lost where the accuracy gates pass. Rounding alone is below 0.0005; a layer
that loses a tenth can still answer within a cosine of 0.999."""
_NAMED = 3


@dataclass(frozen=True)
class WeightLoss:
    """One weight that float16 does not hold, and who reads it."""

    weight: str
    readers: tuple[str, ...]
    """Names of the nodes that read it in half precision."""
    values: int
    clipped: int
    """Finite values beyond 65504 that are cut there."""
    masking: int
    """Of them, those that stand for infinity."""
    flushed: int
    """Values that are not 0 and become 0."""
    lost: float
    """Norm of what is lost over the weight's norm, values that stand for infinity left out."""

    @property
    def is_epsilon(self) -> bool:
        """One number that becomes 0 is what keeps a division from failing, more often than not: noted, not refused."""
        return self.values == 1 and self.flushed == 1


def weight_loss(name: str, readers: Sequence[str], before: npt.NDArray[Any], after: npt.NDArray[Any]) -> WeightLoss:
    """Compare a weight with its float16 form."""
    old, new = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    finite = np.isfinite(old)
    clipped = finite & (np.abs(old) > LARGEST)
    masking = clipped & (np.abs(old) >= STANDS_FOR_INFINITY)
    rest = finite & ~masking
    size = float(np.linalg.norm(old[rest]))
    lost = float(np.linalg.norm(old[rest] - new[rest])) / size if size > 0.0 else 0.0
    flushed = int(np.count_nonzero((old != 0.0) & (new == 0.0)))
    return WeightLoss(name, tuple(readers), old.size, int(clipped.sum()), int(masking.sum()), flushed, lost)


def counted(losses: Sequence[WeightLoss]) -> dict[str, int]:
    """Return the numbers for the report: values converted, clipped, masking, flushed."""
    return {
        "values": sum(item.values for item in losses),
        "clipped": sum(item.clipped for item in losses),
        "masking": sum(item.masking for item in losses),
        "flushed": sum(item.flushed for item in losses),
    }


def judge_weights(job: BuildJob, losses: Sequence[WeightLoss]) -> tuple[str, ...]:
    """Return what the report should note. Raises EngineError ``precision`` for a weight that loses more than
    ``MOST_LOST`` of its norm, unless the manifest waives the accuracy gates."""
    total = counted(losses)
    notes = []
    if total["clipped"] or total["flushed"]:
        notes.append(
            f"fp16: of {total['values']} weights {total['clipped']} were cut at 65504 ({total['masking']} of them "
            f"stand for infinity) and {total['flushed']} became 0"
        )
    bad = [item for item in losses if item.lost > MOST_LOST and not item.is_epsilon]
    bad.sort(key=lambda item: -item.lost)
    if not bad:
        return tuple(notes)
    worst = bad[0]
    nodes = list(dict.fromkeys(name for item in bad for name in item.readers))
    message = (
        f"float16 loses {worst.lost:.0%} of weight {worst.weight!r} ({worst.clipped} of {worst.values} values are "
        f"beyond 65504, {worst.flushed} become 0), more than {MOST_LOST:.0%}, and {len(bad) - 1} other weights as much"
    )
    if job.enforce_accuracy:
        more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
        hint = f"keep what reads it in fp32: fp16.keep_fp32_nodes: [{', '.join(nodes[:_NAMED])}]{more}"
        raise EngineError("precision", f"fp16 {message}", hint)
    return (*notes, f"accuracy gate waived: fp16 {message}")
