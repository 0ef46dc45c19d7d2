"""Decoders that need little: whole-frame classes, class masks, and the tensor as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.decoders import read_options
from runtime.decoding.camera_geometry import camera_grid
from runtime.decoding.heads.candidates import SCORE_ROUNDING
from runtime.decoding.results import Classes, Mask, Tensor, View


class Classification:
    """``classification``: the ``top_k`` best classes; ``softmax`` when the graph ends in logits."""

    result: ClassVar[type[Any]] = Classes

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("classification", options)
        self._top_k: int = take["top_k"]
        self._softmax: bool = take["softmax"]
        self._labels: tuple[str, ...] = take["labels"]

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Classes:
        """Decode scores of shape (1, classes), trailing dimensions of 1 allowed."""
        del view
        if tensor.dtype.kind in "iub" or tensor.size == 1:
            raise ValueError(
                f"classification needs a score for every class, the output is {tensor.dtype} {list(tensor.shape)}: a "
                "class number is not a score; leave ArgMax or TopK out of the export, or use the decoder tensor"
            )
        if tensor.ndim < 1 or max(tensor.shape) != tensor.size:
            raise ValueError(f"classification needs one row of scores, the output has shape {list(tensor.shape)}")
        if self._labels and len(self._labels) != tensor.size:
            raise ValueError(
                f"classification has {len(self._labels)} labels, and {tensor.size} scores are in the output "
                f"{list(tensor.shape)}"
            )
        scores = np.asarray(tensor, np.float32).ravel()
        if self._softmax:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        elif not (scores.min() >= -SCORE_ROUNDING and scores.max() <= 1.0 + SCORE_ROUNDING):
            raise ValueError(
                f"classification: the scores reach from {float(scores.min()):.4g} to {float(scores.max()):.4g}, and a "
                "score lies between 0 and 1: use softmax for a graph that ends in logits"
            )
        ids = np.argsort(-scores, kind="stable")[: self._top_k]
        return Classes(ids, scores[ids], tuple(self._label(int(index)) for index in ids))

    def _label(self, index: int) -> str:
        return self._labels[index] if index < len(self._labels) else str(index)


class MaskDecoder:
    """``mask``: the best class per pixel; 255 where one channel is over ``threshold``, 0 elsewhere.

    ``size``: model leaves the mask as the model gives it; camera takes it to the frame's pixels, bars off.
    """

    result: ClassVar[type[Any]] = Mask

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("mask", options)
        self._threshold: float = take["threshold"]
        self._to_camera = take["size"] == "camera"
        self._grid: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None = None
        self._grid_of: tuple[Any, ...] = ()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Mask:
        """Decode (1, channels, rows, columns), or (1, rows, columns) of class numbers or scores."""
        classes = self._classes(tensor)
        if not self._to_camera:
            return Mask(classes)
        if self._grid is None or self._grid_of != (classes.shape, view):
            self._grid, self._grid_of = camera_grid(classes.shape, view), (classes.shape, view)
        down, across = self._grid
        return Mask(classes.take(down, axis=0).take(across, axis=1))

    def _classes(self, tensor: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if tensor.ndim not in (3, 4) or tensor.shape[0] != 1:
            raise ValueError(f"mask needs shape (1, channels, rows, columns), the output has {list(tensor.shape)}")
        best: npt.NDArray[np.uint8]
        scores = tensor[0]
        if scores.ndim == 3 and scores.shape[0] > 1:
            if scores.shape[0] > 256:
                raise ValueError(f"mask has room for 256 classes, the output {list(tensor.shape)} has more")
            best = scores.argmax(axis=0).astype(np.uint8)
            return best
        plane = scores.reshape(scores.shape[-2:])
        if np.issubdtype(plane.dtype, np.integer):
            if plane.size and not 0 <= int(plane.min()) <= int(plane.max()) <= 255:
                raise ValueError(f"mask takes class numbers from 0 to 255, the output has {int(plane.max())}")
            best = plane.astype(np.uint8)
        else:
            best = np.where(plane > self._threshold, np.uint8(255), np.uint8(0))
        return best


class TensorDecoder:
    """``tensor``: every value, for outputs of at most ``max_elements``."""

    result: ClassVar[type[Any]] = Tensor

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("tensor", options)
        self._name: str = take["name"]
        self._max: int = take["max_elements"]

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Tensor:
        """Copy the output. Raises ValueError when it is larger than ``max_elements``."""
        del view
        if tensor.size > self._max:
            raise ValueError(f"the output has {tensor.size} elements, max_elements is {self._max}")
        return Tensor(self._name, tensor.copy())
