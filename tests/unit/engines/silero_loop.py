"""Silero VAD as a manifest declares it, and as its authors run it. Not a test module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import ConstantSpec, ObservationPart, ObservationSpec, StateSpec

CHUNK, CONTEXT, RATE = 512, 64, 16000
FRONT: dict[str, Any] = {
    "inputs": (TensorSpec("audio", (1, CHUNK)),),
    "outputs": (TensorSpec("output", ()),),
    "constants": (ConstantSpec("sr", (float(RATE),)),),
    "state": (
        StateSpec("state", "stateN", shape=(2, 1, 128)),
        StateSpec("context", tail_of="input", shape=(1, CONTEXT)),
    ),
    "observations": (
        ObservationSpec("input", (1, CHUNK + CONTEXT), (ObservationPart("context"), ObservationPart("audio"))),
    ),
}


def sound(chunks: int) -> np.ndarray:
    """Silence, then something like a voice: a pulse train through two resonances."""
    time = np.arange(chunks * CHUNK) / RATE
    pitch = np.sign(np.sin(2 * np.pi * 120 * time)) * 0.1
    voice = pitch * (1 + np.sin(2 * np.pi * 700 * time) + 0.5 * np.sin(2 * np.pi * 1200 * time))
    voice[: chunks * CHUNK // 3] *= 0.001
    noise = np.random.default_rng(0).normal(0, 0.002, time.size)
    return (voice + noise).astype(np.float32).reshape(chunks, CHUNK)


def as_its_authors_run_it(chunks: np.ndarray, file: Path) -> np.ndarray:
    """The loop of silero_vad/utils_vad.py (OnnxWrapper), on the file as it is."""
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    answers = []
    for chunk in chunks:
        x = np.concatenate([context, chunk[None]], axis=1)
        out, state = session.run(None, {"input": x, "state": state, "sr": np.array(RATE, np.int64)})
        context = x[:, -CONTEXT:]
        answers.append(float(out[0, 0]))
    return np.array(answers)
