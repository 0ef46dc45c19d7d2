"""Every declared decoder on the golden frames: what it finds, whether that is anything, and whether it is right.

Numbers may be close to fp32 and boxes be lost all the same, and a decoder with wrong options refuses every frame of a
green build. So decoders run where the engine is judged: in the builder, and again on the robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TOP_LEFT, TensorSpec
from runtime.contract.engine.decoded import DecodedOutput, OutputDecoder, pick
from runtime.contract.node.box_options import BOX_DECODERS
from runtime.contract.node.decoders import is_plugin
from runtime.contract.node.tensor_roles import tensors_problem
from runtime.decoding.decoders import OptionError, decoder_named
from runtime.decoding.frame_boxes import View
from runtime.decoding.results import Boxes, Decoder, Result
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import Sample
from runtime.engines.golden.agreement import agreement
from runtime.engines.golden.described import count, described, total

Array = npt.NDArray[Any]
Results = dict[str, list[Result]]
"""Output → what its decoder makes of every frame."""
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
                like = sample if shaped_like is None else shaped_like[index]
                values = {name: _shaped(np.asarray(sample[name]), np.asarray(like[name])) for name in item.sources}
                try:
                    found[item.output].append(decode(pick(item.output, item.tensors, values), self.view))
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
                total(own[item.output]),
                sum(count(result) == 0 for result in own[item.output]),
                agreement(own[item.output], reference[item.output], _threshold(item)),
            )
            for item in self.declared
        )

    def require_findings(self, reference: Results, samples: Sequence[Sample]) -> None:
        """Refuse golden frames in none of which a decoder finds anything, even at fp32: they prove nothing.

        Raises EngineError ``golden``, with the numbers.
        """
        for item in self.declared:
            if total(reference[item.output]) == 0:
                raise EngineError("golden", self._why_nothing(item, samples), _hint(item))

    def _why_nothing(self, item: OutputDecoder, samples: Sequence[Sample]) -> str:
        said = "; ".join(_ranges(name, [np.asarray(sample[name]) for sample in samples]) for name in item.sources)
        best = self._best_score(item, samples)
        frames = f"any of the {len(samples)} golden frames"
        return f"decoder {item.name} finds nothing in {frames}, at fp32 either: {said}{best}"

    def _best_score(self, item: OutputDecoder, samples: Sequence[Sample]) -> str:
        """Return candidates and best score without a threshold, where the decoder has one of scores."""
        if item.name not in BOX_DECODERS:
            return ""
        try:
            every = decoder_named(item.name, {**item.options, "threshold": 0.0, "iou": 1.0})
            found = [every(pick(item.output, item.tensors, sample), self.view) for sample in samples]
        except (OptionError, ValueError):
            return ""
        boxes = [each for each in found if isinstance(each, Boxes)]
        best = max((float(each.scores[0]) for each in boxes if each.scores.size), default=0.0)
        there = sum(each.scores.size + each.capped for each in boxes)
        return f", {there} candidates, the best score is {best:.3f}, the threshold {_threshold(item):g}"


def decoders_of(
    declared: Sequence[OutputDecoder], view: View, *, plugins: bool
) -> tuple[Decoders, tuple[OutputDecoder, ...]]:
    """Return the decoders, and those left out: without ``plugins`` those of somebody's own packages.

    Raises EngineError ``bad-model`` for one that cannot be made.
    """
    left = tuple(item for item in declared if is_plugin(item.name) and not plugins)
    kept = tuple(item for item in declared if item not in left)
    for item in kept:
        if problem := tensors_problem(item.name, item.options, tuple(item.tensors)):
            raise EngineError("bad-model", *problem)
    try:
        made = tuple(decoder_named(item.name, item.options) for item in kept)
    except OptionError as error:
        raise EngineError("bad-model", f"a decoder cannot be made: {error}", "correct outputs/decoder") from error
    return Decoders(kept, made, view), left


def view_of(inputs: Sequence[TensorSpec]) -> View:
    """Return how the network sees the first image of a job's inputs; an empty frame where there is none."""
    for spec in inputs:
        if (image := spec.preprocess) is not None:
            bars = image.resize == "letterbox"
            return View(*image.upright, bars, *network_size(spec), bars and image.place == TOP_LEFT)
    return View(0, 0)


def network_size(spec: TensorSpec) -> tuple[int, int]:
    """Return rows and columns of a model's image input."""
    return (spec.shape[2], spec.shape[3])


def require_no_class_numbers(decoders: Decoders, samples: Sequence[Sample]) -> None:
    """Refuse boxes whose scores are whole numbers in every row of every frame: they are numbers of classes.

    With as many classes as there are columns the two cannot be told apart by their shape. Raises EngineError.
    """
    for item, decode in zip(decoders.declared, decoders.made, strict=True):
        read = getattr(decode, "class_columns", None) if item.name in BOX_DECODERS else None
        every: list[Array | None] = [
            None if read is None else read(pick(item.output, item.tensors, sample)) for sample in samples
        ]
        columns = [each for each in every if each is not None]
        if not columns:
            continue
        scores = np.concatenate(columns)
        whole = np.flatnonzero(np.all(scores == np.rint(scores), axis=0) & np.any(scores != 0.0, axis=0))
        if whole.size:
            raise EngineError(
                "bad-model",
                f"decoder {item.name} reads scores where output {item.output!r} has whole numbers alone (class "
                f"{int(whole[0])}): they look like class numbers of an end-to-end export",
                "give the decoder the layout that the model was exported with, or export it without its own selection",
            )


def _threshold(item: OutputDecoder) -> float:
    """Return the score from which a decoder takes a finding."""
    usual = 0.6 if item.name == "text_boxes" else 0.25
    return float(item.options.get("box_threshold" if item.name == "text_boxes" else "threshold", usual))


def _hint(item: OutputDecoder) -> str:
    what = f"give golden frames in which the model finds something, or correct the options of decoder {item.name}"
    return f"{what}; {_EXPECT}"


def _ranges(name: str, values: Sequence[Array]) -> str:
    sizes = [each for each in values if each.size]
    low = min((float(each.min()) for each in sizes), default=0.0)
    high = max((float(each.max()) for each in sizes), default=0.0)
    return f"output {name!r} {list(values[0].shape)} reaches from {low:.4g} to {high:.4g}"


def _shaped(values: Array, like: Array) -> Array:
    return values.reshape(like.shape) if values.size == like.size else values
