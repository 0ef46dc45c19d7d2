"""Calibration frames: a folder of images, or an .npz file, read one frame at a time.

Images are camera frames. They should have the camera's size and are resized to it (linear) when they do not; they
are decoded to the encoding that the input declares, then go through the model's own preprocessing like a live frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from PIL import Image, UnidentifiedImageError

from runtime.contract.engine.build import BuildJob, Int8Options, Preprocess, TensorSpec
from runtime.contract.node.encodings import ENCODINGS
from runtime.engines.errors import EngineError
from runtime.engines.golden.camera_frames import camera_frame, resized
from runtime.engines.golden.golden_data import frame_shape
from runtime.engines.golden.npz import NpzError, read_npz
from runtime.engines.graph.preprocess import engine_input
from runtime.engines.graph.quantize import Frames
from runtime.engines.graph.quantized import PAIRS, check_quantized
from runtime.engines.recurrent import fed

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
MIN_FRAMES = 8
"""Fewer say nothing about the range of an activation."""
ENOUGH_FRAMES = 100
"""Below it a build notes that more frames usually give better accuracy."""

MOST_SECONDS = 1800.0
"""Of one calibration, where the job has no deadline."""
MOST_APART = 100.0
"""Largest magnitude of a frame of floats over that of the usual frame, and the other way round. One pixel a hundred
times too large leaves two of 256 steps for all others."""


Sequenced = Callable[["Frames", ModelProto], "Frames"]
"""Adds what a model's own frames have besides those that messages feed."""


class ImageFolder:
    """Images of a folder in the order of their names, as frames of the model's one image input."""

    def __init__(self, files: Sequence[Path], spec: TensorSpec) -> None:
        self._files = tuple(files)
        self._spec = spec

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[Any]]:
        pre = self._spec.preprocess
        assert pre is not None
        path = self._files[index]
        try:
            with Image.open(path) as image:
                frame = camera_frame(resized(image.convert(_mode(pre)), pre.width, pre.height), pre.encoding)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise EngineError(
                "calibration", f"{path.name} cannot be read as an image: {error}", "replace or remove the file"
            ) from error
        return {self._spec.name: frame[None]}


def _mode(pre: Preprocess) -> str:
    """Of Pillow, in which a picture is resized."""
    return "RGB" if ENCODINGS[pre.encoding].colour else "L"


class Arrays:
    """Frames of an .npz file: under each input's name an array, frames first."""

    def __init__(
        self, arrays: dict[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    ) -> None:
        """``shapes``: of inputs that have no batch of one in front."""
        self.arrays = arrays
        self.shapes = shapes

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> dict[str, npt.NDArray[Any]]:
        return {
            name: np.asarray(array[index]).reshape(self.shapes.get(name, (1, *array.shape[1:])))
            for name, array in self.arrays.items()
        }


def calibration_of(
    job: BuildJob, path: Path | None, model: ModelProto, sequence: Sequenced | None = None
) -> tuple[Frames | None, tuple[str, ...]]:
    """Return a job's calibration frames, and what the report should note. No frames (None) where its precision needs
    none, or ``model``, its source, carries scales of its own. ``sequence`` adds states and observations to frames.

    Raises EngineError ``calibration`` for int8 without data, or with too few frames.
    """
    quantized = check_quantized(model, job.precision, job.options.int8 or Int8Options())
    if job.precision != "int8" or quantized == PAIRS:
        return None, ()
    if path is None:
        raise EngineError("calibration", "int8 needs calibration data and the job has none", "name a set")
    given = open_calibration(path, fed(job.inputs, job.state))
    frames = sequence(given, model) if sequence is not None else given
    few = f"calibrated with {len(frames)} frames; {ENOUGH_FRAMES} or more usually lose less accuracy"
    return frames, (few,) if len(frames) < ENOUGH_FRAMES else ()


def open_calibration(path: Path, inputs: Sequence[TensorSpec]) -> ImageFolder | Arrays:
    """Open a folder of images, an .npz file, or a folder of .npz files, joined in the order of their names.

    Raises EngineError ``calibration``.
    """
    frames: ImageFolder | Arrays
    if path.is_dir():
        archives = sorted(path.glob("*.npz"))
        frames = _joined([_arrays(archive, inputs) for archive in archives]) if archives else _images(path, inputs)
    elif path.is_file():
        frames = _arrays(path, inputs)
    else:
        raise EngineError(
            "calibration", f"there is no calibration data at {path.name}", "name a folder or an .npz file"
        )
    if isinstance(frames, Arrays):
        _require_usable(path.name, frames)
    if len(frames) < MIN_FRAMES:
        raise EngineError(
            "calibration",
            f"{len(frames)} calibration frame{'s' if len(frames) != 1 else ''}, at least {MIN_FRAMES} are needed",
            "add frames that look like what the robot sees; 100 to 500 are usual",
        )
    return frames


def _require_usable(source: str, frames: Arrays) -> None:
    """Refuse frames from which no range can come, by their number. Raises EngineError ``calibration``."""
    for name, array in frames.arrays.items():
        if array.dtype.kind != "f" or not len(array):
            continue
        rows = np.abs(array.reshape(len(array), -1).astype(np.float64))
        largest = rows.max(axis=1, initial=0.0)
        usual = float(np.median(largest))
        for index, most in enumerate(largest.tolist()):
            if why := _unusable(most, usual):
                raise EngineError(
                    "calibration",
                    f"{source}: frame {index} (counted from 0) of input {name!r} {why}",
                    "remove the frame, or correct its source: its range would not fit the other frames",
                )


def _unusable(largest: float, usual: float) -> str:
    """Say what is wrong with a frame whose largest magnitude is this, where half the frames stay below ``usual``.

    A frame of zeros is none of that: a state at its start, a covered lens.
    """
    if not np.isfinite(largest):
        return "holds values that are not finite"
    if not np.isfinite(usual):
        return ""
    if largest > MOST_APART * usual > 0.0:
        return f"reaches {largest:.4g}, more than {MOST_APART:g} times the usual {usual:.4g}"
    if 0.0 < largest < usual / MOST_APART:
        return f"reaches only {largest:.4g}, less than 1/{MOST_APART:g} of the usual {usual:.4g}"
    return ""


def _joined(parts: Sequence[Arrays]) -> Arrays:
    whole = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return Arrays(whole, parts[0].shapes)


def _images(folder: Path, inputs: Sequence[TensorSpec]) -> ImageFolder:
    if len(inputs) != 1 or inputs[0].preprocess is None:
        raise EngineError(
            "calibration",
            "a folder of images calibrates a model with exactly one image input",
            "give an .npz file with an array under each input's name",
        )
    files = sorted(item for item in folder.rglob("*") if item.suffix.lower() in IMAGE_SUFFIXES)
    return ImageFolder(files, inputs[0])


LEAST_SECONDS = 10.0
"""A job with less than that is ended by whoever asked for it, who says so."""
SHARE_OF_DEADLINE = 0.6
"""Of a job's time: what is measured afterwards needs some too."""


def most_seconds(job: BuildJob) -> float:
    """Return how long a job's calibration may take."""
    if job.deadline_s is None:
        return MOST_SECONDS
    return min(MOST_SECONDS, max(job.deadline_s * SHARE_OF_DEADLINE, LEAST_SECONDS))


def _arrays(path: Path, inputs: Sequence[TensorSpec]) -> Arrays:
    try:
        arrays = read_npz(path)
    except (OSError, NpzError) as error:
        raise EngineError("calibration", f"{path.name} {error}", "write it with numpy.savez") from error
    chosen = {}
    for spec in map(engine_input, inputs):
        array = arrays.get(spec.name)
        shape = frame_shape(spec)
        if array is None or array.shape[1:] != shape or str(array.dtype) != spec.dtype:
            found = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise EngineError(
                "calibration",
                f"{path.name} holds {found} for input {spec.name!r}, expected {spec.dtype} {['N', *shape]}",
                "store frames as the camera gives them, frames first",
            )
        chosen[spec.name] = array
    if len({len(array) for array in chosen.values()}) != 1:
        raise EngineError(
            "calibration", f"{path.name} holds different numbers of frames per input", "give equal numbers"
        )
    return Arrays(chosen, {spec.name: spec.shape for spec in map(engine_input, inputs)})
