"""A measure of what a model is for, next to cosine and largest error: what is asked of it, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional

TOP1, MASK_IOU, MAP50, MEAN_ABS_ERROR = "top1", "mask_iou", "map50", "mean_abs_error"
AGREEMENTS = (TOP1, MASK_IOU, MAP50)
"""From 0 to 1, more is better: their limit is the smallest that passes."""
ERRORS = (MEAN_ABS_ERROR,)
"""In the output's unit, less is better: their limit is the largest that passes."""
METRICS = (*AGREEMENTS, *ERRORS)
_EPSILON = 1e-9


@dataclass(frozen=True)
class MetricGate:
    """What a builder measures on the golden frames, and what it refuses. The robot's self-test does not ask for it."""

    name: str
    """One of METRICS."""
    output: str
    """The tensor that it is measured on."""
    limit: Optional[float] = None
    """At this precision; None: measured and reported, not judged."""
    threshold: float = 0.5
    """mask_iou of one channel: what is above it belongs to the mask."""
    decoder: Dict[str, Any] = field(default_factory=dict)
    """map50: options of the output's decoder, as the robot gets them, without its labels."""
    decoder_name: str = ""
    """map50: the output's decoder; empty: ``boxes``."""
    tensors: Dict[str, str] = field(default_factory=dict)
    """map50: role → tensor, where the decoder reads several, ``output`` among them."""


@dataclass(frozen=True)
class TaskMetric:
    """One metric over all golden frames."""

    name: str
    output: str
    to_fp32: float
    """The engine against the same model at fp32 in ONNX Runtime."""
    to_golden: Optional[float]
    """The engine against the manifest's expected outputs; None when it gives none."""
    frames: int
    limit: Optional[float] = None
    """What the job asked for."""


def frames_needed(name: str, limit: float) -> int:
    """Return how many golden frames tell ``limit`` from a perfect answer; 1 where one frame is enough.

    top1 over N frames is a multiple of 1/N: with fewer, nothing but "all of them" would pass a limit below 1.
    """
    if name != TOP1 or not limit < 1.0:
        return 1
    needed = 1.0 / (1.0 - limit)
    return max(1, int(needed) + (needed - int(needed) > _EPSILON * needed))


def why_too_few(name: str, limit: float, frames: int) -> str:
    """Return why ``frames`` golden frames cannot be judged by ``limit`` (a sentence), or an empty text."""
    if frames >= frames_needed(name, limit):
        return ""
    below = "0" if frames == 1 else "at most {:.3g}".format((frames - 1) / frames)
    count = "{} golden frame{}".format(frames, "" if frames == 1 else "s")
    return "{} {:g} cannot be judged on {}: it would be 1 or {}".format(name, limit, count, below)


def violation(measured: TaskMetric, limit: Optional[float]) -> str:
    """Return how ``measured`` breaks ``limit``, with both numbers and against what; empty when it does not."""
    sides = ((measured.to_fp32, "the fp32 source model"), (measured.to_golden, "the golden data's expected outputs"))
    for value, against in sides:
        if limit is None or value is None:
            continue
        passes = value >= limit if measured.name in AGREEMENTS else value <= limit
        if not passes:
            numbers = _both(value, "<" if measured.name in AGREEMENTS else ">", limit)
            where = "on output {!r} over {} golden frames".format(measured.output, measured.frames)
            return "{} {} {}, against {}".format(measured.name, numbers, where, against)
    return ""


def _both(left: float, sign: str, right: float) -> str:
    """Format two numbers with as few significant digits, from four on, as show that they differ."""
    for digits in range(4, 10):
        first, second = "{:.{}g}".format(left, digits), "{:.{}g}".format(right, digits)
        if first != second:
            return "{} {} {}".format(first, sign, second)
    return "{!r} {} {!r}".format(left, sign, right)
