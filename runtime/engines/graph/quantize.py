"""float32 graph → static Q/DQ int8 graph: per-channel weights, activation ranges from calibration frames."""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import tempfile
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from runtime.contract.engine.build import Int8Options, TensorSpec
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.graph.histogram import BoundedHistogram, not_finite
from runtime.engines.graph.mixed_ranges import mixed_range_nodes
from runtime.engines.graph.normalize import infer
from runtime.engines.graph.preprocess import preprocess_model

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
MOST_SECONDS = 1800.0
"""Of one calibration; a builder's own deadline may end it earlier."""
#: What computes, and so gains by int8.
_TENSORRT = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: A batch norm that could not be fused has a scale per channel: one int8 scale for all of them ruins it.
_NEVER = {"BatchNormalization", "InstanceNormalization", "LayerNormalization"}


@dataclass(frozen=True)
class Style:
    """What kind of int8 a backend's kernels take."""

    symmetric_activations: bool = False
    """Signed activations with zero point 0 (the only kind TensorRT takes), instead of unsigned with any."""
    seven_bit_weights: bool = False
    """Weights from -64 to 64: x86 CPUs without VNNI add two 8x8-bit products in 16 bits, and would saturate."""
    for_tensorrt: bool = False
    """Q/DQ pairs on the inputs of convolutions and matrix products alone, weights as float with a pair of their own,
    biases in float: TensorRT fuses the rest itself, and fails on pairs around what it fuses."""


#: What each backend's kernels take. An engine for linux/amd64 must be right on CPUs without VNNI too.
STYLES = {
    "onnxruntime": Style(seven_bit_weights=True),
    "tensorrt": Style(symmetric_activations=True, for_tensorrt=True),
}


class Frames(Protocol):
    """Calibration frames by index: engine input name → array with batch 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[Any]]: ...


def quantize(
    model: ModelProto,
    inputs: Sequence[TensorSpec],
    frames: Frames,
    options: Int8Options,
    *,
    style: Style,
    progress: Progress,
) -> ModelProto:
    """Return ``model`` (folded, float tensors in) with Q/DQ pairs. Raises EngineError of kind ``calibration``."""
    return Quantizer(model, inputs, frames, options, style=style, progress=progress)(options.exclude_nodes)


class Quantizer:
    """A folded float model, calibrated once, then quantized with as many choices of excluded nodes as are asked for.

    Ranges belong to tensors, not to what is quantized, so they are the same for every choice.
    """

    def __init__(
        self,
        model: ModelProto,
        inputs: Sequence[TensorSpec],
        frames: Frames,
        options: Int8Options,
        *,
        style: Style,
        progress: Progress,
        seconds: float = MOST_SECONDS,
    ) -> None:
        """Check the options and calibrate. Raises EngineError of kind ``calibration``."""
        if options.method not in _METHODS:
            raise EngineError(
                "calibration", f"there is no method {options.method!r}", f"use one of {', '.join(sorted(_METHODS))}"
            )
        check_names("int8.exclude_nodes", "node", options.exclude_nodes, (node.name for node in model.graph.node))
        self._style = style
        self.operators = operators_for(options, style)
        progress(f"calibrating with {len(frames)} frames, method {options.method}")
        with tempfile.TemporaryDirectory(prefix="jetfleet-int8-") as folder, _quiet():
            source = Path(folder) / "float.onnx"
            onnx.save(_marked(infer(model)), str(source))
            self._model = load_model_with_shape_infer(source)
            self._ranges = _calibrated(
                source, self.operators, _METHODS[options.method], _Reader(inputs, frames, progress), seconds
            )
        self._mixed = mixed_range_nodes(self._model, _plain(self._ranges))
        self.notes: tuple[str, ...] = ()
        """What the report should say."""
        if self._mixed:
            note = (
                f"int8: {len(self._mixed)} nodes from {self._mixed[0]!r} on stay in float: they join values of very "
                "different ranges, which one scale cannot hold"
            )
            self.notes = (note,)
            progress(note)

    def __call__(self, exclude_nodes: Collection[str]) -> ModelProto:
        """Return the model with Q/DQ pairs, ``exclude_nodes`` and joins of very different ranges left in float."""
        fresh = ModelProto()
        fresh.CopyFrom(self._model)  # the quantizer changes the model that it is given
        with _quiet():
            quantizer = QDQQuantizer(
                fresh,
                True,  # a scale per output channel of every weight
                self._style.seven_bit_weights,
                QuantType.QInt8,
                QuantType.QInt8 if self._style.symmetric_activations else QuantType.QUInt8,
                self._ranges,
                [],
                sorted({*exclude_nodes, *self._mixed}),
                self.operators,
                _extra_options(self.operators, self._style),
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        result: ModelProto = quantizer.model.model
        return result


def _calibrated(
    source: Path, operators: Sequence[str], method: CalibrationMethod, reader: _Reader, seconds: float
) -> Any:
    """Return the range of every tensor. Raises EngineError of kind ``calibration``."""
    calibrator = create_calibrator(
        source, operators, augmented_model_path=str(source.with_name("augmented.onnx")), calibrate_method=method
    )
    if hasattr(calibrator, "num_quantized_bins"):
        calibrator.collector = BoundedHistogram(
            method=calibrator.method,
            symmetric=calibrator.symmetric,
            num_bins=calibrator.num_bins,
            num_quantized_bins=calibrator.num_quantized_bins,
            percentile=calibrator.percentile,
            scenario=calibrator.scenario,
        )
    started = time.monotonic()
    # One frame at a time: a histogram calibrator otherwise keeps every activation of every frame.
    for index in range(len(reader)):
        reader.set_range(index, index + 1)
        calibrator.collect_data(reader)
        if time.monotonic() - started > seconds:
            raise EngineError(
                "calibration",
                f"calibration reached frame {index + 1} of {len(reader)} in {seconds:.0f} s, the time limit",
                "give fewer frames (100 to 500 are usual), or use method minmax",
            )
    ranges = calibrator.compute_data()
    for name, (low, high) in _plain(ranges).items():
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(name)
    return ranges


def _plain(ranges: Any) -> dict[str, tuple[float, float]]:
    """Return each tensor's smallest and largest value of what a calibrator found."""
    found = {}
    for name, data in ranges.items():
        low, high = data.range_value
        found[name] = (float(np.min(low)), float(np.max(high)))
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Calibrators print what they do, and warn about numpy and onnx calls of their own: a builder's output is its
    progress, and what came of the calibration is measured afterwards."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def operators_for(options: Int8Options, style: Style) -> list[str]:
    """Return the operators that a backend quantizes, sorted."""
    known = _TENSORRT if style.for_tensorrt else set(QDQRegistry) | set(QLinearOpsRegistry)
    return sorted(known - _NEVER - set(options.exclude_ops))


def _extra_options(operators: Sequence[str], style: Style) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "ActivationSymmetric": style.symmetric_activations,
        "WeightSymmetric": True,
    }
    if style.for_tensorrt:
        extra |= {
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(operators),
        }
    return extra


def check_names(option: str, what: str, names: Sequence[str], present: Iterable[str]) -> None:
    """Refuse a name that is none of ``present``, with the near ones. Raises EngineError of kind ``calibration``.

    ``what`` is the word for it: node, operator.
    """
    known = list(dict.fromkeys(present))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known[:3]
            raise EngineError(
                "calibration",
                f"{option} names the {what} {name!r}, which the folded model does not have",
                f"did you mean {', '.join(near)}?",
            )


def _marked(model: ModelProto) -> ModelProto:
    """Tell the quantizer that the model is folded and inferred already, or it warns that it should be."""
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
    return model


class _Reader:
    """A CalibrationDataReader over frames; each goes through the preprocessing a live frame goes through."""

    def __init__(self, inputs: Sequence[TensorSpec], frames: Frames, progress: Progress) -> None:
        self._inputs = tuple(inputs)
        self._frames = frames
        self._progress = progress
        self._range = range(len(frames))
        self._next = 0
        self._sessions = {spec.name: _session(spec) for spec in inputs if spec.preprocess is not None}

    def __len__(self) -> int:
        return len(self._frames)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next = start_index
        self._range = range(start_index, min(end_index, len(self._frames)))

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        if self._next not in self._range:
            return None
        frame = self._frames[self._next]
        self._next += 1
        if self._next % 50 == 0:
            self._progress(f"calibrating: {self._next} of {len(self._frames)} frames")
        return {spec.name: self._tensor(spec, frame[spec.name]) for spec in self._inputs}

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, npt.NDArray[Any]]:
        item = self.get_next()
        if item is None:
            raise StopIteration
        return item

    def _tensor(self, spec: TensorSpec, frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
        session = self._sessions.get(spec.name)
        if session is None:
            return frame
        tensor: npt.NDArray[Any] = session.run(None, {"frame": frame})[0]
        return tensor


def _session(spec: TensorSpec) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(preprocess_model(spec).SerializeToString(), options, providers=["CPUExecutionProvider"])
