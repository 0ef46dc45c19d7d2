"""A plan without a sidecar, as trtexec writes it: what it takes and gives is asked of the plan itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.engines.device.preflight import check_plan, this_platform
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.device import find_gpu
from runtime.engines.tensorrt_.run.inspect import layer_rows, parse_layers
from runtime.engines.tensorrt_.run.layer_profile import layer_times
from runtime.engines.tensorrt_.run.plan import OpenPlan, shape_of, tensor_specs
from runtime.engines.tensorrt_.run.runner import TensorRtRunner
from runtime.engines.tensorrt_.versions import full_version


def load_plan(
    file: Path, claimed: EngineIdentity, shapes: Mapping[str, tuple[int, ...]], *, cuda_graph: bool = False
) -> TensorRtRunner:
    """Check a plan's header, load it and run it once; ``claimed`` lacks inputs and outputs. Raises EngineError."""
    plan = _open(file)
    try:
        inputs, _ = tensor_specs(plan.engine)
        unknown = sorted(set(shapes) - {spec.name for spec in inputs})
        if unknown:
            names = ", ".join(spec.name for spec in inputs)
            raise EngineError("usage", f"there is no input {unknown[0]!r}", f"the inputs are: {names}")
        fixed = tuple(replace(spec, shape=_fixed(spec, shapes)) for spec in inputs)
        identity = replace(claimed, inputs=fixed, outputs=_outputs(plan, fixed))
        return TensorRtRunner(plan, identity, cuda_graph=cuda_graph)
    finally:
        plan.close()  # the runner holds it now


def plan_layers(file: Path, dla_core: int | None = None) -> list[dict[str, Any]]:
    """Return what the engine inspector says of a plan's layers, as a report lists them, with their times.

    A plan whose shapes are free has none. Raises EngineError.
    """
    import tensorrt as trt

    plan = _open(file, dla_core)
    try:
        inspector = plan.engine.create_engine_inspector()
        layers = parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        inputs, outputs = tensor_specs(plan.engine)
        if any(-1 in spec.shape for spec in (*inputs, *outputs)):
            return layer_rows(layers)
        return layer_rows(layers, layer_times(plan, replace(_claims(file), inputs=inputs, outputs=outputs)))
    finally:
        plan.close()


def _claims(file: Path) -> EngineIdentity:
    nothing = DeviceFacts(this_platform())
    size = file.stat().st_size
    return EngineIdentity("", file.stem, "tensorrt", "", file.name, "", size, nothing, (), (), AccuracyGate())


def _open(file: Path, dla_core: int | None = None) -> OpenPlan:
    import tensorrt as trt

    check_plan(file, _claims(file), DeviceFacts(this_platform(), tensorrt=full_version(trt.__version__)))
    return OpenPlan(file, find_gpu(), dla_core=dla_core)


def _fixed(spec: TensorSpec, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    asked = shapes.get(spec.name, spec.shape)
    if -1 in asked:
        there = "x".join("?" if size == -1 else str(size) for size in spec.shape)
        raise EngineError(
            "usage",
            f"input {spec.name!r} is {there}: it needs a shape",
            f"give one: --shape {spec.name}=" + "x".join(str(max(size, 1)) for size in spec.shape),
        )
    fits = len(asked) == len(spec.shape) and all(
        have in (-1, want) for have, want in zip(spec.shape, asked, strict=True)
    )
    if not fits:
        raise EngineError(
            "usage",
            f"input {spec.name!r} is {'x'.join(map(str, spec.shape))} in the plan (-1 is free) and cannot be "
            f"{'x'.join(map(str, asked))}",
            "leave --shape out, or give one that fits",
        )
    return asked


def _outputs(plan: OpenPlan, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Ask a context that knows the inputs' shapes: an output's may follow from them."""
    context = plan.new_context()
    for spec in inputs:
        plan.set_shape(context, spec)
    _, outputs = tensor_specs(plan.engine)
    return tuple(replace(spec, shape=shape_of(context.get_tensor_shape(spec.name))) for spec in outputs)
