"""Golden data to start from: noise, marked as such."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fleet.manifest.placeholders import mark_as_noise

_FRAMES, _STEPS = 2, 8
"""Of a sequence the more: small errors that are fed back grow."""


def write_noise(path: Path, frames: Mapping[str, tuple[tuple[int, ...], str]], *, sequence: bool) -> None:
    """Write frames of noise, input → shape and type of one: enough to compare an engine with fp32, to be replaced."""
    count = _STEPS if sequence else _FRAMES
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by numpy.savez: an input may be called like one of its own parameters.
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, (shape, dtype) in frames.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, _noise(generator, (count, *shape), dtype), allow_pickle=False)
    mark_as_noise(path)


def _noise(generator: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if dtype.startswith("float"):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
