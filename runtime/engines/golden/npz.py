"""Arrays of an .npz file, and one error for everything that such a file may turn out to be instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class NpzError(ValueError):
    """A file is not the .npz archive of plain arrays that it should be. The text goes on after the file's name."""


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of ``path`` by name. Raises FileNotFoundError, and NpzError for whatever else goes wrong."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    # A truncated member raises zlib.error or zipfile's own type, an array of objects ValueError, a plain .npy
    # AttributeError or TypeError: all of them mean that this is not the file it should be.
    except Exception as error:
        raise NpzError(f"is not an .npz file: {error}") from error
