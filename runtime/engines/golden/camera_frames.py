"""Pictures from files as frames of a camera: in its encoding, as it would publish them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from runtime.contract.node.encodings import ENCODINGS, Encoding
from runtime.engines.errors import EngineError

Frame = npt.NDArray[np.uint8]

_TO_YUV = np.array([[0.257, 0.504, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]])
"""ITU-R BT.601 of limited range, from R, G, B."""
_YUV_ZERO = np.array([16.0, 128.0, 128.0])


def camera_frame(picture: Any, name: str) -> Frame:
    """Return a Pillow image as a frame (rows, columns, channels) of encoding ``name``.

    Raises EngineError ``calibration`` for depth, which no picture shows.
    """
    encoding = ENCODINGS[name]
    if encoding.depth:
        raise EngineError(
            "calibration",
            f"pictures are no distances, but the input's frames are {name}",
            "give an .npz file with frames as the camera gives them",
        )
    if not encoding.colour:
        grey = np.asarray(picture.convert("L"), np.uint8)[..., None]
        return grey if encoding.channels == 1 else np.repeat(grey, 2, axis=2)  # 255 is 65535: both bytes are the value
    return _MAKERS[encoding.kind](np.asarray(picture.convert("RGB"), np.uint8), encoding)


def resized(picture: Any, width: int, height: int) -> Any:
    """Return a picture of the camera's size (linear)."""
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _colours(rgb: Frame, encoding: Encoding) -> Frame:
    opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate((rgb, opaque), axis=2)[..., ["rgba".index(c) for c in encoding.order]])


def _mosaic(rgb: Frame, encoding: Encoding) -> Frame:
    found = np.empty((*rgb.shape[:2], 1), np.uint8)
    for index, letter in enumerate(encoding.order):
        row, column = divmod(index, 2)
        found[row::2, column::2, 0] = rgb[row::2, column::2, "rgb".index(letter)]
    return found


def _yuv(rgb: Frame) -> npt.NDArray[np.float64]:
    return np.asarray(rgb @ _TO_YUV.T + _YUV_ZERO)


def _bytes(values: npt.NDArray[Any]) -> Frame:
    result: Frame = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return result


def _yuv422(rgb: Frame, encoding: Encoding) -> Frame:
    yuv = _yuv(rgb)
    chroma = (yuv[:, 0::2, 1:] + yuv[:, 1::2, 1:]) / 2.0
    paired = np.empty((*rgb.shape[:2], 2))
    luma = 1 if encoding.kind == "uyvy" else 0
    paired[..., luma] = yuv[..., 0]
    paired[:, 0::2, 1 - luma], paired[:, 1::2, 1 - luma] = chroma[..., 0], chroma[..., 1]
    return _bytes(paired)


def _nv12(rgb: Frame, encoding: Encoding) -> Frame:
    del encoding
    yuv = _yuv(rgb)
    rows, columns = rgb.shape[:2]
    chroma = yuv[..., 1:].reshape(rows // 2, 2, columns // 2, 2, 2).mean(axis=(1, 3))
    return _bytes(np.concatenate((yuv[..., 0], chroma.reshape(rows // 2, columns))))[..., None]


_MAKERS: dict[str, Callable[[Frame, Encoding], Frame]] = {
    "colour": _colours,
    "bayer": _mosaic,
    "uyvy": _yuv422,
    "yuyv": _yuv422,
    "nv12": _nv12,
}
