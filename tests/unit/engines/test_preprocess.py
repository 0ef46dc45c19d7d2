"""The preprocessing in the graph gives what NumPy and Pillow give."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from runtime.contract.engine.build import TOP_LEFT, Preprocess, TensorSpec
from runtime.contract.node.encodings import ENCODINGS
from runtime.decoding.letterbox import PAD_VALUE, letterbox
from runtime.engines.errors import EngineError
from runtime.engines.graph.preprocess import engine_input, preprocess_model
from tests.unit.engines.models import frames

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def run(spec: TensorSpec, frame: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(preprocess_model(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"frame": frame})[0])


def resized(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Linear, half-pixel centres, edges repeated, float64."""

    def taps(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), at - low

    y0, y1, fy = taps(image.shape[0], rows)
    x0, x1, fx = taps(image.shape[1], columns)
    fy, fx = fy[:, None, None], fx[None, :, None]
    top = image[y0][:, x0] * (1 - fx) + image[y0][:, x1] * fx
    bottom = image[y1][:, x0] * (1 - fx) + image[y1][:, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def expected(pre: Preprocess, rows: int, columns: int, frame: np.ndarray) -> np.ndarray:
    """What :class:`Preprocess` promises, step by step, in float64."""
    image = frame[0].astype(np.float64)
    if pre.encoding == "bgr8":
        image = image[..., ::-1]
    if pre.encoding == "mono8" and pre.color != "gray":
        image = np.repeat(image, 3, axis=2)
    elif pre.encoding != "mono8" and pre.color == "gray":
        image = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    if pre.color == "bgr":
        image = image[..., ::-1]
    if pre.resize == "letterbox":
        scale = min(rows / pre.height, columns / pre.width)
        inner_rows, inner_columns = round(pre.height * scale), round(pre.width * scale)
        canvas = np.zeros((rows, columns, image.shape[2])) + np.array(pre.pad or PAD_VALUE)
        top, left = (rows - inner_rows) // 2, (columns - inner_columns) // 2
        if pre.place == TOP_LEFT:
            top = left = 0
        canvas[top : top + inner_rows, left : left + inner_columns] = resized(image, inner_rows, inner_columns)
        image = canvas
    elif pre.resize == "stretch":
        image = resized(image, rows, columns)
    image = (image * pre.scale - np.array(pre.mean)) / np.array(pre.std)
    return np.asarray(image.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize(
    ("resize", "tensor"),
    [
        ("none", (48, 64)),
        ("stretch", (31, 57)),
        ("stretch", (96, 160)),
        ("letterbox", (40, 40)),
        ("letterbox", (70, 150)),
    ],
)
def test_equals_numpy(encoding: str, color: str, resize: str, tensor: tuple[int, int]) -> None:
    channels = 1 if color == "gray" else 3
    mean, std = (MEAN, STD) if channels == 3 else ((0.5,), (0.25,))
    pre = Preprocess(48, 64, encoding, color, resize, 1 / 255, mean, std)
    frame = frames(1, size=(48, 64), channels=ENCODINGS[encoding].channels)
    got = run(TensorSpec("x", (1, channels, *tensor), preprocess=pre), frame)
    wanted = expected(pre, *tensor, frame)
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("place", ["", TOP_LEFT])
@pytest.mark.parametrize("pad", [(), (0.0, 0.0, 0.0), (104.0, 117.0, 123.0)])
@pytest.mark.parametrize("tensor", [(40, 40), (70, 150)])
def test_bars_of_any_colour_behind_a_frame_or_around_it(
    place: str, pad: tuple[float, ...], tensor: tuple[int, int]
) -> None:
    pre = Preprocess(48, 64, "rgb8", "bgr", "letterbox", 1 / 255, MEAN, STD, place=place, pad=pad)
    frame = frames(1, size=(48, 64))
    got = run(TensorSpec("x", (1, 3, *tensor), preprocess=pre), frame)
    wanted = expected(pre, *tensor, frame)
    np.testing.assert_allclose(got, wanted, atol=1e-3, rtol=0)
    corner = (np.array(pad or (PAD_VALUE,) * 3) / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(got[0, :, -1, -1], corner, atol=1e-5)


def test_an_unknown_place_is_refused() -> None:
    pre = Preprocess(48, 64, "rgb8", resize="letterbox", place="bottom")
    with pytest.raises(EngineError, match="input 'x': place 'bottom'"):
        engine_input(TensorSpec("x", (1, 3, 40, 40), preprocess=pre))


def test_a_real_camera_size_stays_within_a_thousandth() -> None:
    frame = frames(1, size=(720, 1280))
    pre = Preprocess(720, 1280, "rgb8", "bgr", "stretch", 1 / 255, MEAN, STD)
    got = run(TensorSpec("x", (1, 3, 288, 384), preprocess=pre), frame)
    np.testing.assert_allclose(got, expected(pre, 288, 384, frame), atol=1e-3, rtol=0)


def test_enlarging_equals_pillow() -> None:
    frame = frames(1, size=(24, 32), channels=1)
    pre = Preprocess(24, 32, "mono8", "gray", "stretch", 1.0, (0.0,), (1.0,))
    got = run(TensorSpec("x", (1, 1, 60, 96), preprocess=pre), frame)
    picture = Image.fromarray(frame[0, ..., 0].astype(np.float32)).resize((96, 60), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(got[0, 0], np.asarray(picture), atol=1e-3, rtol=0)


def test_scale_mean_and_deviation_are_one_multiplication_and_one_addition() -> None:
    pre = Preprocess(8, 8, "rgb8", "rgb", "none", 1 / 255, MEAN, STD)
    operators = [node.op_type for node in preprocess_model(TensorSpec("x", (1, 3, 8, 8), preprocess=pre)).graph.node]
    assert operators == ["Cast", "Transpose", "Mul", "Add"]


def test_default_mean_of_three_fits_a_gray_model() -> None:
    pre = Preprocess(8, 8, "mono8", "gray", "none")
    frame = np.full((1, 8, 8, 1), 51, np.uint8)
    np.testing.assert_allclose(run(TensorSpec("x", (1, 1, 8, 8), preprocess=pre), frame), 0.2, atol=1e-6)


def test_the_engine_takes_the_camera_s_bytes() -> None:
    spec = TensorSpec("x", (1, 3, 16, 16), preprocess=Preprocess(480, 640, "mono8"))
    assert engine_input(spec) == TensorSpec("x", (1, 480, 640, 1), "uint8", spec.preprocess)
    plain = TensorSpec("y", (1, 7))
    assert engine_input(plain) is plain


def test_letterbox_is_as_large_as_fits_and_centred() -> None:
    place = letterbox(480, 640, 320, 320)
    assert (place.height, place.width, place.top, place.left) == (240, 320, 40, 0)
    place = letterbox(640, 480, 320, 321)
    assert (place.height, place.width, place.top, place.left) == (320, 240, 0, 40)
    assert letterbox(1000, 10, 20, 20).width == 1


BASE = Preprocess(8, 8, "rgb8")


@pytest.mark.parametrize(
    ("shape", "change", "kind", "said"),
    [
        ((1, 3, 8, 8), {"encoding": "yuv444"}, "unsupported", "yuv444"),
        ((1, 3, 8, 8), {"color": "lab"}, "unsupported", "lab"),
        ((1, 1, 8, 8), {}, "bad-model", "[1, 3, 'H', 'W']"),
        ((2, 3, 8, 8), {}, "bad-model", "[2, 3, 8, 8]"),
        ((3, 8, 8), {}, "bad-model", "[3, 8, 8]"),
        ((1, 3, 9, 8), {"resize": "none"}, "bad-model", "8x8, the tensor 9x8"),
        ((1, 3, 8, 8), {"mean": (0.1, 0.2)}, "unsupported", "2 values for 3 channels"),
        ((1, 3, 8, 8), {"std": (0.1, 0.0, 0.2)}, "unsupported", "holds a zero"),
    ],
)
def test_what_cannot_fit_is_refused(shape: tuple[int, ...], change: dict[str, Any], kind: str, said: str) -> None:
    spec = TensorSpec("x", shape, preprocess=dataclasses.replace(BASE, **change))
    with pytest.raises(EngineError) as caught:
        preprocess_model(spec)
    assert caught.value.kind == kind
    assert said in caught.value.message
    assert caught.value.hint
