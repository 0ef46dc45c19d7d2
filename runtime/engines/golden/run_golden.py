"""What a loaded engine answers to golden frames: asked by the builder that judges it and by the robot's self-test."""

from __future__ import annotations

import numpy as np

from runtime.engines.backend import Runner
from runtime.engines.golden.golden_data import Arrays, Golden


def run_golden(runner: Runner, golden: Golden) -> list[Arrays]:
    """Run every golden frame; return copies of the outputs, frame by frame. Raises EngineError."""
    inputs = list(runner.inputs.items())
    samples = []
    for index in range(len(golden)):
        golden.feed(index, inputs)
        samples.append({name: np.array(array) for name, array in runner.infer().items()})
    return samples
