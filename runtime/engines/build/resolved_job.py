"""A job with what only the ONNX file says: shapes and types of constants and states, their tensors among the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import onnx
from onnx import ValueInfoProto, helper

from runtime.contract.engine.build import BuildJob, TensorSpec
from runtime.contract.engine.model_front import ConstantSpec, ObservationSpec, StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.golden_data import Golden
from runtime.engines.graph.observations import sources_of
from runtime.engines.graph.shapes import has_range

MIN_SEQUENCE = 8
"""Golden frames of a model with state: fewer say little of what comes of small errors that are fed back."""


@dataclass(frozen=True)
class _Tensor:
    """An input or output as the file declares it; free dimensions are None, as is a shape that it does not say."""

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def fixed(self) -> tuple[int, ...] | None:
        sizes = tuple(size for size in self.shape or () if size is not None)
        return None if self.shape is None or len(sizes) != len(self.shape) else sizes

    def accepts(self, shape: Sequence[int]) -> bool:
        if self.shape is None:
            return True
        return len(self.shape) == len(shape) and all(a in (None, b) for a, b in zip(self.shape, shape, strict=True))


def resolved(job: BuildJob, source: Path) -> BuildJob:
    """Return ``job`` with constants and states in the shapes of the model, and the tensors of states among its inputs
    and outputs. Raises EngineError ``bad-model`` for what the model does not have, or has otherwise."""
    if not (job.constants or job.state or job.observations):
        return job
    try:
        graph = onnx.load(str(source), load_external_data=False).graph
    except Exception:  # noqa: BLE001  (what is no ONNX file is said by whoever loads it whole)
        return job
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: _tensor(value) for value in graph.input if value.name not in weights}
    outputs = {value.name: _tensor(value) for value in graph.output}
    _check_observations(job, inputs)
    constants = tuple(_constant(spec, inputs) for spec in job.constants)
    found = [_state(spec, job, inputs, outputs) for spec in job.state]
    kept = [TensorSpec(spec.kept, ()) for spec, _ in found]
    named = {spec.name for spec in job.outputs}
    return replace(
        job,
        constants=constants,
        state=tuple(spec for spec, _ in found),
        inputs=(*job.inputs, *(TensorSpec(spec.input, spec.shape or (), dtype) for spec, dtype in found)),
        outputs=(*job.outputs, *(spec for spec in _once(kept) if spec.name not in named)),
    )


def require_sequence(job: BuildJob, golden: Golden) -> None:
    """Refuse golden frames that are too few to show what comes of state that is fed back. Raises EngineError."""
    if job.state and len(golden) < MIN_SEQUENCE:
        raise EngineError(
            "golden",
            f"{len(golden)} golden frames, and the model keeps state: at least {MIN_SEQUENCE} are needed, in the order "
            "in which they were recorded",
            "give frames that follow each other, as the robot's sensors gave them",
        )


def _once(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    return list({spec.name: spec for spec in specs}.values())


def _constant(spec: ConstantSpec, inputs: Mapping[str, _Tensor]) -> ConstantSpec:
    tensor = inputs.get(spec.name)
    if tensor is None:
        _refuse(f"the model has no input {spec.name!r}, which is declared constant; it has {_listed(inputs)}")
    return replace(spec, shape=_shape(f"constant {spec.name!r}", spec.shape, tensor))


def _state(
    spec: StateSpec, job: BuildJob, inputs: Mapping[str, _Tensor], outputs: Mapping[str, _Tensor]
) -> tuple[StateSpec, str]:
    """Return a state with its shape, and its element type."""
    what = f"state {spec.input!r}"
    own = inputs.get(spec.input)
    if own is None and spec.input not in sources_of(job.observations, job.state):
        _refuse(f"the model has no input {spec.input!r}, which is declared a state, and no observation uses it")
    if spec.tail_of:
        _check_tail(spec, job)
        tensor = own or _Tensor("float32", None)
        if tensor.dtype != "float32":
            _refuse(f"{what} is {tensor.dtype}, but what it keeps of {spec.tail_of!r} is float32")
        return replace(spec, shape=_shape(what, spec.shape, tensor)), "float32"
    kept = outputs.get(spec.output)
    if kept is None:
        _refuse(f"{what} is kept from output {spec.output!r}, which the model does not have: {_listed(outputs)}")
    shape = _shape(what, spec.shape, own or kept)
    if not kept.accepts(shape):
        _refuse(f"{what} is {list(shape)}, but output {spec.output!r} is {_shown(kept)}: they must be alike")
    if own is not None and own.dtype != kept.dtype:
        _refuse(f"{what} is {own.dtype}, but output {spec.output!r} is {kept.dtype}: they must be alike")
    return replace(spec, shape=shape), kept.dtype


def _check_tail(spec: StateSpec, job: BuildJob) -> None:
    there = {each.name for each in job.inputs} | {each.name for each in job.observations}
    if spec.tail_of not in there:
        _refuse(f"state {spec.input!r} keeps the tail of {spec.tail_of!r}, which is no input and no observation")


def _check_observations(job: BuildJob, inputs: Mapping[str, _Tensor]) -> None:
    """Check that observations are inputs of the model that take float32, and inputs have one shape."""
    for each in job.observations:
        tensor = inputs.get(each.name)
        if tensor is None:
            _refuse(f"the model has no input {each.name!r}, which is declared an observation; it has {_listed(inputs)}")
        _check_observation(each, tensor)
    for spec in job.inputs:
        if has_range(spec) and spec.name in sources_of(job.observations, job.state):
            _refuse(f"input {spec.name!r} has a range of shapes, and observations are made of inputs of one shape")


def _check_observation(each: ObservationSpec, tensor: _Tensor) -> None:
    if tensor.dtype != "float32":
        _refuse(f"observation {each.name!r} is composed as float32, and the model takes {tensor.dtype}")
    if not tensor.accepts(each.shape):
        _refuse(f"observation {each.name!r} is {list(each.shape)}, and the model takes {_shown(tensor)}")


def _shape(what: str, declared: tuple[int, ...] | None, tensor: _Tensor) -> tuple[int, ...]:
    if declared is None:
        if tensor.fixed is None:
            _refuse(f"{what} is {_shown(tensor)} in the model, which leaves its shape open: declare its shape")
        return tensor.fixed
    if not tensor.accepts(declared):
        _refuse(f"{what} is declared {list(declared)}, and the model has {_shown(tensor)}")
    return declared


def _shown(tensor: _Tensor) -> str:
    if tensor.shape is None:
        return "of any shape"
    return "[" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + "]"


def _listed(tensors: Mapping[str, _Tensor]) -> str:
    return ", ".join(tensors) or "none"


def _tensor(value: ValueInfoProto) -> _Tensor:
    kind = value.type.tensor_type
    try:
        dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except (KeyError, ValueError, TypeError):  # strings and what is no tensor: refused by name later
        dtype = "of no known type"
    if not kind.HasField("shape"):
        return _Tensor(dtype, None)
    return _Tensor(dtype, tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim))


def _refuse(message: str) -> NoReturn:
    raise EngineError("bad-model", message, "correct inputs, state or observations in the model's file")
