"""What the manifest says of a model's inputs besides the tensors that messages feed, put into the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from runtime.contract.engine.build import BuildJob, TensorSpec
from runtime.contract.engine.model_front import ConstantSpec, ObservationSpec, StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.observations import SUFFIX, compose, compose_model, core_inputs

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Front:
    """Constants, states and observations of one job, resolved against its model."""

    constants: tuple[ConstantSpec, ...] = ()
    state: tuple[StateSpec, ...] = ()
    observations: tuple[ObservationSpec, ...] = ()

    def core_inputs(self, model: ModelProto, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return the inputs of the model itself, without constants, where the engine has ``inputs``."""
        return core_inputs(model, inputs, self.observations, self.state)

    def core_outputs(self, outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """Return the outputs of the model itself."""
        tails = {spec.kept for spec in self.state if spec.tail_of}
        return tuple(spec for spec in outputs if spec.name not in tails)

    def compose(self, model: ModelProto, inputs: Sequence[TensorSpec]) -> None:
        """Put observations and tails into a graph, in place. Raises EngineError."""
        if self.observations or any(spec.tail_of for spec in self.state):
            compose(model, inputs, self.observations, self.state)

    def compose_model(self, inputs: Sequence[TensorSpec]) -> ModelProto | None:
        """Return the composition alone as a model, None where nothing is composed."""
        return compose_model(inputs, self.observations, self.state)

    def with_composed(self, frame: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
        """Return a frame of the engine's inputs with observations and tails added. Runs on the CPU."""
        model = self.compose_model(inputs)
        if model is None:
            return dict(frame)
        evaluator = ReferenceEvaluator(model)
        found: Any = evaluator.run(None, {name: frame[name] for name in evaluator.input_names})
        return {**frame, **dict(zip(evaluator.output_names, found, strict=True))}

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of its nodes begin with: they stay float32."""
        tails = [f"{spec.input}/tail/" for spec in self.state if spec.tail_of]
        return (*(f"{each.name}/{SUFFIX}/" for each in self.observations), *tails)


NOTHING = Front()


def front_of(job: BuildJob) -> Front:
    """Return a job's front."""
    return Front(job.constants, job.state, job.observations)


def with_constants(model: ModelProto, constants: Iterable[ConstantSpec]) -> ModelProto:
    """Return the model with the values of constants in place of inputs. Raises EngineError."""
    found = {spec.name: spec for spec in constants}
    if not found:
        return model
    result = ModelProto()
    result.CopyFrom(model)
    kept = []
    for value in result.graph.input:
        spec = found.get(value.name)
        if spec is None:
            kept.append(value)
            continue
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        result.graph.initializer.append(numpy_helper.from_array(constant_array(spec, dtype), value.name))
    del result.graph.input[:]
    result.graph.input.extend(kept)
    return result


def constant_arrays(constants: Iterable[ConstantSpec], dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Return constants as the source model takes them; ``dtypes``: of its inputs, of which those that the model holds
    already are none. Raises EngineError."""
    taken = (spec for spec in constants if spec.name in dtypes)
    return {spec.name: constant_array(spec, np.dtype(dtypes[spec.name])) for spec in taken}


def constant_array(spec: ConstantSpec, dtype: np.dtype[Any]) -> Array:
    """Return a constant's tensor. Raises EngineError where its values cannot be of that type or shape."""
    values = np.asarray(spec.values, np.float64)
    shape = spec.shape or ()
    size = int(np.prod(shape))
    if values.size not in (1, size):
        raise EngineError(
            "bad-model",
            f"constant {spec.name!r} has {values.size} values, and {list(shape)} takes {size}",
            "give one value, or as many as the tensor has",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        array = values.astype(dtype)
    exact = dtype.kind != "f" and not np.array_equal(array.astype(np.float64), values)
    if exact or not np.isfinite(array.astype(np.float64)).all():
        raise EngineError(
            "bad-model",
            f"constant {spec.name!r} is {list(spec.values)[:4]}, which {dtype} cannot hold",
            "correct the value in the model's file",
        )
    # A copy: ascontiguousarray would make a list of one of a single value.
    full: Array = np.array(np.broadcast_to(array.reshape(-1)[0], shape) if values.size == 1 else array.reshape(shape))
    return full
