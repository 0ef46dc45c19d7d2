"""In which order a model's image input has its axes. Stdlib only and Python 3.8."""

from __future__ import annotations

from typing import Tuple

AXES: Tuple[str, ...] = ("nchw", "nhwc", "chw", "hwc")
"""n: batch of one, c: channels, h: rows, w: columns. TensorFlow's exports are nhwc, torchvision's detectors chw."""
IMAGE_DTYPES: Tuple[str, ...] = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
"""Element types of a model's image input; the engine converts frames to it."""


def as_nchw(shape: Tuple[int, ...], layout: str) -> Tuple[int, ...]:
    """Return the shape of an image tensor with its axes in the order n, c, h, w. Raises ValueError for another rank."""
    if len(shape) != len(layout):
        raise ValueError("{} has {} dimensions, and layout {} {}".format(list(shape), len(shape), layout, len(layout)))
    return tuple(shape[layout.index(axis)] if axis in layout else 1 for axis in AXES[0])


def from_nchw(shape: Tuple[int, ...], layout: str) -> Tuple[int, ...]:
    """Return the shape that a model of this layout has for an image of (1, channels, rows, columns)."""
    return tuple(shape[AXES[0].index(axis)] for axis in layout)
