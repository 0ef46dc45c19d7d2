"""What an accuracy gate says of one measured output: for the builder, the robot's self-test and `fleet publish`."""

from __future__ import annotations

import math
from typing import Iterable, List

from runtime.contract.engine.build import AccuracyGate, OutputAccuracy
from runtime.contract.engine.decoded import DecodedOutput

NOT_A_NUMBER_COSINE = -1.0
"""Stands for outputs that hold NaN or infinity: the worst there is, and a number that JSON can carry."""
NOT_A_NUMBER_ERROR = 3.4028234663852886e38
"""Largest error of such outputs: the largest float32."""

LEAST_AGREEMENT = 0.9
"""Of decoders' results, where a gate does not say otherwise: of ten findings one may be lost, invented or of another
class. One whose score is near the threshold is not counted, so what rounding alone decides costs nothing."""
_MOST_RATIO = 2.0
_ALLOWANCE = 1.5
_LEAST_RELATIVE = 0.02
"""Gates close to a cosine of 1 would allow less than half precision loses on small outputs."""


def relative_limit(gate: AccuracyGate) -> float:
    """Return the largest relative error that ``gate`` lets through.

    When it names none: 1.5 times that of two outputs of equal size whose cosine is just the gate's,
    ``sqrt(2 (1 - c))``. So magnitude is judged as strictly as direction, whatever the cosine that somebody chose:
    0.07 at 0.999, 0.21 at 0.99, 0.37 at 0.97.
    """
    if gate.max_relative_error is not None:
        return gate.max_relative_error
    return max(_ALLOWANCE * math.sqrt(max(2.0 * (1.0 - gate.min_cosine), 0.0)), _LEAST_RELATIVE)


def matched_limit(gate: AccuracyGate) -> float:
    """Return the smallest share of rows that both have which ``gate`` lets through.

    Of an output with as many rows as are found (suppression in the graph). A row more or less counts by half the
    relative error that the same gate allows: 0.97 at a cosine of 0.999, 0.89 at 0.99, 0.82 at 0.97.
    """
    return 1.0 - relative_limit(gate) / 2.0


def broken(item: OutputAccuracy, gate: AccuracyGate) -> List[str]:
    """Return everything in which a measurement breaks ``gate``, each with both numbers; empty when it passes.

    What an older report or builder did not measure (None) is not judged. Values that are not finite break every gate.
    """
    if not item.max_abs_error < NOT_A_NUMBER_ERROR:
        return ["output {!r} holds values that are not finite".format(item.output)]
    found = []
    if item.matched_share is not None:
        share = matched_limit(gate)
        if not item.matched_share >= share:
            numbers = both(item.matched_share, "<", share)
            found.append("share of rows that both have {} on output {!r}".format(numbers, item.output))
    elif not item.min_cosine >= gate.min_cosine:
        what = "cosine" if item.equal_share is None else "share of equal integers"
        found.append("{} {} on output {!r}".format(what, both(item.min_cosine, "<", gate.min_cosine), item.output))
    limit = relative_limit(gate)
    if item.relative_error is not None and not item.relative_error <= limit:
        size = "" if item.norm_ratio is None else " (its norm is {:.3g} of the reference's)".format(item.norm_ratio)
        numbers = both(item.relative_error, ">", limit)
        found.append("relative error {} on output {!r}{}".format(numbers, item.output, size))
    elif item.norm_ratio is not None and gate.min_cosine > 0.0 and not _alike(item.norm_ratio):
        found.append(
            "norm {:.3g} of the reference's, outside {:g} to {:g}, on output {!r}".format(
                item.norm_ratio, 1.0 / _MOST_RATIO, _MOST_RATIO, item.output
            )
        )
    if gate.max_abs_error is not None and not item.max_abs_error <= gate.max_abs_error:
        found.append(
            "largest error {} on output {!r}".format(both(item.max_abs_error, ">", gate.max_abs_error), item.output)
        )
    return found


def decoded_limit(gate: AccuracyGate) -> float:
    """Return the smallest agreement of decoders' results that ``gate`` lets through."""
    return LEAST_AGREEMENT if gate.min_decoded is None else gate.min_decoded


def lost(decoded: Iterable[DecodedOutput], gate: AccuracyGate) -> List[str]:
    """Return every output whose decoder makes other things of the engine's answers, with both numbers."""
    limit = decoded_limit(gate)
    return [
        "decoder {}: agreement with the reference {} on output {!r} ({})".format(
            item.decoder, both(item.agreement, "<", limit), item.output, item.said
        )
        for item in decoded
        if item.agreement is not None and not item.agreement >= limit
    ]


def described(item: OutputAccuracy) -> str:
    """Return what was measured in one line: ``cosine 0.99950, relative error 0.03, largest error 0.2``."""
    if item.matched_share is not None:
        words = "{:.5g} of the rows in both".format(item.matched_share)
    elif item.equal_share is not None:
        words = "{:.5g} of the integers equal".format(item.equal_share)
    else:
        words = "cosine {:.5f}".format(item.min_cosine)
    if item.relative_error is not None:
        words += ", relative error {:.4g}".format(item.relative_error)
    return "{}, largest error {:.4g}".format(words, item.max_abs_error)


def both(left: float, sign: str, right: float) -> str:
    """Format two numbers with as few digits, from three on, as show that they differ."""
    for digits in range(3, 10):
        if "{:.{}f}".format(left, digits) != "{:.{}f}".format(right, digits):
            return "{:.{d}f} {} {:.{d}f}".format(left, sign, right, d=digits)
    return "{!r} {} {!r}".format(left, sign, right)


def _alike(ratio: float) -> bool:
    return 1.0 / _MOST_RATIO <= ratio <= _MOST_RATIO
