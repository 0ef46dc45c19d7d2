"""One model's output as another one's input, inside the process: no message, no topic, the stamp kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.runtime_config import InputBinding, ModelRuntime
from runtime.executor.inputs.frames import Stamp
from runtime.executor.inputs.synchronizer import Pending
from runtime.executor.serving.pipeline import Pipeline


class Link:
    """Hands one output of a model over to an input of another. Both run on the worker thread, so one buffer is enough
    where what waits is replaced by what comes after it; where frames wait in queues, each is a copy."""

    def __init__(self, output: int, place: int, target: Pipeline, binding: InputBinding) -> None:
        """``output``: index of the output among those that the feeding model declares; ``place``: of its tensors."""
        self.output, self.place = output, place
        self._target, self._binding = target, binding
        self._values = np.zeros(binding.shape, binding.dtype)
        # TensorRT gives int32 where the model has int64.
        self._takes = {binding.dtype, "int32"} if binding.dtype == "int64" else {binding.dtype}
        self._finite = np.zeros(binding.shape, np.bool_)

    def deliver(self, stamp: Stamp, values: npt.NDArray[Any]) -> None:
        """Copy the output, and leave it in the other model's slot. Never raises for values that do not fit."""
        target, binding = self._target, self._binding
        if not target.active:
            return
        if values.shape != self._values.shape or str(values.dtype) not in self._takes:
            found = f"{values.dtype} {list(values.shape)}, expected {binding.dtype} {list(binding.shape)}"
            target.stats.refused_input(f"{binding.source} is {found}", 0, binding.tensor, "size")
        elif not np.isfinite(values, out=self._finite).all():
            target.stats.refused_input(
                f"{binding.source} holds values that are not finite", 0, binding.tensor, "not_finite"
            )
        else:
            kept = values.copy() if target.queues else self._values
            if kept is self._values:
                np.copyto(kept, values)
            target.offer(binding.tensor, Pending(stamp, kept, copy_values), 0)


def copy_values(data: npt.NDArray[Any], tensor: npt.NDArray[Any]) -> None:
    """Fill with a tensor as it is."""
    np.copyto(tensor, data)


def link(models: Iterable[Pipeline]) -> None:
    """Connect models to what they take from each other. One that nothing there feeds is refused, with the reason."""
    by_name = {pipeline.model.name: pipeline for pipeline in models}
    for pipeline in by_name.values():
        pipeline.links = []
    for target in by_name.values():
        for binding in target.model.inputs:
            if not binding.from_model:
                continue
            feeding = by_name.get(binding.from_model)
            places = _places(feeding.model) if feeding is not None else {}
            if feeding is None or binding.from_tensor not in places:
                target.refuse(
                    f"input {binding.tensor!r} comes from {binding.source}, which is not an output of a model here: "
                    "correct "
                    "the model's file and publish again"
                )
            else:
                feeding.links.append(Link(*places[binding.from_tensor], target, binding))


def _places(model: ModelRuntime) -> dict[str, tuple[int, int]]:
    """Return where each declared tensor is: index of the output, and among its tensors. The first one counts."""
    found: dict[str, tuple[int, int]] = {}
    for index, output in enumerate(model.outputs):
        for place, name in enumerate(output.sources):
            found.setdefault(name, (index, place))
    return found
