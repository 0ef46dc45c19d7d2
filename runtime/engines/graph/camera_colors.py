"""A camera's bytes → planes of colour (1, channels, height, width), as ONNX nodes, by the encoding of its frames.

Values are 0 to 255 for pictures of 8 and 16 bits (scaled as cv_bridge does), and the frame's own numbers for depth.
YUV is ITU-R BT.601 of limited range, chroma repeated, as OpenCV converts it; mosaics are interpolated linearly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from runtime.contract.engine.build import Preprocess
from runtime.contract.node.encodings import ENCODINGS, Encoding
from runtime.engines.graph.part import Part

LUMA = {"r": 0.299, "g": 0.587, "b": 0.114, "a": 0.0}
"""ITU-R BT.601, as cv_bridge and Pillow convert to grey."""
_YUV = {"r": (1.164, 0.0, 1.596), "g": (1.164, -0.391, -0.813), "b": (1.164, 2.018, 0.0)}
"""What Y - 16, U - 128 and V - 128 give to each colour (OpenCV, color_yuv.simd.hpp)."""
_YUV_ZERO = (16.0, 128.0, 128.0)
_GREY16 = 1.0 / 257.0
"""65535 is 255."""

Weights = npt.NDArray[np.float32]


def planes(part: Part, source: str, pre: Preprocess) -> str:
    """Add nodes from the engine's input to planes in the order of ``pre.color``; return the name of their output."""
    encoding = ENCODINGS[pre.encoding]
    if encoding.kind == "colour":
        return _reordered(part, _channels_first(part, source), encoding.order, pre.color)
    if not encoding.colour:
        return _repeated(part, _single(part, source, encoding), pre.color)
    letters = "rgb" if pre.color == "gray" else pre.color
    if encoding.kind == "nv12":
        value = _nv12(part, source, letters, pre.height, pre.width)
    elif encoding.kind == "bayer":
        value = _demosaiced(part, source, encoding.order, letters, pre.height, pre.width)
    else:
        value = _yuv422(part, source, encoding.kind, letters, pre.height, pre.width)
    return _reordered(part, value, letters, pre.color)


def _channels_first(part: Part, source: str) -> str:
    return part.add("Transpose", [part.add("Cast", [source], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])


def _reordered(part: Part, value: str, order: str, color: str) -> str:
    if color == "gray":
        weights = np.array([LUMA[letter] for letter in order], np.float32).reshape(1, len(order), 1, 1)
        return part.add("Conv", [value, part.constant("luma", weights)])
    if order == color:
        return value
    chosen = np.asarray([order.index(letter) for letter in color], np.int64)
    return part.add("Gather", [value, part.constant("order", chosen)], axis=1)


def _single(part: Part, source: str, encoding: Encoding) -> str:
    """One plane. Of two bytes the less significant comes first."""
    if encoding.dtype == "float32":
        return part.add("Transpose", [source], perm=[0, 3, 1, 2])
    if encoding.channels == 1:
        return _channels_first(part, source)
    scale = _GREY16 if encoding.kind == "grey16" else 1.0
    weights = part.constant("bytes", np.array([[scale], [256.0 * scale]], np.float32))
    value = part.add("MatMul", [part.add("Cast", [source], to=TensorProto.FLOAT), weights])
    return part.add("Transpose", [value], perm=[0, 3, 1, 2])


def _repeated(part: Part, value: str, color: str) -> str:
    return value if color == "gray" else part.add("Concat", [value, value, value], axis=1)


def _shape(part: Part, value: str, *shape: int) -> str:
    return part.add("Reshape", [value, part.constant("shape", np.asarray(shape, np.int64))])


def _clipped(part: Part, value: str) -> str:
    low, high = (part.constant(name, np.asarray(bound, np.float32)) for name, bound in (("low", 0), ("high", 255)))
    return part.add("Clip", [value, low, high])


def _yuv422(part: Part, source: str, kind: str, letters: str, height: int, width: int) -> str:
    """Two pixels share four bytes: one matrix makes both of them, side by side."""
    places = {"uyvy": "uyvY", "yuyv": "yuYv"}[kind]  # y: the first pixel, Y: the second
    weights: Weights = np.zeros((2, len(letters), 4), np.float32)
    for pixel, luma in enumerate("yY"):
        for index, letter in enumerate(letters):
            for part_of, place in zip(_YUV[letter], (luma, "u", "v"), strict=True):
                weights[pixel, index, places.index(place)] = part_of
    bias = np.array([_zero(letter) for letter in letters] * 2, np.float32)
    value = _shape(part, part.add("Cast", [source], to=TensorProto.FLOAT), 1, height, width // 2, 4)
    kernel = part.constant("yuv", np.ascontiguousarray(weights.reshape(-1, 4).T))
    value = part.add("Add", [part.add("MatMul", [value, kernel]), part.constant("zero", bias)])
    value = _shape(part, _clipped(part, value), 1, height, width, len(letters))
    return part.add("Transpose", [value], perm=[0, 3, 1, 2])


def _zero(letter: str) -> float:
    return -sum(weight * zero for weight, zero in zip(_YUV[letter], _YUV_ZERO, strict=True))


def _nv12(part: Part, source: str, letters: str, height: int, width: int) -> str:
    """A plane of Y, and under it half as many rows of U and V in turn."""
    value = part.add("Cast", [source], to=TensorProto.FLOAT)
    value = _shape(part, value, 1, height * 3 // 2, width)
    rows, colours = height // 2, len(letters)
    pairs = _shape(part, _rows(part, value, height, height * 3 // 2), 1, rows, width // 2, 2)
    both = [_YUV[letter][1:] for letter in letters] * 2  # a pair of U and V is of two columns …
    weights = np.ascontiguousarray(np.array(both, np.float32).T)
    bias = np.array([_zero(letter) for letter in letters] * 2, np.float32)
    chroma = part.add("MatMul", [pairs, part.constant("chroma", weights)])
    chroma = _shape(part, part.add("Add", [chroma, part.constant("zero", bias)]), 1, rows, width, colours)
    chroma = _shape(part, part.add("Transpose", [chroma], perm=[0, 3, 1, 2]), 1, colours, rows, 1, width)  # … and rows
    gain = part.constant("gain", np.asarray(_YUV["g"][0], np.float32))
    luma = part.add("Mul", [_shape(part, _rows(part, value, 0, height), 1, 1, rows, 2, width), gain])
    return _shape(part, _clipped(part, part.add("Add", [luma, chroma])), 1, colours, height, width)


def _rows(part: Part, value: str, begin: int, end: int) -> str:
    bounds = {"begin": begin, "end": end, "axis": 1}
    return part.add("Slice", [value, *(part.constant(name, np.asarray([at], np.int64)) for name, at in bounds.items())])


def _demosaiced(part: Part, source: str, order: str, letters: str, height: int, width: int) -> str:
    """Blocks of two by two are the channels of a 3x3 convolution, which gives every pixel of a block its colours."""
    value = part.add("Cast", [source], to=TensorProto.FLOAT)
    value = _shape(part, value, 1, 1, height, width)
    pads = part.constant("edges", np.asarray([0, 0, 2, 2, 0, 0, 2, 2], np.int64))
    value = part.add("Pad", [value, pads], mode="reflect")  # about the edge's pixel: the pattern goes on
    rows, columns = height // 2, width // 2
    value = _shape(part, value, 1, rows + 2, 2, columns + 2, 2)
    value = _shape(part, part.add("Transpose", [value], perm=[0, 2, 4, 1, 3]), 1, 4, rows + 2, columns + 2)
    value = part.add("Conv", [value, part.constant("mosaic", mosaic_weights(order, letters))])
    value = _shape(part, value, 1, 2, 2, len(letters), rows, columns)
    value = part.add("Transpose", [value], perm=[0, 3, 4, 1, 5, 2])
    return _shape(part, value, 1, len(letters), height, width)


def mosaic_weights(order: str, letters: str) -> Weights:
    """Return the kernel (4 x letters, 4, 3, 3): a colour of a pixel is its own value, or the mean of its nearest
    neighbours of that colour."""
    weights: Weights = np.zeros((2, 2, len(letters), 4, 3, 3), np.float32)
    near = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for index, letter in enumerate(letters):
            sites = [step for step in near if order[(row + step[0]) % 2 * 2 + (column + step[1]) % 2] == letter]
            least = min(abs(down) + abs(right) for down, right in sites)
            sites = [(down, right) for down, right in sites if abs(down) + abs(right) == least]
            for down, right in sites:
                at = (row + down) % 2 * 2 + (column + right) % 2
                block = ((row + down) // 2 + 1, (column + right) // 2 + 1)
                weights[row, column, index, at, block[0], block[1]] += 1.0 / len(sites)
    return weights.reshape(-1, 4, 3, 3)


def turned(part: Part, value: str, pre: Preprocess) -> str:
    """Add nodes that rotate (clockwise) and then flip planes of the frame's size; return the name of their output."""
    if pre.rotate in (90, 270):
        value = part.add("Transpose", [value], perm=[0, 1, 3, 2])
    rows, columns = pre.upright
    upside_down = (pre.rotate in (180, 270)) != (pre.flip == "vertical")
    mirrored = (pre.rotate in (90, 180)) != (pre.flip == "horizontal")
    for wanted, axis, size in ((upside_down, 2, rows), (mirrored, 3, columns)):
        if wanted:
            backwards = part.constant("backwards", np.arange(size - 1, -1, -1, dtype=np.int64))
            value = part.add("Gather", [value, backwards], axis=axis)
    return value
