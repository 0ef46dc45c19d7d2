"""What a model answers as it was exported, at fp32: the truth that engines are measured against.

The source file runs in ONNX Runtime as it is, at its own opset, with its own dynamic shapes and without optimizations;
only the preprocessing is ours. So a mistake in what the transform does to a model (an opset conversion that loses an
attribute, a fold, a fixed shape) shows up as a difference instead of being in both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.front import NOTHING, Front, constant_arrays
from runtime.engines.graph.image_inputs import as_model_takes
from runtime.engines.graph.normalize import session_source
from runtime.engines.graph.preprocess import preprocess_model
from runtime.engines.onnxruntime_.session import DTYPES, open_session

Arrays = dict[str, npt.NDArray[Any]]


class Reference:
    """A source model with its preprocessing, ready to run."""

    def __init__(
        self, source: Path | bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], front: Front = NOTHING
    ) -> None:
        """Open the model, a file or its bytes. Raises EngineError of kind ``bad-model``."""
        self._inputs = tuple(inputs)
        self._outputs = [spec.name for spec in front.core_outputs(outputs)]
        self._model = open_session(session_source(source) if isinstance(source, Path) else source, optimize=False)
        self._specs = {spec.name: spec for spec in inputs}
        self._takes = {node.name: DTYPES.get(node.type, "float32") for node in self._model.get_inputs()}
        self._constants = constant_arrays(front.constants, self._takes)
        composed = front.compose_model(self._inputs)
        self._compose = None if composed is None else open_session(composed.SerializeToString(), optimize=False)
        self._preprocess = {
            spec.name: open_session(preprocess_model(spec).SerializeToString(), optimize=False)
            for spec in inputs
            if spec.preprocess is not None
        }

    def __call__(self, frame: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Return the declared outputs for one frame (engine input name → array, batch 1). Raises EngineError."""
        tensors = {spec.name: self._tensor(spec.name, frame[spec.name]) for spec in self._inputs}
        kept = self._composed(tensors)
        tensors.update(self._constants)
        try:
            values = self._model.run(self._outputs, {name: tensors[name] for name in self._takes})
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise EngineError(
                "bad-model",
                f"the source model does not run on a golden frame: {str(error).strip()[:300]}",
                "check the declared inputs: many networks need rows and columns that are multiples of 32",
            ) from error
        for name, value in zip(self._outputs, values, strict=True):
            if not np.isfinite(value).all():
                raise EngineError(
                    "bad-model",
                    f"the source model itself gives values that are not finite for a golden frame (output {name!r})",
                    "check the model and its preprocessing",
                )
        return {**dict(zip(self._outputs, values, strict=True)), **kept}

    def _composed(self, tensors: Arrays) -> Arrays:
        """Add observations to ``tensors``; return what tails keep."""
        if self._compose is None:
            return {}
        names = [node.name for node in self._compose.get_outputs()]
        given = {node.name: tensors[node.name] for node in self._compose.get_inputs()}
        found = dict(zip(names, self._compose.run(names, given), strict=True))
        tensors.update({name: found[name] for name in names if name in self._takes})
        return {name: found[name] for name in names if name not in self._takes}

    def _tensor(self, name: str, frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
        session = self._preprocess.get(name)
        if session is None:
            return frame
        tensor: npt.NDArray[Any] = session.run(None, {"frame": frame})[0]
        return as_model_takes(tensor, self._specs[name], self._takes[name])
