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
from runtime.engines.errors import EngineError
from runtime.engines.graph.fp16 import to_fp16
from runtime.engines.graph.normalize import fold, freeze, load_model
from runtime.engines.graph.preprocess import prepend
from runtime.engines.graph.quantize import Frames, Style, check_names, quantize
from runtime.engines.weight_loss import WeightLoss

PRECISIONS = ("fp32", "fp16", "int8")


def transform(
    source: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    precision: str,
    options: BuildOptions,
    calibration: Frames | None = None,
    style: Style | None = None,
    progress: Progress = lambda _: None,
    losses: list[WeightLoss] | None = None,
) -> ModelProto:
    """Return the engine's graph.

    ``calibration`` (frames as the engine takes them) is needed for int8. ``style`` is the kind of int8
    that the backend's kernels take. At fp16, what weights lose is added to ``losses``. Raises EngineError.
    """
    if precision not in PRECISIONS:
        raise EngineError("unsupported", f"there is no precision {precision!r}", f"use one of {', '.join(PRECISIONS)}")
    core = freeze(load_model(source), inputs, outputs)
    progress(f"model read: {len(core.graph.node)} nodes")
    if precision == "fp16":
        core = folded(core, "fp16.keep_fp32_ops", options.keep_fp32_ops)
        nodes = (node.name for node in core.graph.node)
        check_names("fp16.keep_fp32_nodes", "node", options.keep_fp32_nodes, nodes)
        core = to_fp16(core, options.keep_fp32_ops, options.keep_fp32_nodes, losses)
        progress("converted to fp16")
    if precision == "int8":
        if calibration is None:
            raise EngineError("calibration", "int8 needs calibration data and none was given", "name a calibration set")
        int8 = options.int8 or Int8Options()
        core = quantize(
            folded(core, "int8.exclude_ops", int8.exclude_ops),
            inputs,
            calibration,
            int8,
            style=style or Style(),
            progress=progress,
        )
    return prepend(core, inputs)


def folded(core: ModelProto, option: str, operators: Sequence[str]) -> ModelProto:
    """Return ``core`` folded; ``operators``, which ``option`` names, must be there before or after.

    One that is folded away needs no leaving out. Raises EngineError of kind ``calibration``.
    """
    before = [node.op_type for node in core.graph.node]
    result = fold(core)
    check_names(option, "operator", operators, [*before, *(node.op_type for node in result.graph.node)])
    return result
