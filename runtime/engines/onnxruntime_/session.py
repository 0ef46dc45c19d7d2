"""Sessions as this backend opens them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from runtime.engines.errors import EngineError, of_onnxruntime

PROVIDERS = ("CPUExecutionProvider",)
#: ONNX Runtime's names of element types → numpy's.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

#: Would quantize the weights of a convolution or matrix product that was excluded from int8, because it stands between
#: two that are not: what the manifest leaves in float must be in float.
_DISABLED = ["WeightBiasQuantization"]


def open_session(
    model: bytes | Path,
    threads: int = 1,
    *,
    optimize: bool = True,
    profile_to: Path | None = None,
    optimized_to: Path | None = None,
) -> ort.InferenceSession:
    """Open a session with ``threads`` CPU threads. Raises EngineError of kind ``bad-model``.

    ``profile_to``: beginning of the name of the profile's file; ``optimized_to``: where the optimizer's graph goes.

    Threads do not spin while they wait: a robot's cores belong to others between two frames. The arena and memory
    pattern stay on, so that after the first run nothing is allocated per frame.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to)
    if optimized_to is not None:
        options.optimized_model_filepath = str(optimized_to)
    source: Any = model if isinstance(model, bytes) else str(model)
    try:
        return _opened(source, options)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        if optimize:
            # An If whose branches fit different sizes: the optimizer infers shapes of the one that is never taken.
            options.graph_optimization_level = level.ORT_DISABLE_ALL
            with contextlib.suppress(Exception):
                return _opened(source, options)
        refused = EngineError(
            "bad-model",
            f"ONNX Runtime {ort.__version__} refuses the model: {str(error).strip()[:300]}",
            "export the model again with standard operators only, opset 17 or older",
        )
        raise of_onnxruntime(error, refused) from error


def _opened(source: Any, options: ort.SessionOptions) -> ort.InferenceSession:
    return ort.InferenceSession(source, options, providers=list(PROVIDERS), disabled_optimizers=_DISABLED)


def shape_of(known: Sequence[Any], found: Sequence[int], declared: Sequence[int | None] = ()) -> tuple[int, ...]:
    """Return an output's shape, -1 where another frame may give another size than ``found``.

    ``known`` is what the session says before a run (empty for a rank that it does not know), ``declared`` what the
    source model says of itself.
    """
    sizes = known if len(known) == len(found) else [None] * len(found)
    said = declared if len(declared) == len(found) else [None] * len(found)
    fixed = [isinstance(size, int) or other == there for size, other, there in zip(sizes, said, found, strict=True)]
    return tuple(there if sure else -1 for sure, there in zip(fixed, found, strict=True))


def free_outputs(
    session: ort.InferenceSession,
    answers: Mapping[str, npt.NDArray[Any]],
    declared: Mapping[str, tuple[int | None, ...]],
) -> dict[str, int]:
    """Return the outputs whose shape depends on the frame, and their first free axis; ``answers``: of any frame."""
    known = {
        node.name: shape_of(node.shape, answers[node.name].shape, declared.get(node.name, ()))
        for node in session.get_outputs()
    }
    return {name: shape.index(-1) for name, shape in known.items() if -1 in shape}
