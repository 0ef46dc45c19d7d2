"""State that an engine takes back at its next frame: one place for builders, self-tests and robots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import StateSpec

Buffers = Mapping[str, npt.NDArray[Any]]


class RecurrentState:
    """The states of one engine, kept in its own input buffers. Nothing is kept that is not finite."""

    def __init__(self, specs: Sequence[StateSpec], buffers: Buffers) -> None:
        """``buffers``: the engine's inputs, which nobody else may write where a state lies."""
        self._kept = tuple((spec, buffers[spec.input]) for spec in specs)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def reset(self) -> None:
        """Begin a sequence."""
        for spec, buffer in self._kept:
            buffer[...] = spec.initial

    def problem(self, outputs: Mapping[str, npt.NDArray[np.generic]]) -> str:
        """Say why ``outputs`` cannot be fed back; empty when they can."""
        for spec, buffer in self._kept:
            values = outputs[spec.kept]
            if values.size != buffer.size or values.dtype != buffer.dtype:
                return (
                    f"state {spec.input!r} is {buffer.dtype} {list(buffer.shape)}, and {spec.kept!r}, which it is "
                    f"kept from, {values.dtype} {list(values.shape)}"
                )
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                return f"{spec.kept!r} holds values that are not finite, which state {spec.input!r} would keep"
        return ""

    def keep(self, outputs: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Feed back what a frame gave. Only after ``problem`` had none."""
        for spec, buffer in self._kept:
            np.copyto(buffer, outputs[spec.kept].reshape(buffer.shape), casting="no")


def fed(inputs: Iterable[TensorSpec], state: Iterable[StateSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs that frames feed: those that are no state."""
    kept = {spec.input for spec in state}
    return tuple(spec for spec in inputs if spec.name not in kept)
