"""Pictures of the robot's camera for a proposal: golden frames, and what int8 takes its ranges from."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fleet.errors import UsageError
from fleet.manifest.files.named_files import CALIBRATION_SUFFIXES

GOLDEN = 8
"""Frames at most: they are part of every engine's layer."""
CALIBRATES = 8
"""Pictures at least for int8."""
CALIBRATION = "calibration/frames"
"""Folder next to the model's file that int8 takes its ranges from."""
_SUFFIXES = CALIBRATION_SUFFIXES - {".npz"}
_SIDE_MOST = 16384


@dataclass(frozen=True)
class Pictures:
    """Files of one size."""

    files: tuple[Path, ...]
    size: tuple[int, int]
    """Rows and columns."""

    @property
    def calibrate(self) -> bool:
        """They are enough for int8."""
        return len(self.files) >= CALIBRATES

    def write_golden(self, path: Path, tensor: str, channels: int) -> None:
        """Write the first pictures as golden frames, uint8 (N, rows, columns, channels)."""
        from PIL import Image

        mode = "RGB" if channels == 3 else "L"
        frames = np.stack([np.asarray(Image.open(file).convert(mode)) for file in self.files[:GOLDEN]])
        frames = frames.reshape(len(frames), *self.size, channels)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{tensor}.npy", "w") as target:
            np.lib.format.write_array(target, frames, allow_pickle=False)


def read_pictures(folder: Path) -> Pictures:
    """Look at a folder of pictures. Raises UsageError for one without, and for pictures of several sizes."""
    if find_spec("PIL") is None:
        raise UsageError("pictures are read by Pillow, which is not installed", hint="pip install pillow")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no folder of pictures", hint="give a folder of .png, .jpg or .bmp files")
    files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES))
    if not files:
        raise UsageError(f"{folder}: no picture in it", hint="put .png, .jpg or .bmp files of the robot's camera there")
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        sizes.setdefault(_size(file), file)
    return Pictures(files, _one_size(folder, sizes))


def _size(file: Path) -> tuple[int, int]:
    """Return rows and columns of a picture that can be decoded. Raises UsageError."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
            return picture.height, picture.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{file}: no picture: {error}", hint="remove it, or save it again as PNG") from error


def _one_size(folder: Path, sizes: dict[tuple[int, int], Path]) -> tuple[int, int]:
    found: Sequence[tuple[int, int]] = list(sizes)
    if len(found) > 1:
        shown = " and ".join(f"{columns}x{rows} ({sizes[rows, columns].name})" for rows, columns in found[:2])
        raise UsageError(
            f"{folder}: pictures of several sizes: {shown}", hint="a camera has one: give frames of it alone"
        )
    if max(found[0]) > _SIDE_MOST:
        raise UsageError(
            f"{folder}: pictures of {found[0][1]}x{found[0][0]}", hint=f"at most {_SIDE_MOST} pixels a side"
        )
    return found[0]
