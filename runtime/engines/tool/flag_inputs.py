"""Frames to run: from a file, from the golden data beside an engine, or from a seeded generator, which says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.decoded import NOTHING
from runtime.contract.engine.engine_tool import USAGE
from runtime.contract.engine.model_front import StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.calibration import IMAGE_SUFFIXES, ImageFolder
from runtime.engines.golden.golden_data import Golden, load_golden
from runtime.engines.recurrent import fed
from runtime.engines.tool.open_engine import Opened

RANDOM_FRAMES = 3
_WANTED = "give an .npz file with an array under each input's name, an image, or a folder of images"


def frames_for(opened: Opened, given: str | None, seed: int) -> tuple[Golden, str]:
    """Return frames, with expected outputs where the file holds them, and where they come from. Raises EngineError."""
    identity = opened.identity
    outputs = [spec.name for spec in identity.outputs]
    if given is not None:
        return read_frames(Path(given), identity.inputs, outputs, identity.state)
    if opened.golden is not None:
        empty = identity.golden_expect == NOTHING
        golden = load_golden(opened.golden, identity.inputs, outputs, may_be_empty=empty, state=identity.state)
        return golden, f"the engine's {len(golden)} golden frames"
    golden = Golden(random_frames(fed(identity.inputs, identity.state), seed), {})
    return golden, f"{len(golden)} frames of a random generator (seed {seed}): times are real, outputs have no meaning"


def read_frames(
    path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[str], state: Sequence[StateSpec] = ()
) -> tuple[Golden, str]:
    """Read an .npz file, an image or a folder of images. Raises EngineError ``usage``."""
    if not path.exists():
        raise EngineError(USAGE, f"there is no {path}", _WANTED)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npz":
            golden = load_golden(path, inputs, outputs, state=state)
        elif path.is_dir() or suffix in IMAGE_SUFFIXES:
            golden = Golden(_images(path, fed(inputs, state)), {})
        else:
            raise EngineError(USAGE, f"{path} is neither an .npz file nor an image", _WANTED)
    except EngineError as error:
        raise EngineError(USAGE, error.message, error.hint) from error
    return golden, f"{path.name} ({len(golden)} frame{'s' if len(golden) != 1 else ''})"


def random_frames(inputs: Sequence[TensorSpec], seed: int, count: int = RANDOM_FRAMES) -> dict[str, npt.NDArray[Any]]:
    """Return frames first, of each input's type: floats in [-1, 1), bytes over their range, other integers 0 or 1.

    Integers are indices more often than not, and 0 and 1 are the only ones that every table has.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[Any]] = {}
    for spec in inputs:
        dtype, batched = np.dtype(spec.dtype), spec.shape[:1] == (1,)
        shape = (count, *(spec.shape[1:] if batched else spec.shape))
        if dtype.kind == "f":
            found[spec.name] = generator.uniform(-1.0, 1.0, shape).astype(dtype)
        elif dtype == np.uint8:
            found[spec.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        else:
            found[spec.name] = generator.integers(0, 2, shape).astype(dtype)
    return found


def _images(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, npt.NDArray[Any]]:
    if len(inputs) != 1 or inputs[0].preprocess is None:
        raise EngineError(
            USAGE,
            "an image fits an engine with exactly one image input, whose preprocessing is part of it",
            "build the model from a manifest, which says how a frame becomes its input; or give an .npz file",
        )
    found = (
        sorted(item for item in path.rglob("*") if item.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
    )
    if not found:
        raise EngineError(USAGE, f"{path} holds no images", _WANTED)
    pictures = ImageFolder(found, inputs[0])
    name = inputs[0].name
    return {name: np.concatenate([pictures[index][name] for index in range(len(pictures))])}
