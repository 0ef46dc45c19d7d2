"""Build engines for ONNX Runtime, and load them."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from runtime.contract.engine.build import BuildJob, DeviceFacts
from runtime.engines.backend import BuildPaths, BuiltEngine, Progress
from runtime.engines.device.preflight import check_engine, this_platform
from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import count_precisions, layer_rows
from runtime.engines.graph.shapes import check_ranges, fixed, has_range
from runtime.engines.onnxruntime_.runner import OnnxRuntimeRunner
from runtime.engines.onnxruntime_.session import open_session
from runtime.engines.store import load_engine_dir, write_atomic

if TYPE_CHECKING:
    from onnx import ModelProto

ENGINE_FILE = "engine.onnx"


class OnnxRuntimeBackend:
    """The engine is the transformed ONNX graph; ONNX Runtime optimizes it for the CPU it is loaded on."""

    name = "onnxruntime"
    any_thread = True

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, numpy and ONNX Runtime; of onnx too, where engines are built."""
        found = {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime": ort.__version__}
        try:
            import onnx
        except ImportError:  # a robot runs engines without the packages that build them
            return found
        return {**found, "onnx": onnx.__version__}

    def device_facts(self) -> DeviceFacts:
        """Return this machine's platform: an ONNX engine is tied to nothing else."""
        return DeviceFacts(platform=this_platform())

    def newest_opset(self) -> int | None:
        """Return None: what ONNX Runtime cannot read as it was exported, it could not be the reference of either."""
        return None

    def build(self, job: BuildJob, paths: BuildPaths, progress: Progress) -> BuiltEngine:
        """Transform the model, write ``engine.onnx``, and count what really runs. Raises EngineError."""
        from runtime.engines.golden.calibration import calibration_of, most_seconds
        from runtime.engines.graph.front import front_of
        from runtime.engines.graph.normalize import declared_shapes, load_model, serialize
        from runtime.engines.graph.quantize import STYLES
        from runtime.engines.graph.transform import transform
        from runtime.engines.onnxruntime_.layout import resize_before_transpose
        from runtime.engines.onnxruntime_.probe_run import trial_run
        from runtime.engines.weight_loss import WeightLoss

        if job.options.dla_core is not None:
            hint = "leave dla_core out, or use a tensorrt profile of a module that has one"
            raise EngineError(
                "unsupported", f"DLA core {job.options.dla_core} was requested, but ONNX Runtime has no DLA", hint
            )
        check_ranges(job.inputs)
        notes = [
            f"input {spec.name!r} is {list(spec.shape)} in this engine: ONNX Runtime engines have one shape, the "
            "range's opt"
            for spec in job.inputs
            if has_range(spec)
        ]
        job = replace(job, inputs=fixed(job.inputs))
        source = load_model(paths.model, self.newest_opset())
        declared = declared_shapes(source)  # before they are taken off
        frames, few = calibration_of(job, paths.calibration, source, paths.sequence)
        notes += few
        losses: list[WeightLoss] = []
        model = transform(
            source,
            job.inputs,
            job.outputs,
            precision=job.precision,
            options=job.options,
            calibration=frames,
            style=STYLES[self.name],
            seconds=most_seconds(job),
            progress=progress,
            losses=losses,
            notes=notes,
            front=front_of(job),
        )
        if job.precision == "fp16":
            notes += half_of(model)
        content = serialize(resize_before_transpose(model))
        inputs, outputs, layers = trial_run(content, job, declared)
        every, main = count_precisions(layers)
        if job.precision == "fp16" and main.get("fp16", 0) < sum(main.values()):
            notes.append(_FP16_NOTE.format(slow=sum(main.values()) - main.get("fp16", 0), total=sum(main.values())))
        target = paths.out / ENGINE_FILE
        write_atomic(target, content)
        progress(f"engine written: {len(content)} bytes")
        extra = {"layers": layer_rows(layers)}
        return BuiltEngine(target, inputs, outputs, every, main, tuple(notes), extra, tuple(losses))

    def load(self, engine_dir: Path, threads: int = 1) -> OnnxRuntimeRunner:
        """Check, open and run once the engine in ``engine_dir``. Raises EngineError."""
        identity, files = load_engine_dir(engine_dir)
        check_engine(identity, self.name, self.device_facts())
        session = open_session(files.engine, threads)
        runner = OnnxRuntimeRunner(session, identity)
        runner.infer()  # the first run plans memory; it must not be a frame's
        return runner


def half_of(model: ModelProto) -> list[str]:
    """Return what the report should note of a half-precision graph. Raises EngineError ``precision`` for one in which
    nothing is: what runs there says nothing, as this CPU's kernels may be fp32 anyway."""
    from runtime.engines.graph.fp16 import halved_main_nodes

    halved, total = halved_main_nodes(model)
    if total and not halved:
        raise EngineError(
            "precision",
            f"fp16 engine: none of its {total} convolutions, matrix products and recurrent layers is in half precision",
            "they lie in the graphs of If or Loop, or fp16.keep_fp32_ops and keep_fp32_nodes name them: declare fp32",
        )
    if halved < total:
        return [f"{total - halved} of {total} convolutions, matrix products and recurrent layers stay in fp32"]
    return []


_FP16_NOTE = (
    "{slow} of {total} main layers run at fp32: this CPU has no fp16 kernels for them, so ONNX Runtime converts the "
    "fp16 weights when it loads the engine (half the size, no speed gained)"
)
