"""A file that is no .npz archive is named as such by whoever reads it, whatever NumPy raises about it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.errors import EngineError
from runtime.engines.golden.calibration import open_calibration
from runtime.engines.golden.golden_data import load_golden
from runtime.engines.graph.preprocess import engine_input
from tests.unit.engines.models import IMAGE, frames


def whole() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, image=frames(8))
    return stream.getvalue()


def plain_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, frames(8))
    return stream.getvalue()


def objects() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, image=np.array([{}, None], dtype=object))
    return stream.getvalue()


BROKEN: dict[str, bytes] = {
    "cut": whole()[:-40],
    "a member changed": whole()[:200] + bytes(64) + whole()[264:],
    "no zip": b"PK" + bytes(200),
    "empty": b"",
    "a plain array": plain_array(),
    "objects": objects(),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda path: load_golden(path, (engine_input(IMAGE),), ["scores"]), "golden"),
        (lambda path: open_calibration(path, (IMAGE,)), "calibration"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(
    tmp_path: Path, name: str, read: Callable[[Path], object], kind: str
) -> None:
    path = tmp_path / "frames.npz"
    path.write_bytes(BROKEN[name])
    with pytest.raises(EngineError, match=r"frames.npz is not an .npz file") as caught:
        read(path)
    assert caught.value.kind == kind
    assert "numpy.savez" in caught.value.hint
