"""What a loaded engine answers to golden frames: asked by the builder that judges it and by the robot's self-test.

An engine with state takes them as one sequence: what it keeps of a frame goes into the next one, as on a robot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import StateSpec
from runtime.engines.backend import Runner
from runtime.engines.errors import EngineError
from runtime.engines.golden.golden_data import Arrays, Golden
from runtime.engines.recurrent import RecurrentState

Buffers = Mapping[str, npt.NDArray[Any]]


def run_golden(runner: Runner, golden: Golden) -> list[Arrays]:
    """Run every golden frame; return copies of the outputs, frame by frame. Raises EngineError."""
    return _in_sequence(lambda _: runner.infer(), runner.inputs, golden, runner.identity.state)


def run_frames(
    answer: Callable[[Buffers], Buffers], inputs: Sequence[TensorSpec], golden: Golden, state: Sequence[StateSpec]
) -> list[Arrays]:
    """Like :func:`run_golden` for whatever answers a frame of an engine's ``inputs``, states among them."""
    buffers = {spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs}
    return _in_sequence(answer, buffers, golden, state)


def first_frame(inputs: Sequence[TensorSpec], golden: Golden, state: Sequence[StateSpec]) -> Arrays:
    """Return all inputs of an engine at the first golden frame, states at their beginning."""
    buffers = {spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs}
    RecurrentState(state, buffers).reset()
    golden.feed(0, buffers.items())
    return buffers


def _in_sequence(
    answer: Callable[[Buffers], Buffers], buffers: Buffers, golden: Golden, state: Sequence[StateSpec]
) -> list[Arrays]:
    kept = RecurrentState(state, buffers)
    kept.reset()
    samples = []
    for index in range(len(golden)):
        golden.feed(index, buffers.items())
        outputs = answer(buffers)
        samples.append({name: np.array(array) for name, array in outputs.items()})
        if problem := kept.problem(outputs):
            raise EngineError(
                "bad-model", f"golden frame {index}: {problem}", "correct state in the model's file, or the model"
            )
        kept.keep(outputs)
    kept.reset()
    return samples
