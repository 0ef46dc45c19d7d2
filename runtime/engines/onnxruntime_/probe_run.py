"""One run of a new engine: does it run at all, what shapes come out, and which kernels really ran."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from runtime.contract.engine.build import BuildJob, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import Layer
from runtime.engines.graph.preprocess import engine_input
from runtime.engines.onnxruntime_.layer_names import named_by_node
from runtime.engines.onnxruntime_.layer_profile import layers_in, run_again
from runtime.engines.onnxruntime_.session import DTYPES, open_session, shape_of

Specs = tuple[TensorSpec, ...]


def trial_run(
    content: bytes, job: BuildJob, declared: Mapping[str, tuple[int | None, ...]] = MappingProxyType({})
) -> tuple[Specs, Specs, list[Layer]]:
    """Run an engine once on an empty frame; return its inputs, its outputs and the layers that ran.

    ``declared``: what the source model says of its outputs' shapes. Raises EngineError of kind ``bad-model``.
    """
    with tempfile.TemporaryDirectory(prefix="jetfleet-trial-") as folder:
        session = _open(content, Path(folder))
        inputs = _inputs(session, job)
        values = _run(session, inputs)
        layers = named_by_node(_layers(session, inputs, Path(folder)), onnx.load_from_string(content))
    outputs = tuple(
        TensorSpec(node.name, shape_of(node.shape, value.shape, declared.get(node.name, ())), str(value.dtype))
        for node, value in zip(session.get_outputs(), values, strict=True)
    )
    _check_declared(job, outputs)
    return inputs, outputs, layers


def layers_of(model: Path, inputs: Sequence[TensorSpec]) -> list[Layer]:
    """Run an ONNX file once on an empty frame of these inputs; return the layers that ran. Raises EngineError."""
    with tempfile.TemporaryDirectory(prefix="jetfleet-trial-") as folder:
        session = _open(model, Path(folder))
        _run(session, tuple(inputs))
        return named_by_node(_layers(session, tuple(inputs), Path(folder)), onnx.load(str(model)))


_OPTIMIZED = "optimized.onnx"


def _open(model: bytes | Path, folder: Path) -> ort.InferenceSession:
    return open_session(model, profile_to=folder / "profile", optimized_to=folder / _OPTIMIZED)


def _layers(session: ort.InferenceSession, inputs: Specs, folder: Path) -> list[Layer]:
    """Run some more times, end the profile and read it."""
    run_again(session, _empty(inputs))
    return layers_in(Path(session.end_profiling()), folder / _OPTIMIZED)


def _empty(inputs: Specs) -> dict[str, Any]:
    return {spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs}


def _inputs(session: ort.InferenceSession, job: BuildJob) -> Specs:
    types = {node.name: DTYPES.get(node.type, node.type) for node in session.get_inputs()}
    specs = map(engine_input, job.inputs)
    return tuple(TensorSpec(spec.name, spec.shape, types[spec.name], spec.preprocess) for spec in specs)


def _run(session: ort.InferenceSession, inputs: Specs) -> list[Any]:
    try:
        values: list[Any] = session.run(None, _empty(inputs))
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise EngineError(
            "bad-model",
            f"the engine does not run on an empty frame: {str(error).strip()[:300]}",
            "check the declared input shapes: many networks need rows and columns that are multiples of 32",
        ) from error
    return values


def _check_declared(job: BuildJob, outputs: Specs) -> None:
    found = {spec.name: spec.shape for spec in outputs}
    for spec in job.outputs:
        if spec.shape and spec.shape != found[spec.name]:
            raise EngineError(
                "bad-model",
                f"output {spec.name!r} is {list(found[spec.name])}, the job says {list(spec.shape)}",
                "correct the declared shape, or leave it out",
            )
