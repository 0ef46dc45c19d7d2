"""ONNX → ONNX, for every backend: fixed shapes, the declared precision, and the camera's bytes as input.

The order matters: precision is changed on the model alone, the preprocessing is put in front of it afterwards. So the
preprocessing is fp32 whatever the model is, and never quantized. The same input gives the same bytes.
Raise ``TRANSFORM_VERSION`` (in :mod:`runtime.contract.engine.build`) when the result for some input changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import ModelProto

from runtime.contract.engine.build import BuildOptions, Int8Options, TensorSpec
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError, ForeignOperatorError
from runtime.engines.graph.branches import decided
from runtime.engines.graph.fp16 import to_fp16
from runtime.engines.graph.front import NOTHING, Front, with_constants
from runtime.engines.graph.normalize import fold, freeze, load_model
from runtime.engines.graph.preprocess import prepend
from runtime.engines.graph.quantize import MOST_SECONDS, Frames, Quantizer, Style, check_names
from runtime.engines.graph.quantized import PAIRS, check_quantized
from runtime.engines.weight_loss import WeightLoss

PRECISIONS = ("fp32", "fp16", "int8")
OWN_SCALES = (
    "the source model is quantized already: its own Q/DQ scales are the engine's, calibration data is not used, and "
    "accuracy is against that model in ONNX Runtime"
)


def transform(
    source: Path | ModelProto,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    precision: str,
    options: BuildOptions,
    calibration: Frames | None = None,
    style: Style | None = None,
    newest_opset: int | None = None,
    seconds: float = MOST_SECONDS,
    progress: Progress = lambda _: None,
    losses: list[WeightLoss] | None = None,
    notes: list[str] | None = None,
    front: Front = NOTHING,
) -> ModelProto:
    """Return the engine's graph of a file, or of a model that :func:`load_model` has read.

    ``calibration`` (frames as the engine takes them) is needed for int8 of a float model, and may take ``seconds``.
    ``style`` is the kind of int8 that the backend's kernels take, ``newest_opset`` the newest operator set that its
    parser reads. ``front``: what else stands in front of the model. At fp16, what weights lose is added to ``losses``;
    ``notes`` gets what the report should say. Raises EngineError.
    """
    if precision not in PRECISIONS:
        raise EngineError("unsupported", f"there is no precision {precision!r}", f"use one of {', '.join(PRECISIONS)}")
    model = load_model(source, newest_opset) if isinstance(source, Path) else source
    said = notes if notes is not None else []
    int8 = options.int8 or Int8Options()
    quantized = check_quantized(model, precision, int8)
    model = with_constants(model, front.constants)
    inner = front.core_inputs(model, inputs)
    core = freeze(model, inner, front.core_outputs(outputs))
    if front.constants:
        core = decided(core)
    progress(f"model read: {len(core.graph.node)} nodes")
    if precision == "fp16":
        core = folded(core, "fp16.keep_fp32_ops", options.keep_fp32_ops)
        nodes = (node.name for node in core.graph.node)
        check_names("fp16.keep_fp32_nodes", "node", options.keep_fp32_nodes, nodes)
        core = to_fp16(core, options.keep_fp32_ops, options.keep_fp32_nodes, losses)
        progress("converted to fp16")
    if quantized == PAIRS:
        said.append(OWN_SCALES)
        progress(OWN_SCALES)
    elif precision == "int8":
        if calibration is None:
            raise EngineError("calibration", "int8 needs calibration data and none was given", "name a calibration set")
        core = folded(core, "int8.exclude_ops", int8.exclude_ops)
        quantizer = Quantizer(
            core, inner, calibration, int8, style=style or Style(), progress=progress, seconds=seconds
        )
        core = quantizer(int8.exclude_nodes)
        said += quantizer.notes
        progress("quantized to int8")
    front.compose(core, inputs)
    return prepend(core, inputs)


def folded(core: ModelProto, option: str, operators: Sequence[str]) -> ModelProto:
    """Return ``core`` folded; ``operators``, which ``option`` names, must be there before or after.

    One that is folded away needs no leaving out. Raises EngineError of kind ``calibration``.
    """
    before = [node.op_type for node in core.graph.node]
    try:
        result = fold(core)
    except ForeignOperatorError:  # TensorRT folds by itself what ONNX Runtime cannot read
        result = core
    check_names(option, "operator", operators, [*before, *(node.op_type for node in result.graph.node)])
    return result
