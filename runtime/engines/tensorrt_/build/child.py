"""The process that builds one plan: ``python -m runtime.engines.tensorrt_.build.child REQUEST ANSWER``.

A process of its own, because TensorRT can need more memory than there is (the kernel then ends this process, not the
job), can hang, and can abort. Progress goes to stdout as lines. It answers with a PlanAnswer, or with a BuildFailure
and exit code 3.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import BuildFailure, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.store import write_atomic
from runtime.engines.tensorrt_.build.calibrator import CalibrationFeed, make_calibrator
from runtime.engines.tensorrt_.build.config import add_profiles, dla_fallback, is_strongly_typed, make_config
from runtime.engines.tensorrt_.build.monitor import make_monitor
from runtime.engines.tensorrt_.build.network import creation_flags, hold_at_fp32, parse
from runtime.engines.tensorrt_.build.request import PlanAnswer, PlanRequest
from runtime.engines.tensorrt_.build.timing_cache import CacheFiles, Taken, load_into, merge_back
from runtime.engines.tensorrt_.capabilities import Capabilities, detect
from runtime.engines.tensorrt_.log import LogKeeper, make_logger
from runtime.engines.tensorrt_.run.plan import shape_of, tensor_specs

if TYPE_CHECKING:
    import tensorrt as trt

EXIT_FAILED = 3


def say(line: str) -> None:
    """Print one line of progress."""
    print(line, flush=True)


@contextmanager
def cuda_context() -> Iterator[None]:
    """Hold the primary context of device 0; it is popped before the interpreter ends, or pycuda aborts."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        yield
    finally:
        context.pop()


def build(request: PlanRequest) -> PlanAnswer:
    """Build, inspect and write the plan. Raises EngineError."""
    import tensorrt as trt

    capabilities = detect(trt)
    keeper = LogKeeper(say)
    logger = make_logger(keeper)
    builder = trt.Builder(logger)
    typed = is_strongly_typed(capabilities, request)
    network, parser = parse(
        builder, Path(request.graph), creation_flags(capabilities, strongly_typed=typed), logger, keeper
    )
    say(f"TensorRT {capabilities.version}: {network.num_layers} layers{', strongly typed' if typed else ''}")
    config = make_config(builder, capabilities, request, strongly_typed=typed)
    if not typed and request.precision != "fp32" and request.keep_fp32:
        say(f"{hold_at_fp32(network, request.keep_fp32)} layers held at fp32")
    add_profiles(builder, network, config, request)
    fallen = dla_fallback(network, config) if request.dla_core is not None else ()
    feed = _calibration(config, request)
    caches, took = _take_cache(config, capabilities, request)
    if capabilities.progress_monitor:
        config.progress_monitor = make_monitor(say)
    started = time.monotonic()
    plan = _serialize(builder, network, config, keeper, capabilities.version)
    seconds = time.monotonic() - started
    kept = merge_back(config, caches, request.timing_key) if caches is not None else 0
    write_atomic(Path(request.plan), plan)
    say(f"plan written: {len(plan)} bytes after {seconds:.1f} s")
    inputs, outputs = _inspect(plan, logger, request)
    del parser  # it holds the weights until the network is built
    return PlanAnswer(
        seconds=seconds,
        strongly_typed=typed,
        timing_cache_in=took.bytes,
        timing_cache_out=kept,
        timing_refused=took.refused,
        inputs=inputs,
        outputs=outputs,
        dla_fallback=fallen,
        calibration_cached=feed is not None and feed.cached,
        notes=tuple(_worth_a_note(keeper.warnings)),
    )


def _calibration(config: trt.IBuilderConfig, request: PlanRequest) -> CalibrationFeed | None:
    """Give ``config`` the calibrator, when one is asked for. Raises EngineError."""
    if not request.calibrator:
        return None
    from runtime.engines.golden.calibration import open_calibration

    frames = open_calibration(Path(request.calibration), request.inputs)
    files = CacheFiles(Path(request.cache_folder), "calibration") if request.cache_folder else None
    feed = CalibrationFeed(frames, files, request.calibration_key, say)
    config.int8_calibrator = make_calibrator(feed)
    return feed


def _take_cache(
    config: trt.IBuilderConfig, capabilities: Capabilities, request: PlanRequest
) -> tuple[CacheFiles | None, Taken]:
    if not request.cache_folder or not capabilities.timing_cache:
        return None, Taken(0, 0)
    files = CacheFiles(Path(request.cache_folder), "timing")
    there = [files.read(request.timing_key), *(Path(name).read_bytes() for name in request.timing_given)]
    taken = load_into(config, [content for index, content in enumerate(there) if content or index])
    say(f"timing cache: {taken.bytes} bytes taken" if taken.bytes else "timing cache: none fits, starting an empty one")
    return files, taken


def _serialize(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, keeper: LogKeeper, version: str
) -> bytes:
    """Return the plan's bytes. Raises EngineError, made of what TensorRT logged."""
    content: Any = builder.build_serialized_network(network, config)
    calibrator: Any = config.int8_calibrator
    failure = getattr(calibrator, "failure", None)
    if failure is not None:
        raise failure
    if content is None:
        raise build_error(keeper.errors, version)
    return bytes(content)


def build_error(errors: list[str], version: str) -> EngineError:
    """Return one error for what TensorRT logged before it gave up."""
    said = " ".join(errors[-1].split())[:240] if errors else "it gave no reason"
    text = "\n".join(errors)
    if "Internal Error" in text and "Assertion" in text:
        return EngineError(
            "unsupported",
            f"TensorRT {version} fails on this graph with an internal error of its own: {said}",
            "for int8: use `method: calibrator` instead of Q/DQ, or exclude the operators it names; else another "
            "optimization_level or input size",
            detail=text,
        )
    if "OutOfMemory" in text or "out of memory" in text:
        return EngineError(
            "memory",
            f"TensorRT {version} ran out of memory while building: {said}",
            "lower workspace_bytes or optimization_level, stop what else runs here, or add swap",
            detail=text,
        )
    if "Could not find any implementation" in text:
        return EngineError(
            "unsupported",
            f"TensorRT {version} finds no implementation of a layer within the limits given: {said}",
            "raise workspace_bytes, keep fewer operators in fp32, or use another precision",
            detail=text,
        )
    return EngineError(
        "unsupported", f"TensorRT {version} could not build the engine: {said}", "see the build's log", detail=text
    )


def _inspect(
    plan: bytes, logger: trt.ILogger, request: PlanRequest
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write what the engine inspector says; return the engine's inputs and outputs. Raises EngineError."""
    import tensorrt as trt

    runtime = trt.Runtime(logger)
    if request.dla_core is not None:
        runtime.DLA_core = request.dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError("internal", "TensorRT does not read the plan that it has just built", "see the build's log")
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    Path(request.layers).write_text(text, "utf-8", errors="replace")
    inputs, outputs = tensor_specs(engine)
    return inputs, _at_opt(engine, outputs, request)


def _at_opt(engine: trt.ICudaEngine, outputs: tuple[TensorSpec, ...], request: PlanRequest) -> tuple[TensorSpec, ...]:
    """Return the outputs with the shapes that they have when every input has its opt shape. Raises EngineError."""
    if not request.profiles or not any(-1 in spec.shape for spec in outputs):
        return outputs
    context = engine.create_execution_context()
    if context is None:
        raise EngineError("memory", "there is no room for an execution context", "lower workspace_bytes")
    for item in request.profiles[0]:
        context.set_input_shape(item.name, item.opt)
    return tuple(replace(spec, shape=shape_of(context.get_tensor_shape(spec.name))) for spec in outputs)


def _worth_a_note(warnings: list[str]) -> Iterator[str]:
    for text in warnings:
        if "subnormal" in text or "calibrat" in text.lower():
            yield f"TensorRT: {text[:200]}"


def main(arguments: list[str]) -> int:
    """Entry point: read the request, build, leave the answer or the failure."""
    request_file, answer_file = map(Path, arguments)
    request = from_json(PlanRequest, request_file.read_bytes())
    try:
        with cuda_context():
            answer: PlanAnswer | BuildFailure = build(request)
    except EngineError as error:
        answer = BuildFailure(error.kind, error.message, error.hint, error.detail)
    write_atomic(answer_file, canonical_json(answer))
    return 0 if isinstance(answer, PlanAnswer) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
