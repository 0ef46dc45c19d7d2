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
from runtime.contract.json_decoder import Limits, decode
from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import Layer
from runtime.engines.graph.preprocess import engine_input
from runtime.engines.onnxruntime_.layer_names import named_by_node
from runtime.engines.onnxruntime_.session import DTYPES, open_session, shape_of

#: ONNX Runtime writes one event a kernel, each of some hundred bytes.
_PROFILE = Limits(size=1 << 30, values=1 << 26)
Specs = tuple[TensorSpec, ...]


def trial_run(
    content: bytes, job: BuildJob, declared: Mapping[str, tuple[int | None, ...]] = MappingProxyType({})
) -> tuple[Specs, Specs, list[Layer]]:
    """Run an engine once on an empty frame; return its inputs, its outputs and the layers that ran.

    ``declared``: what the source model says of its outputs' shapes. Raises EngineError of kind ``bad-model``.
    """
    with tempfile.TemporaryDirectory(prefix="jetfleet-trial-") as folder:
        session = open_session(content, profile_to=Path(folder) / "profile")
        inputs = _inputs(session, job)
        values = _run(session, inputs)
        layers = named_by_node(_layers(Path(session.end_profiling())), onnx.load_from_string(content))
    outputs = tuple(
        TensorSpec(node.name, shape_of(node.shape, value.shape, declared.get(node.name, ())), str(value.dtype))
        for node, value in zip(session.get_outputs(), values, strict=True)
    )
    _check_declared(job, outputs)
    return inputs, outputs, layers


def layers_of(model: Path, inputs: Sequence[TensorSpec]) -> list[Layer]:
    """Run an ONNX file once on an empty frame of these inputs; return the layers that ran. Raises EngineError."""
    with tempfile.TemporaryDirectory(prefix="jetfleet-trial-") as folder:
        session = open_session(model, profile_to=Path(folder) / "profile")
        _run(session, tuple(inputs))
        return named_by_node(_layers(Path(session.end_profiling())), onnx.load(str(model)))


def _inputs(session: ort.InferenceSession, job: BuildJob) -> Specs:
    types = {node.name: DTYPES.get(node.type, node.type) for node in session.get_inputs()}
    specs = map(engine_input, job.inputs)
    return tuple(TensorSpec(spec.name, spec.shape, types[spec.name], spec.preprocess) for spec in specs)


def _run(session: ort.InferenceSession, inputs: Specs) -> list[Any]:
    feeds: dict[str, Any] = {spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs}
    try:
        values: list[Any] = session.run(None, feeds)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise EngineError(
            "bad-model",
            f"the engine does not run on an empty frame: {str(error).strip()[:300]}",
            "check the declared input shapes: many networks need rows and columns that are multiples of 32",
        ) from error
    return values


def _layers(profile: Path) -> list[Layer]:
    """Read ONNX Runtime's profile: every kernel that ran, once, with the types of what it read."""
    found: dict[str, Layer] = {}
    for event in decode(profile.read_bytes(), "ONNX Runtime's profile", _PROFILE):
        details = event.get("args", {})
        if event.get("cat") == "Node" and "op_name" in details and "input_type_shape" in details:
            types = tuple(kind for item in details["input_type_shape"] for kind in item)
            name = event["name"].removesuffix("_kernel_time")
            found[name] = Layer(details["op_name"], types, name)
    return list(found.values())


def _check_declared(job: BuildJob, outputs: Specs) -> None:
    found = {spec.name: spec.shape for spec in outputs}
    for spec in job.outputs:
        if spec.shape and spec.shape != found[spec.name]:
            raise EngineError(
                "bad-model",
                f"output {spec.name!r} is {list(found[spec.name])}, the job says {list(spec.shape)}",
                "correct the declared shape, or leave it out",
            )
