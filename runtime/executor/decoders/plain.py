"""Decoders that need little: whole-frame classes, class masks, and the tensor as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.executor.decoders.options import Options
from runtime.executor.decoders.results import Classes, Mask, Tensor, View


class Classification:
    """``classification``: the ``top_k`` best classes; ``softmax`` when the graph ends in logits."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = Options("classification", options)
        self._top_k = take.whole("top_k", 5, 1, 1000)
        self._softmax = take.flag("softmax", False)
        self._labels = take.words("labels")
        take.finish()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Classes:
        """Decode scores of shape (1, classes), trailing dimensions of 1 allowed."""
        del view
        if tensor.ndim < 1 or max(tensor.shape) != tensor.size:
            raise ValueError(f"classification needs one row of scores, the output has shape {list(tensor.shape)}")
        scores = np.asarray(tensor, np.float32).ravel()
        if self._softmax:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        ids = np.argsort(-scores, kind="stable")[: self._top_k]
        return Classes(ids, scores[ids], tuple(self._label(int(index)) for index in ids))

    def _label(self, index: int) -> str:
        return self._labels[index] if index < len(self._labels) else str(index)


class MaskDecoder:
    """``mask``: the best class per pixel; 255 where one channel is over ``threshold``, 0 elsewhere."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = Options("mask", options)
        self._threshold = take.number("threshold", 0.5, 0.0, 1.0)
        take.finish()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Mask:
        """Decode (1, channels, rows, columns), or (1, rows, columns) of class numbers or scores."""
        del view
        if tensor.ndim not in (3, 4) or tensor.shape[0] != 1:
            raise ValueError(f"mask needs shape (1, channels, rows, columns), the output has {list(tensor.shape)}")
        scores = tensor[0]
        if scores.ndim == 3 and scores.shape[0] > 1:
            return Mask(scores.argmax(axis=0).astype(np.uint8))
        plane = scores.reshape(scores.shape[-2:])
        if np.issubdtype(plane.dtype, np.integer):
            return Mask(plane.astype(np.uint8))
        return Mask(np.where(plane > self._threshold, np.uint8(255), np.uint8(0)))


class TensorDecoder:
    """``tensor``: every value, for outputs of at most ``max_elements``."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = Options("tensor", options)
        self._name = take.word("name", "")
        self._max = take.whole("max_elements", 4096, 1, 65536)
        take.finish()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Tensor:
        """Copy the output. Raises ValueError when it is larger than ``max_elements``."""
        del view
        if tensor.size > self._max:
            raise ValueError(f"the output has {tensor.size} elements, max_elements is {self._max}")
        return Tensor(self._name, tensor.copy())
