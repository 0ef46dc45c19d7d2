"""Calibration frames of a model with state or observations: what the model itself takes at each of them.

States come from the fp32 model, run over the frames as one sequence; observations from their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from runtime.contract.engine.build import BuildJob, TensorSpec
from runtime.engines.build.fp32_reference import Reference
from runtime.engines.errors import EngineError
from runtime.engines.graph.front import Front, front_of
from runtime.engines.graph.quantize import Frames
from runtime.engines.onnxruntime_.session import open_session
from runtime.engines.recurrent import RecurrentState


class SequenceFrames:
    """Frames with states and observations added, by the names of the model's own inputs."""

    def __init__(self, frames: Frames, states: Sequence[dict[str, npt.NDArray[Any]]], composed: bytes | None) -> None:
        self._frames, self._states = frames, states
        self._compose = None if composed is None else open_session(composed, optimize=False)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[Any]]:
        found = dict(self._frames[index])
        if self._states:
            found.update(self._states[index])
        if self._compose is not None:
            names = [node.name for node in self._compose.get_outputs()]
            given = {node.name: found[node.name] for node in self._compose.get_inputs()}
            found.update(zip(names, self._compose.run(names, given), strict=True))
        return found


def with_front(job: BuildJob, frames: Frames, model: ModelProto) -> Frames:
    """Return frames of the inputs that messages feed as frames of the model's own inputs; ``job`` is resolved.

    Raises EngineError.
    """
    front = front_of(job)
    composed = front.compose_model(job.inputs)
    if not front.state and composed is None:
        return frames
    states = _states(frames, model, job.inputs, job.outputs, front) if front.state else []
    return SequenceFrames(frames, states, None if composed is None else composed.SerializeToString())


def _states(
    frames: Frames, model: ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], front: Front
) -> list[dict[str, npt.NDArray[Any]]]:
    reference = Reference(model.SerializeToString(), inputs, outputs, front)
    buffers = {
        spec.input: np.zeros(spec.shape or (), next(one.dtype for one in inputs if one.name == spec.input))
        for spec in front.state
    }
    kept = RecurrentState(front.state, buffers)
    kept.reset()
    states = []
    for index in range(len(frames)):
        states.append({name: buffer.copy() for name, buffer in buffers.items()})
        outputs_of = reference({**frames[index], **buffers})
        if problem := kept.problem(outputs_of):
            raise EngineError("calibration", f"calibration frame {index}: {problem}", "remove the frame")
        kept.keep(outputs_of)
    return states
