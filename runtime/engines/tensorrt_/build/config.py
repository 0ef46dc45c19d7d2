"""How TensorRT is told what a build may do: memory, precision, DLA, effort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.request import PlanRequest
from runtime.engines.tensorrt_.capabilities import Capabilities
from runtime.engines.tensorrt_.run.plan import shape_of

if TYPE_CHECKING:
    import tensorrt as trt


def is_strongly_typed(capabilities: Capabilities, request: PlanRequest) -> bool:
    """Return whether the network takes its precisions from the graph.

    Always where TensorRT can, except for what only the old road offers: its own calibrator, and the DLA.
    """
    return capabilities.precision_from_graph and not request.calibrator and request.dla_core is None


def make_config(
    builder: trt.Builder, capabilities: Capabilities, request: PlanRequest, *, strongly_typed: bool
) -> trt.IBuilderConfig:
    """Return a configuration for ``request``. Raises EngineError for what this TensorRT cannot do."""
    import tensorrt as trt

    config = builder.create_builder_config()
    if capabilities.memory_pools:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if capabilities.tactic_dram_pool:
        # Without it one greedy tactic takes all memory of a Jetson while it is timed, and the kernel kills the build.
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, max(request.workspace_bytes, 1 << 28))
    if capabilities.optimization_level:
        config.builder_optimization_level = request.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector names precisions only then
    if request.tactic_sources:
        config.set_tactic_sources(_sources(request.tactic_sources))
    if not strongly_typed:
        _set_precision(config, capabilities, request)
    if request.dla_core is not None:
        _set_dla(builder, config, capabilities, request)
    return config


def _sources(names: tuple[str, ...]) -> int:
    import tensorrt as trt

    bits = 0
    for name in names:
        if name not in trt.TacticSource.__members__:
            known = ", ".join(trt.TacticSource.__members__)
            raise EngineError("unsupported", f"there is no tactic source {name!r}", f"use some of: {known}")
        bits |= 1 << int(trt.TacticSource.__members__[name])
    return bits


def _set_precision(config: trt.IBuilderConfig, capabilities: Capabilities, request: PlanRequest) -> None:
    import tensorrt as trt

    if request.precision == "fp32":
        return
    if not capabilities.precision_flags:
        raise EngineError(
            "unsupported",
            f"TensorRT {capabilities.version} has no precision flags, and this build needs them",
            "leave calibrator and dla_core out: precision then comes from the model's graph",
        )
    # What int8 leaves in floating point may take half precision: it is the faster engine, and the report counts both.
    config.set_flag(trt.BuilderFlag.FP16)
    if request.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if request.keep_fp32 and capabilities.layer_precisions:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)


def _set_dla(
    builder: trt.Builder, config: trt.IBuilderConfig, capabilities: Capabilities, request: PlanRequest
) -> None:
    import tensorrt as trt

    cores = builder.num_DLA_cores if capabilities.dla else 0
    core = request.dla_core
    assert core is not None
    if core >= cores:
        raise EngineError(
            "unsupported",
            f"DLA core {core} was asked for, and TensorRT {capabilities.version} offers {cores} here",
            "leave dla_core out: Orin Nano has no DLA, and TensorRT 10.8 to 10.16 cannot use it on Orin NX",
        )
    if request.precision == "fp32":
        raise EngineError("unsupported", "the DLA computes in fp16 and int8 only", "declare fp16 or int8")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def dla_fallback(network: trt.INetworkDefinition, config: trt.IBuilderConfig) -> tuple[str, ...]:
    """Return the names of the layers that cannot run on the DLA: they run on the GPU, and every switch costs time."""
    import tensorrt as trt

    layers = (network.get_layer(index) for index in range(network.num_layers))
    # Constants are no work: the DLA never takes them, and nobody would miss it.
    return tuple(
        layer.name for layer in layers if layer.type != trt.LayerType.CONSTANT and not config.can_run_on_DLA(layer)
    )


def add_profiles(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, request: PlanRequest
) -> int:
    """Add the optimization profiles that ``request`` names; return how many.

    Raises EngineError when the network has a dynamic input that no profile gives a range for.
    """
    import tensorrt as trt

    for ranges in request.profiles:
        profile = builder.create_optimization_profile()
        for item in ranges:
            profile.set_shape(item.name, trt.Dims(list(item.min)), trt.Dims(list(item.opt)), trt.Dims(list(item.max)))
        config.add_optimization_profile(profile)
    named = {item.name for ranges in request.profiles for item in ranges}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = shape_of(tensor.shape)
        if -1 in shape and tensor.name not in named:
            raise EngineError(
                "bad-model",
                f"input {tensor.name!r} has the dynamic shape {list(shape)}, and no range is given for it",
                "declare a fixed `shape` for it",
            )
    return len(request.profiles)
