"""Which ONNX graph TensorRT gets for a precision, and what in it stays at fp32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.contract.engine.build import BuildJob
from runtime.engines.backend import BuildPaths, Progress
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.capabilities import Capabilities

if TYPE_CHECKING:
    from onnx import ModelProto

    from runtime.engines.weight_loss import WeightLoss

CALIBRATOR = "calibrator"
"""``int8.method`` that asks for TensorRT's own calibrator instead of Q/DQ pairs in the graph."""


@dataclass(frozen=True)
class Road:
    """How a precision is reached with the TensorRT that is here."""

    precision: str
    """Of the ONNX graph that TensorRT gets."""
    calibrator: bool
    from_graph: bool
    """TensorRT must obey the graph's precisions (strongly typed); else flags allow it to choose."""


def choose_road(job: BuildJob, capabilities: Capabilities) -> Road:
    """Return how to reach ``job.precision``. Raises EngineError where this TensorRT cannot."""
    options = job.options
    calibrator = job.precision == "int8" and options.int8 is not None and options.int8.method == CALIBRATOR
    if calibrator and not capabilities.calibrator:
        raise EngineError(
            "unsupported",
            f"TensorRT {capabilities.version} has no calibrator of its own",
            "use method entropy, percentile or minmax: the graph then carries the ranges",
        )
    from_graph = capabilities.strongly_typed and not calibrator and options.dla_core is None
    if job.precision == "int8":
        return Road("fp32" if calibrator else "int8", calibrator, from_graph)
    if job.precision == "fp16":
        return Road("fp16" if from_graph else "fp32", calibrator=False, from_graph=from_graph)
    return Road("fp32", calibrator=False, from_graph=from_graph)


def make_graph(
    job: BuildJob,
    paths: BuildPaths,
    road: Road,
    newest_opset: int,
    target: Path,
    progress: Progress,
    losses: list[WeightLoss],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the graph for ``road`` to ``target``; return the ONNX nodes that flags must hold at fp32, and notes.

    What float16 weights lose is added to ``losses``, where the graph holds them and TensorRT does not convert them.
    Raises EngineError.
    """
    from runtime.engines.golden.calibration import calibration_of, most_seconds
    from runtime.engines.graph.front import front_of
    from runtime.engines.graph.normalize import load_model, serialize
    from runtime.engines.graph.quantize import STYLES
    from runtime.engines.graph.quantized import FLOAT, quantization_of
    from runtime.engines.graph.transform import transform

    source = load_model(paths.model, newest_opset)
    if road.calibrator and (found := quantization_of(source)) != FLOAT:
        raise EngineError(
            "calibration",
            f"TensorRT's calibrator was asked for, and the model is quantized already, by {found}",
            "leave int8.method out, or give the float model",
        )
    frames, few = calibration_of(
        job, paths.calibration, source, paths.sequence
    )  # too few frames are refused here on either road
    notes = list(few)
    model = transform(
        source,
        job.inputs,
        job.outputs,
        precision=road.precision,
        options=job.options,
        calibration=frames if road.precision == "int8" else None,
        style=STYLES["tensorrt"],
        seconds=most_seconds(job),
        progress=progress,
        losses=losses,
        notes=notes,
        front=front_of(job),
    )
    target.write_bytes(serialize(model))
    return () if road.from_graph else _keep_fp32(model, job), tuple(notes)


def _keep_fp32(model: ModelProto, job: BuildJob) -> tuple[str, ...]:
    """What stands in front of the model, whatever the precision, and for fp16 the operators that the manifest names."""
    from runtime.engines.graph.front import front_of

    names = [f"{spec.name}/preprocess/" for spec in job.inputs if spec.preprocess is not None]
    names += front_of(job).prefixes
    if job.precision == "fp16":
        ops, nodes = frozenset(job.options.keep_fp32_ops), frozenset(job.options.keep_fp32_nodes)
        names += [node.name for node in model.graph.node if node.op_type in ops or node.name in nodes]
    return tuple(names)
