"""Every declared decoder on the golden frames: what it finds, whether that is anything, and whether it is right.

Numbers may be close to fp32 and boxes be lost all the same, and a decoder with wrong options refuses every frame of a
green build. So decoders run where the engine is judged: in the builder, and again on the robot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.decoded import DecodedOutput, OutputDecoder
from runtime.contract.node.decoders import is_plugin
from runtime.decoding.decoders import OptionError, decoder_named
from runtime.decoding.frame_boxes import View
from runtime.decoding.object_boxes import ObjectBoxes
from runtime.decoding.results import Boxes, Classes, Decoder, JointCommand, Mask, Result, Tensor, Velocity
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import Sample
from runtime.engines.golden.agreement import agreement

Array = npt.NDArray[Any]
Results = dict[str, list[Result]]
"""Output → what its decoder makes of every frame."""
_MOST_NAMED = 4
_EXPECT = "if a right model finds nothing in them, say so: golden: {expect: nothing}"


class DecodingError(ValueError):
    """A decoder refuses an answer. The message names decoder, output and frame."""


@dataclass(frozen=True)
class Decoders:
    """Decoders as the robot makes them, and how the network sees the frame."""

    declared: tuple[OutputDecoder, ...]
    made: tuple[Decoder, ...]
    view: View

    def __call__(self, samples: Sequence[Sample], shaped_like: Sequence[Sample] | None = None) -> Results:
        """Decode the answers to every frame. Raises DecodingError.

        Answers out of a file have lost their batch of one: they take the shapes of ``shaped_like``.
        """
        found: Results = {}
        for item, decode in zip(self.declared, self.made, strict=True):
            found[item.output] = []
            for index, sample in enumerate(samples):
                values = np.asarray(sample[item.output])
                if shaped_like is not None:
                    values = _shaped(values, np.asarray(shaped_like[index][item.output]))
                try:
                    found[item.output].append(decode(values, self.view))
                except ValueError as error:
                    raise DecodingError(
                        f"decoder {item.name} refuses output {item.output!r} on golden frame {index}: {error}"
                    ) from error
        return found

    def report(self, own: Results, reference: Results) -> tuple[DecodedOutput, ...]:
        """Return what was found, and how far it agrees with the reference."""
        return tuple(
            DecodedOutput(
                item.output,
                item.name,
                len(own[item.output]),
                described(own[item.output]),
                _total(own[item.output]),
                sum(_count(result) == 0 for result in own[item.output]),
                agreement(own[item.output], reference[item.output], _threshold(item)),
            )
            for item in self.declared
        )

    def require_findings(self, reference: Results, samples: Sequence[Sample]) -> None:
        """Refuse golden frames in none of which a decoder finds anything, even at fp32: they prove nothing.

        Raises EngineError ``golden``, with the numbers.
        """
        for item in self.declared:
            if _total(reference[item.output]) == 0:
                raise EngineError("golden", self._why_nothing(item, samples), _hint(item))

    def _why_nothing(self, item: OutputDecoder, samples: Sequence[Sample]) -> str:
        values = [np.asarray(sample[item.output]) for sample in samples]
        sizes = [each for each in values if each.size]
        low = min((float(each.min()) for each in sizes), default=0.0)
        high = max((float(each.max()) for each in sizes), default=0.0)
        best = self._best_score(item, values)
        return (
            f"decoder {item.name} finds nothing in any of the {len(values)} golden frames, at fp32 either: output "
            f"{item.output!r} {list(values[0].shape)} reaches from {low:.4g} to {high:.4g}{best}"
        )

    def _best_score(self, item: OutputDecoder, values: Sequence[Array]) -> str:
        """Return candidates and best score without a threshold, where the decoder has one of scores."""
        if item.name != "boxes":
            return ""
        try:
            every = ObjectBoxes({**item.options, "threshold": 0.0, "iou": 1.0})
            found = [every(each, self.view) for each in values]
        except (OptionError, ValueError):
            return ""
        best = max((float(each.scores[0]) for each in found if each.scores.size), default=0.0)
        count = sum(each.scores.size + each.capped for each in found)
        return f", {count} candidates, the best score is {best:.3f}, the threshold {_threshold(item):g}"


def decoders_of(
    declared: Sequence[OutputDecoder], view: View, *, plugins: bool
) -> tuple[Decoders, tuple[OutputDecoder, ...]]:
    """Return the decoders, and those left out: without ``plugins`` those of somebody's own packages.

    Raises EngineError ``bad-model`` for one that cannot be made.
    """
    left = tuple(item for item in declared if is_plugin(item.name) and not plugins)
    kept = tuple(item for item in declared if item not in left)
    try:
        made = tuple(decoder_named(item.name, item.options) for item in kept)
    except OptionError as error:
        raise EngineError("bad-model", f"a decoder cannot be made: {error}", "correct outputs/decoder") from error
    return Decoders(kept, made, view), left


def view_of(inputs: Sequence[TensorSpec]) -> View:
    """Return how the network sees the first image of a job's inputs; an empty frame where there is none."""
    for spec in inputs:
        if (image := spec.preprocess) is not None:
            return View(image.height, image.width, image.resize == "letterbox", *network_size(spec))
    return View(0, 0)


def network_size(spec: TensorSpec) -> tuple[int, int]:
    """Return rows and columns of a model's image input."""
    return (spec.shape[2], spec.shape[3])


def require_no_class_numbers(decoders: Decoders, samples: Sequence[Sample]) -> None:
    """Refuse boxes whose scores are whole numbers in every row of every frame: they are numbers of classes.

    With as many classes as there are columns the two cannot be told apart by their shape. Raises EngineError.
    """
    for item, decode in zip(decoders.declared, decoders.made, strict=True):
        if not isinstance(decode, ObjectBoxes):
            continue
        columns = np.concatenate([decode.class_columns(np.asarray(sample[item.output])) for sample in samples])
        whole = np.flatnonzero(np.all(columns == np.rint(columns), axis=0) & np.any(columns != 0.0, axis=0))
        if whole.size:
            raise EngineError(
                "bad-model",
                f"decoder boxes reads scores where output {item.output!r} has whole numbers alone (class "
                f"{int(whole[0])}): they look like class numbers of an end-to-end export",
                "give the decoder the layout that the model was exported with, or export it without its own selection",
            )


def described(results: Sequence[Result]) -> str:
    """Return what was found in all frames, in one line."""
    first = results[0]
    if isinstance(first, Boxes):
        return _said_of_boxes([result for result in results if isinstance(result, Boxes)])
    if isinstance(first, Classes):
        best = Counter(str(result.labels[0]) for result in results if isinstance(result, Classes) and result.labels)
        scores = [float(result.scores[0]) for result in results if isinstance(result, Classes) and result.scores.size]
        return f"best {_counted(best)}, scores {min(scores):.3f} to {max(scores):.3f}" if scores else "no classes"
    if isinstance(first, Mask):
        masks = [result.classes for result in results if isinstance(result, Mask)]
        classes = sorted({int(each) for mask in masks for each in np.unique(mask)})
        share = float(np.mean([np.mean(mask != 0) for mask in masks if mask.size] or [0.0]))
        return f"classes {', '.join(map(str, classes[:8]))}, {share:.1%} of the pixels are not class 0"
    if isinstance(first, Velocity):
        rows = np.array([(*r.linear, *r.angular) for r in results if isinstance(r, Velocity)])
        names = ("linear x", "y", "z", "angular x", "y", "z")
        ranges = zip(names, rows.min(axis=0), rows.max(axis=0), strict=True)
        return ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, low, high in ranges if low or high) or "stands"
    if isinstance(first, JointCommand):
        joints = np.array([result.values for result in results if isinstance(result, JointCommand)])
        return f"{joints.shape[1]} joints in {len(results)} frames, {joints.min():.4g} to {joints.max():.4g}"
    if isinstance(first, Tensor):
        values = np.concatenate([np.asarray(r.values, np.float64).ravel() for r in results if isinstance(r, Tensor)])
        if values.size:
            return f"{len(results)} frames of {list(first.values.shape)}, {values.min():.4g} to {values.max():.4g}"
    return f"{len(results)} results of type {type(first).__name__}"


def _said_of_boxes(results: Sequence[Boxes]) -> str:
    counts = [len(result.scores) for result in results]
    total = sum(counts)
    if not total:
        return f"no boxes in {len(results)} frames"
    scores = np.concatenate([result.scores for result in results])
    named = Counter(name or "box" for result in results for name in result.names())
    return (
        f"{total} boxes in {len(results)} frames ({min(counts)} to {max(counts)} a frame), scores "
        f"{scores.min():.3f} to {scores.max():.3f}: {_counted(named)}"
    )


def _counted(named: Mapping[str, int]) -> str:
    most = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(most) - _MOST_NAMED} more" if len(most) > _MOST_NAMED else ""
    return ", ".join(f"{name} x{count}" for name, count in most[:_MOST_NAMED]) + more


def _count(result: Result) -> int | None:
    """Return how much a result has found; None for one that looks for nothing."""
    if isinstance(result, Boxes):
        return len(result.scores)
    if isinstance(result, Mask):
        return int(np.count_nonzero(result.classes))
    return None


def _total(results: Sequence[Result]) -> int | None:
    counts = [count for result in results if (count := _count(result)) is not None]
    return sum(counts) if counts else None


def _threshold(item: OutputDecoder) -> float:
    """Return the score from which a decoder takes a finding."""
    usual = 0.6 if item.name == "text_boxes" else 0.25
    return float(item.options.get("box_threshold" if item.name == "text_boxes" else "threshold", usual))


def _hint(item: OutputDecoder) -> str:
    what = f"give golden frames in which the model finds something, or correct the options of decoder {item.name}"
    return f"{what}; {_EXPECT}"


def _shaped(values: Array, like: Array) -> Array:
    return values.reshape(like.shape) if values.size == like.size else values
