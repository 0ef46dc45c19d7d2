"""A loaded ONNX Runtime engine: buffers made and bound once, one call per frame."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from runtime.contract.engine.build import EngineIdentity, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.onnxruntime_.session import DTYPES

Buffers = Mapping[str, npt.NDArray[Any]]


class OnnxRuntimeRunner:
    """Runs one session on numpy buffers that ONNX Runtime reads and writes in place. Owned by one thread."""

    def __init__(self, session: ort.InferenceSession, identity: EngineIdentity) -> None:
        """Bind the buffers. Raises EngineError when the engine's tensors are not those of its sidecar."""
        _check(session.get_inputs(), identity.inputs, "input")
        _check(session.get_outputs(), identity.outputs, "output")
        self.identity = identity
        self.inputs: Buffers = _buffers(identity.inputs)
        self.outputs: Buffers = _buffers(identity.outputs)
        self._session: ort.InferenceSession | None = session
        self._options = ort.RunOptions()
        self._options.log_severity_level = 4  # what goes wrong is raised, and said once
        self._binding: Any = session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._free = [spec.name for spec in identity.outputs if -1 in spec.shape]
        self._bind_outputs()

    def _bind_outputs(self) -> None:
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name in self._free:
            self._binding.bind_output(name, "cpu")

    def infer(self) -> Buffers:
        """Run on what is in ``inputs``; return the output buffers, valid until the next call. Raises EngineError.

        An output whose shape depends on the frame (-1 in the sidecar) is an array of its own every time.
        """
        if self._session is None:
            raise EngineError("internal", f"engine {self.identity.model!r} is closed", "load it again")
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise EngineError(
                "internal",
                f"engine {self.identity.model!r} failed to run: {str(error).strip()[:300]}",
                "build the engine again; if it stays so, run the source model in ONNX Runtime on the same frame",
            ) from error
        if not self._free:
            return self.outputs
        values = self._binding.get_outputs()[len(self.outputs) :]
        found = {name: value.numpy() for name, value in zip(self._free, values, strict=True)}
        self._binding.clear_binding_outputs()  # the next run would write into arrays of this one's shape
        self._bind_outputs()
        return {**self.outputs, **found}

    def close(self) -> None:
        """Free the session. Closing twice is fine."""
        self._binding = None
        self._session = None


def _buffers(specs: tuple[TensorSpec, ...]) -> Buffers:
    fixed = (spec for spec in specs if -1 not in spec.shape)
    return MappingProxyType({spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in fixed})


def _check(found: list[Any], declared: tuple[TensorSpec, ...], what: str) -> None:
    """Compare the session's tensors with the sidecar's: a swapped file must not run with the wrong buffers."""
    there = {node.name: node for node in found}
    for spec in declared:
        node = there.get(spec.name)
        if node is None:
            raise EngineError(
                "corrupt", f"the engine has no {what} {spec.name!r}, which engine.json names", "build the engine again"
            )
        if DTYPES.get(node.type) != spec.dtype or not _same_shape(node.shape, spec.shape):
            raise EngineError(
                "corrupt",
                f"{what} {spec.name!r} is {node.type} {node.shape} in the engine, "
                f"but {spec.dtype} {list(spec.shape)} in engine.json",
                "build the engine again",
            )


def _same_shape(found: list[Any], declared: tuple[int, ...]) -> bool:
    """Say whether a tensor of the session may have the sidecar's shape. ONNX Runtime gives one whose rank it does not
    know the shape of a single number."""
    sizes = [size if isinstance(size, int) else None for size in found]
    fits = len(sizes) == len(declared) and all(a in (None, b) for a, b in zip(sizes, declared, strict=False))
    return not sizes or fits
