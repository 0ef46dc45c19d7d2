"""float32 graph → static Q/DQ int8 graph: per-channel weights, activation ranges from calibration frames."""

from __future__ import annotations

import contextlib
import difflib
import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from runtime.contract.build import Int8Options, TensorSpec
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.graph import infer
from runtime.engines.preprocess import preprocess_model

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
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
    operators = _operators(options, style)
    _check_nodes(model, options.exclude_nodes)
    if options.method not in _METHODS:
        raise EngineError(
            "calibration", f"there is no method {options.method!r}", f"use one of {', '.join(sorted(_METHODS))}"
        )
    progress(f"calibrating with {len(frames)} frames, method {options.method}")
    with tempfile.TemporaryDirectory(prefix="jetfleet-int8-") as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(_marked(infer(model)), str(source))
        # Calibrators print what they do, and warn about numpy and onnx calls of their own: a builder's output is its
        # progress, and what came of the calibration is measured afterwards.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                str(source),
                str(target),
                _Reader(inputs, frames, progress),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8 if style.symmetric_activations else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=style.seven_bit_weights,
                op_types_to_quantize=operators,
                nodes_to_exclude=list(options.exclude_nodes),
                calibrate_method=_METHODS[options.method],
                extra_options=_extra_options(operators, style),
            )
        result = onnx.load(str(target))
    progress("quantized to int8")
    return result


def _operators(options: Int8Options, style: Style) -> list[str]:
    known = _TENSORRT if style.for_tensorrt else set(QDQRegistry) | set(QLinearOpsRegistry)
    return sorted(known - _NEVER - set(options.exclude_ops))


def _extra_options(operators: Sequence[str], style: Style) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "ActivationSymmetric": style.symmetric_activations,
        "WeightSymmetric": True,
        # One frame at a time: a histogram calibrator otherwise keeps every activation of every frame.
        "CalibStridedMinMax": 1,
    }
    if style.for_tensorrt:
        extra |= {
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(operators),
        }
    return extra


def _check_nodes(model: ModelProto, names: Sequence[str]) -> None:
    present = [node.name for node in model.graph.node]
    for name in names:
        if name not in present:
            near = difflib.get_close_matches(name, present, n=3) or present[:3]
            raise EngineError(
                "calibration",
                f"int8.exclude_nodes names {name!r}, which the folded model does not have",
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
