"""Golden data: known frames, and what a right model answers to them.

An ``.npz`` file: under each engine input's name the frames (frames first, each as the camera gives it), and under
output names the expected values (frames first). An input whose first dimension is not 1 has the frames in front of its
whole shape. States are not in it: the frames are one sequence. An output with another number of rows in every frame is
an array a frame, NAME@0, NAME@1 and so on. Written so that the same content gives the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.npz import NpzError, read_npz
from runtime.engines.recurrent import fed
from runtime.engines.store import write_atomic

Arrays = dict[str, npt.NDArray[Any]]
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip file can carry: the same in every archive."""


@dataclass(frozen=True)
class Golden:
    """Frames, and expected outputs where they are known."""

    frames: Arrays
    """Engine input name → (N, …), dtype of the input."""
    expected: Arrays
    """Output name → (N, …), or N arrays (dtype object) where shapes depend on the frame. All of the engine's outputs,
    or none."""

    def __len__(self) -> int:
        return len(next(iter(self.frames.values())))

    def feed(self, index: int, inputs: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
        """Copy frame ``index`` into engine input buffers (name, buffer), in place; states, which it has not, stay."""
        for name, buffer in inputs:
            if name in self.frames:
                buffer[...] = self.frames[name][index].reshape(buffer.shape)

    def frame(self, index: int, spec: TensorSpec) -> npt.NDArray[Any]:
        """Return frame ``index`` of one input in the shape that the engine takes."""
        return np.asarray(self.frames[spec.name][index]).reshape(spec.shape)

    def expected_samples(self) -> list[Arrays]:
        """Return the expected outputs frame by frame."""
        return [{name: array[index] for name, array in self.expected.items()} for index in range(len(self))]


def load_golden(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    *,
    may_be_empty: bool = False,
    state: Sequence[StateSpec] = (),
) -> Golden:
    """Read golden data for an engine with these inputs and outputs. Raises EngineError of kind ``golden``.

    ``may_be_empty``: all zeros are answers, as the frames are declared to show nothing. ``state``: what the engine
    keeps itself, so that the file has no frames of it, and need not say what becomes of it.
    """
    kept = {spec.kept for spec in state}
    inputs = fed(inputs, state)
    arrays = gathered(_read(path), outputs)
    known = {spec.name for spec in inputs} | set(outputs)
    unknown = sorted(set(arrays) - known)
    if unknown:
        raise _error(
            path,
            f"holds {', '.join(map(repr, unknown))}, which is not an input or output of the engine",
            f"its arrays may be called: {', '.join(sorted(known))}",
        )
    frames = {spec.name: _frames(path, spec, arrays.get(spec.name)) for spec in inputs}
    expected = {name: arrays[name] for name in outputs if name in arrays}
    absent = [name for name in outputs if name not in expected and name not in kept]
    if expected and absent:
        missing = ", ".join(map(repr, absent))
        raise _error(path, f"has expected values for some outputs, but not for {missing}", "give all of them, or none")
    counts = {name: len(array) for name, array in {**frames, **expected}.items()}
    if len(set(counts.values())) != 1:
        raise _error(path, f"has different numbers of frames: {counts}", "give one expected value for every frame")
    judged = {name: array for name, array in expected.items() if name not in kept}
    _require_content(path, judged, may_be_empty=may_be_empty)
    return Golden(frames, expected)


def save_golden(path: Path, golden: Golden) -> None:
    """Write golden data whole and deterministically. Raises OSError."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in sorted(_spread({**golden.frames, **golden.expected}).items()):
            body = io.BytesIO()
            np.lib.format.write_array(body, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, body.getvalue())
    write_atomic(path, stream.getvalue())


def stack(samples: Sequence[Arrays], free: Container[str] = ()) -> Arrays:
    """Return outputs frame by frame as arrays with frames first; an output's batch of one is dropped.

    Those in ``free``, whose shape depends on the frame, stay an array a frame.
    """
    result: Arrays = {}
    for name, first in samples[0].items():
        if name in free:
            result[name] = _each([sample[name] for sample in samples])
            continue
        batched = first.ndim > 0 and first.shape[0] == 1
        result[name] = np.stack([sample[name][0] if batched else sample[name] for sample in samples])
    return result


def frame_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one frame of an input in a file: its batch of one is left out."""
    return spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape


def _each(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    result = np.empty(len(arrays), object)
    for index, array in enumerate(arrays):
        result[index] = array
    return result


def _spread(arrays: Arrays) -> Arrays:
    """Return what a file holds: outputs that are an array a frame under a name a frame."""
    plain: Arrays = {}
    for name, array in arrays.items():
        if array.dtype == object:
            plain.update({f"{name}@{index}": each for index, each in enumerate(array)})
        else:
            plain[name] = array
    return plain


def gathered(arrays: Arrays, outputs: Sequence[str]) -> Arrays:
    """Return a file's arrays with those that are an array a frame (NAME@0, NAME@1 …) under one name."""
    result = dict(arrays)
    for name in outputs:
        parts: list[npt.NDArray[Any]] = []
        while name not in arrays and (part := result.pop(f"{name}@{len(parts)}", None)) is not None:
            parts.append(part)
        if parts:
            result[name] = _each(parts)
    return result


def _read(path: Path) -> Arrays:
    try:
        return read_npz(path)
    except FileNotFoundError as error:
        raise _error(path, "is missing", "name the golden data in the model's manifest") from error
    except NpzError as error:
        raise _error(path, str(error), "write it with numpy.savez_compressed") from error


def _frames(path: Path, spec: TensorSpec, array: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    shape = frame_shape(spec)
    wanted = f"{spec.dtype} {['N', *shape]}"
    if array is None:
        raise _error(path, f"has no frames for input {spec.name!r}", f"store {wanted} under that name")
    array = _as_engine_takes(array, spec)
    if str(array.dtype) != spec.dtype or array.shape[1:] != shape or len(array) == 0:
        raise _error(
            path,
            f"has {array.dtype} {list(array.shape)} for input {spec.name!r}, expected {wanted}",
            "store frames as the camera gives them, before any preprocessing",
        )
    return array


def _as_engine_takes(array: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    """Return integers in the engine's width where that changes none: TensorRT takes int32 where the model has int64."""
    kind = np.dtype(spec.dtype)
    if array.dtype.kind not in "iu" or kind.kind not in "iu" or array.dtype == kind or not array.size:
        return array
    bounds = np.iinfo(kind)
    fits = bounds.min <= int(array.min()) and int(array.max()) <= bounds.max
    return array.astype(kind) if fits and array.dtype.itemsize > 1 and kind.itemsize > 1 else array


def _require_content(path: Path, expected: Arrays, *, may_be_empty: bool) -> None:
    for name, array in expected.items():
        for index, sample in enumerate(array):
            if not np.isfinite(sample).all():
                raise _error(path, f"expects values that are not finite of output {name!r}, frame {index}", "mend it")
            if may_be_empty or array.dtype == object or not np.size(sample):
                continue
            if np.any(sample) or (_tells_by_zero(array) and np.any(array)) or _class_zero(name, index, expected):
                continue
            raise _error(
                path,
                f"expects all zeros of output {name!r}, frame {index}: that proves nothing",
                "choose frames in which the model finds something",
            )


def _class_zero(name: str, index: int, expected: Arrays) -> bool:
    """Say whether zeros can be numbers of the first class: integers, where another output found something there."""
    if expected[name].dtype.kind not in "iu":
        return False
    return any(np.any(array[index]) for other, array in expected.items() if other != name and index < len(array))


def _tells_by_zero(array: npt.NDArray[Any]) -> bool:
    """Class 0, a count of 0 and one number that is 0 are answers, as long as other frames have others."""
    return array.dtype.kind in "iub" or np.size(array[0]) == 1


def _error(path: Path, what: str, hint: str) -> EngineError:
    return EngineError("golden", f"golden data {path.name} {what}", hint)
