"""A size that a network takes, where the declared one does not fit its strides: found by running the source model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from runtime.contract.engine.build import BuildJob, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.normalize import session_source
from runtime.engines.onnxruntime_.session import DTYPES, open_session

MOST_SECONDS = 20.0
_STRIDES = (2, 4, 8, 16, 32, 64, 128)


def with_fitting_size(error: EngineError, source: Path, job: BuildJob) -> EngineError:
    """Return ``error``, or, where another size of the one picture is what the model needs, one that names it.

    Only of models that leave rows and columns open; ``job`` could not be built.
    """
    pictures = [spec for spec in job.inputs if len(spec.shape) == 4]
    if error.kind != "bad-model" or len(pictures) != 1:
        return error
    try:
        session = open_session(session_source(source), optimize=False)
    except EngineError:
        return error
    picture = pictures[0]
    known: list[object] = next((node.shape for node in session.get_inputs() if node.name == picture.name), [])
    if len(known) != 4 or any(isinstance(size, int) for size in known[2:]) or _runs(session, job, picture.shape):
        return error
    fitting = _fitting(session, job, picture)
    if fitting is None:
        return error
    rows, columns = fitting
    return EngineError(
        "bad-model",
        f"input {picture.name!r} of {list(picture.shape)} does not fit the network's strides: {error.message}",
        f"rows and columns that fit are near: shape {[*picture.shape[:2], rows, columns]}",
        detail=error.detail,
    )


def _fitting(session: ort.InferenceSession, job: BuildJob, picture: TensorSpec) -> tuple[int, int] | None:
    ends = time.monotonic() + MOST_SECONDS
    for rows, columns in _near(*picture.shape[2:]):
        if time.monotonic() > ends:
            break
        if _runs(session, job, (*picture.shape[:2], rows, columns)):
            return rows, columns
    return None


def _near(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield sizes that are multiples of ever larger strides, the next larger one before the next smaller one."""
    seen = {(rows, columns)}
    for stride in _STRIDES:
        for up in (1, 0):
            size = tuple(max((side // stride + up * (side % stride > 0)) * stride, stride) for side in (rows, columns))
            if size not in seen:
                seen.add((size[0], size[1]))
                yield size[0], size[1]


def _runs(session: ort.InferenceSession, job: BuildJob, shape: tuple[int, ...]) -> bool:
    types = {node.name: DTYPES.get(node.type, "float32") for node in session.get_inputs()}
    feeds = {
        spec.name: np.zeros(shape if len(spec.shape) == 4 else spec.shape, np.dtype(types.get(spec.name, "float32")))
        for spec in job.inputs
    }
    try:
        session.run(None, feeds)
    except Exception:  # noqa: BLE001  (onnxruntime's exceptions have no common base: this size does not fit)
        return False
    return True
