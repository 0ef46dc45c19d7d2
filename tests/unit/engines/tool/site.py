"""Tiny files that people give to `fleet engine`, and the tool asked in this process."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from runtime.contract.codec import canonical_json, from_dict
from runtime.contract.engine.build import BuildFailure, BuildOptions, Int8Options
from runtime.contract.engine.engine_tool import BUILD, DOCUMENTS, BuildRequest
from runtime.engines.tool.__main__ import answer
from tests.unit.engines.models import TENSOR, conv_net

SHAPES = {"image": (1, 3, *TENSOR)}


def tell(verb: str, request: Any) -> Any:
    """Return the verb's document; fails on a failure."""
    found = answer(verb, canonical_json(request), lambda _: None)
    assert found.failure is None, found.failure
    return from_dict(DOCUMENTS[verb][1], found.result)


def refuse(verb: str, request: Any) -> BuildFailure:
    """Return the failure; fails on a result."""
    found = answer(verb, canonical_json(request), lambda _: None)
    assert found.failure is not None
    assert found.failure.hint
    return found.failure


def onnx_file(folder: Path, name: str = "tiny.onnx", **options: Any) -> Path:
    path = folder / name
    path.write_bytes(conv_net(**options).SerializeToString())
    return path


def tensors(folder: Path, name: str = "frames.npz", count: int = 3, seed: int = 4, **more: Any) -> Path:
    """Frames as the bare model takes them."""
    path = folder / name
    frames = np.random.default_rng(seed).uniform(-1, 1, (count, 3, *TENSOR)).astype(np.float32)
    content = io.BytesIO()
    np.savez(content, image=frames, **more)
    path.write_bytes(content.getvalue())
    return path


def engine(folder: Path, precision: str = "fp32", *, name: str = "engine", seed: int = 7, **changes: Any) -> Path:
    """Build an engine of the tiny network from its bare file, with golden frames of a generator."""
    folder.mkdir(exist_ok=True, parents=True)
    model = onnx_file(folder, f"{name}.onnx", seed=seed)
    int8 = Int8Options("minmax") if precision == "int8" else None
    values: dict[str, Any] = {
        "model": str(model),
        "name": "tiny",
        "precision": precision,
        "out": str(folder / name),
        "options": BuildOptions(int8=int8),
        "backend": "onnxruntime",
        "shapes": SHAPES,
        "bench_seconds": 0.02,
        "calibration": str(tensors(folder, "calibration.npz", 16)) if precision == "int8" else None,
    }
    tell(BUILD, BuildRequest(**{**values, **changes}))
    return folder / name
