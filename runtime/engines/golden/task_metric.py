"""A model's task metric on golden frames: engine against fp32, and against expected outputs where they are known."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.accuracy_gate import NOT_A_NUMBER_ERROR
from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.decoded import OutputDecoder, output_name, tensors_read
from runtime.contract.engine.task_metric import (
    AGREEMENTS,
    MAP50,
    MASK_IOU,
    METRICS,
    TOP1,
    MetricGate,
    TaskMetric,
    violation,
    why_too_few,
)
from runtime.contract.node.box_options import BOX_DECODERS
from runtime.decoding.frame_boxes import Boxes, View
from runtime.decoding.results import Result
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import Sample
from runtime.engines.golden.average_precision import SCORE_ERROR, mean_average_precision
from runtime.engines.golden.decoded import Decoders, DecodingError, decoders_of, view_of

Values = npt.NDArray[np.float64]
"""One output of all golden frames: (frames, …), the batch of one taken off."""
BOXES = "boxes"
_FP32, _GOLDEN = "the fp32 source model", "the golden data's expected outputs"
WORST_SHARE = 1e9
"""Stands for a limit that allows nothing, broken."""


def check_metric(gate: MetricGate, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> None:
    """Refuse a metric that is none, one of an output that the job does not have, and boxes that cannot be decoded.

    Raises EngineError.
    """
    if gate.name not in METRICS:
        raise EngineError("unsupported", f"there is no metric {gate.name!r}", _nearest(gate.name, METRICS))
    if gate.output not in outputs:
        message = f"metric {gate.name} is declared for output {gate.output!r}, which the model does not have"
        raise EngineError("bad-model", message, _nearest(gate.output, outputs))
    if gate.name == MAP50:
        _box_decoder(gate, _view(inputs))


def measure_metric(
    gate: MetricGate,
    own: Sequence[Sample],
    fp32: Sequence[Sample],
    expected: Sequence[Sample],
    inputs: Sequence[TensorSpec],
) -> TaskMetric:
    """Measure over all frames, each sequence frame by frame; ``expected`` is empty where nothing is known.

    ``inputs`` are the job's: the first image is the frame that boxes are found in.

    Agreements are 0 and errors the largest float32 when the engine's values are not finite. Raises EngineError for
    too few frames, an output of a shape that the metric has no meaning for, and masks and boxes where there are none.
    """
    check_metric(gate, inputs, list(own[0]))
    if gate.limit is not None and (why := why_too_few(gate.name, gate.limit, len(own))):
        raise EngineError("golden", why, "give more golden frames, or write a limit of 1: all of them")
    to_golden = None
    if gate.name == MAP50:
        view = _view(inputs)
        to_fp32 = _map50(gate, own, fp32, _FP32, view)
        to_golden = _map50(gate, own, expected, _GOLDEN, view) if expected else None
        return TaskMetric(gate.name, gate.output, to_fp32, to_golden, len(own), gate.limit)
    shape = np.shape(own[0][gate.output])
    shape = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    actual = _values(own, gate.output, shape)
    to_fp32 = _measure(gate, actual, _values(fp32, gate.output, shape), _FP32)
    if expected:
        to_golden = _measure(gate, actual, _values(expected, gate.output, shape), _GOLDEN)
    return TaskMetric(gate.name, gate.output, to_fp32, to_golden, len(own), gate.limit)


def share_used(measured: TaskMetric) -> float:
    """Return the largest share of what the metric's limit allows that a measurement uses up; over 1 it fails."""
    if measured.limit is None:
        return 0.0
    ideal = 1.0 if measured.name in AGREEMENTS else 0.0
    allowed, shares = abs(ideal - measured.limit), [0.0]
    for value in (measured.to_fp32, measured.to_golden):
        used = 0.0 if value is None else abs(ideal - value)
        shares.append(min(used / allowed, WORST_SHARE) if allowed > 0.0 else WORST_SHARE if used > 0.0 else 0.0)
    return max(shares)


def require_metric(precision: str, measured: TaskMetric) -> None:
    """Refuse an engine whose metric breaks its limit. Raises EngineError of kind ``accuracy``, with both numbers."""
    if wrong := violation(measured, measured.limit):
        hint = f"leave operators or nodes in float, or change gates.metric of {precision}"
        if "golden data" in wrong and precision == "fp32":
            hint = "the model's outputs differ from the golden data: use the right model, or make the data again"
        raise EngineError("accuracy", f"{precision} {wrong}", hint)


def _values(samples: Sequence[Sample], output: str, shape: tuple[int, ...]) -> Values:
    """Return an output of all frames; sizes agree, as the comparison before this one has made sure."""
    return np.stack([np.asarray(sample[output], np.float64).reshape(shape) for sample in samples])


def _measure(gate: MetricGate, actual: Values, reference: Values, against: str) -> float:
    finite = bool(np.isfinite(actual).all() and np.isfinite(reference).all())
    if gate.name == TOP1:
        return _top1(actual, reference, gate.output) if finite else 0.0
    if gate.name == MASK_IOU:
        return _mask_iou(gate, actual, reference, against) if finite else 0.0
    if not finite:
        return NOT_A_NUMBER_ERROR
    return min(float(np.mean(np.abs(actual - reference))), NOT_A_NUMBER_ERROR)


def _top1(actual: Values, reference: Values, output: str) -> float:
    """Return the share of frames whose best class is the same one."""
    shape = actual.shape[1:]
    if shape[:1] in ((), (1,)) or any(size != 1 for size in shape[1:]):
        raise _no_meaning(TOP1, output, actual, "(1, classes), with ones behind it if any")
    flat = (len(actual), -1)
    return float(np.mean(np.argmax(actual.reshape(flat), 1) == np.argmax(reference.reshape(flat), 1)))


def _mask_iou(gate: MetricGate, actual: Values, reference: Values, against: str) -> float:
    """Return intersection over union of every class over all frames, the mean over classes that either side has."""
    if actual.ndim not in (3, 4):
        raise _no_meaning(MASK_IOU, gate.output, actual, "(1, classes, rows, columns) or (1, rows, columns)")
    if actual.ndim == 4 and actual.shape[1] > 1:
        ours, theirs = np.argmax(actual, 1), np.argmax(reference, 1)
        classes: Sequence[int] = range(actual.shape[1])
    else:
        ours, theirs = (actual > gate.threshold).astype(int), (reference > gate.threshold).astype(int)
        classes = (1,)
    found = []
    for each in classes:
        left, right = ours == each, theirs == each
        union = np.count_nonzero(left | right)
        if union:
            found.append(np.count_nonzero(left & right) / union)
    if not found:
        raise EngineError(
            "golden",
            f"no value of output {gate.output!r} is above {gate.threshold:g} in any golden frame, neither the "
            f"engine's nor in {against}: that proves nothing",
            "choose frames in which the model finds something, or another gates.metric.threshold",
        )
    return float(np.mean(found))


def _map50(gate: MetricGate, own: Sequence[Sample], reference: Sequence[Sample], against: str, view: View) -> float:
    """Return the mean average precision at IoU 0.5 of the boxes that the robot would publish, of ``reference``'s."""
    names = tensors_read(gate.output, gate.tensors)
    if not all(np.isfinite(np.asarray(sample[name])).all() for sample in (*own, *reference) for name in names):
        return 0.0
    decoders = _box_decoder(gate, view)
    try:
        ours = decoders(own)[decoders.declared[0].output]
        theirs = decoders(reference, shaped_like=own)[decoders.declared[0].output]
    except DecodingError as error:
        message = f"metric {MAP50} does not apply to output {gate.output!r}: {error}"
        raise EngineError(
            "bad-model", message, "choose another output, or correct the options of its decoder"
        ) from error
    found = mean_average_precision(_boxes(ours), _boxes(theirs), SCORE_ERROR)
    if found is None:
        raise EngineError(
            "golden",
            f"output {gate.output!r} gives no box in any golden frame, neither the engine's nor in {against}: that "
            "proves nothing",
            "choose frames in which the model finds something, or another threshold of the decoder",
        )
    return found


def _boxes(results: Sequence[Result]) -> list[Boxes]:
    return [each for each in results if isinstance(each, Boxes)]


def _box_decoder(gate: MetricGate, view: View) -> Decoders:
    name = gate.decoder_name or BOXES
    if name not in BOX_DECODERS:
        message = f"metric {MAP50} needs boxes, and output {gate.output!r} has decoder {name}"
        raise EngineError("unsupported", message, f"use one of the decoders {', '.join(BOX_DECODERS)}")
    declared = OutputDecoder(output_name(gate.output, gate.tensors), name, gate.decoder, gate.tensors)
    try:
        return decoders_of([declared], view, plugins=False)[0]
    except EngineError as error:
        raise EngineError(
            "unsupported", f"metric {MAP50}: {error.message}", "correct the options of the output's decoder"
        ) from error


def _view(inputs: Sequence[TensorSpec]) -> View:
    """Return how the network sees the first image, as the robot's node says it. Raises EngineError."""
    if any(spec.preprocess is not None for spec in inputs):
        return view_of(inputs)
    message = f"metric {MAP50} is declared for a model without an image input"
    raise EngineError("unsupported", message, "choose another metric in gates.metric")


def _no_meaning(name: str, output: str, actual: Values, wanted: str) -> EngineError:
    shape = [1, *actual.shape[1:]]
    message = f"metric {name} does not apply to output {output!r} of shape {shape}: it takes {wanted}"
    return EngineError("bad-model", message, "choose another metric or output in gates.metric")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
