"""Every encoding comes to the numbers that NumPy gives, and turned as declared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from PIL import Image

from runtime.contract.engine.build import Preprocess, TensorSpec
from runtime.contract.node.encodings import ENCODINGS
from runtime.engines.errors import EngineError
from runtime.engines.golden.camera_frames import camera_frame
from runtime.engines.graph.preprocess import engine_input, preprocess_model

ROWS, COLUMNS = 12, 16
Planes = npt.NDArray[np.float64]


def graph(encoding: str, frame: np.ndarray, color: str = "rgb", rotate: int = 0, flip: str = "") -> np.ndarray:
    size = (COLUMNS, ROWS) if rotate in (90, 270) else (ROWS, COLUMNS)
    pre = Preprocess(ROWS, COLUMNS, encoding, color, "none", 1.0, (0.0,), (1.0,), rotate, flip)
    spec = TensorSpec("x", (1, 1 if color == "gray" else 3, *size), preprocess=pre)
    takes = engine_input(spec)
    assert (frame.shape, str(frame.dtype)) == (takes.shape[1:], takes.dtype)
    session = ort.InferenceSession(preprocess_model(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"frame": frame[None]})[0])[0]


def noise(encoding: str) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, ENCODINGS[encoding].shape(ROWS, COLUMNS)[1:], dtype=np.uint8)


def from_yuv(luma: Planes, u: Planes, v: Planes) -> Planes:
    y = 1.164 * (luma - 16.0)
    colours = (y + 1.596 * (v - 128.0), y - 0.391 * (u - 128.0) - 0.813 * (v - 128.0), y + 2.018 * (u - 128.0))
    return np.clip(np.stack(colours), 0.0, 255.0)


def demosaiced(frame: np.ndarray, order: str) -> Planes:
    """Pixel by pixel: its own colour, or the mean of the nearest neighbours of that colour."""
    padded = np.pad(frame[..., 0].astype(np.float64), 2, mode="reflect")
    found = np.zeros((3, ROWS, COLUMNS))
    for row in range(ROWS):
        for column in range(COLUMNS):
            for index, letter in enumerate("rgb"):
                for reach in (0, 1, 2):
                    near = [
                        padded[row + 2 + down, column + 2 + right]
                        for down in (-1, 0, 1)
                        for right in (-1, 0, 1)
                        if abs(down) + abs(right) == reach
                        and order[(row + down) % 2 * 2 + (column + right) % 2] == letter
                    ]
                    if near:
                        found[index, row, column] = np.mean(near)
                        break
    return found


def expected(encoding: str, frame: np.ndarray) -> Planes:
    """R, G, B by the definitions of sensor_msgs/image_encodings.hpp."""
    values = frame.astype(np.float64)
    if encoding in ("rgba8", "bgra8", "8UC3"):
        order = {"rgba8": [0, 1, 2], "bgra8": [2, 1, 0], "8UC3": [2, 1, 0]}[encoding]
        return values[..., order].transpose(2, 0, 1)
    if encoding == "mono16":
        return np.repeat((frame.view("<u2")[..., 0] / 257.0)[None], 3, axis=0)
    if encoding == "16UC1":
        return np.repeat(frame.view("<u2")[..., 0].astype(np.float64)[None], 3, axis=0)
    if encoding in ("yuv422", "yuv422_yuy2"):
        flat = values.reshape(ROWS, COLUMNS // 2, 4)
        u, y0, v, y1 = (flat[..., at] for at in ((0, 1, 2, 3) if encoding == "yuv422" else (1, 0, 3, 2)))
        luma = np.stack((y0, y1), axis=-1).reshape(ROWS, COLUMNS)
        return from_yuv(luma, np.repeat(u, 2, axis=1), np.repeat(v, 2, axis=1))
    if encoding == "nv12":
        pairs = values[ROWS:, :, 0].reshape(ROWS // 2, COLUMNS // 2, 2)
        u, v = (np.repeat(np.repeat(pairs[..., at], 2, axis=0), 2, axis=1) for at in (0, 1))
        return from_yuv(values[:ROWS, :, 0], u, v)
    return demosaiced(frame, encoding[6:10])


CONVERTED = [name for name in ENCODINGS if name not in ("rgb8", "bgr8", "mono8", "32FC1")]


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("encoding", CONVERTED)
def test_every_encoding_equals_numpy(encoding: str, color: str) -> None:
    frame = noise(encoding)
    rgb = expected(encoding, frame)
    single = not ENCODINGS[encoding].colour
    grey = rgb[:1] if single else np.tensordot([0.299, 0.587, 0.114], rgb, axes=1)[None]
    wanted = {"rgb": rgb, "bgr": rgb[::-1], "gray": grey}[color]
    np.testing.assert_allclose(graph(encoding, frame, color), wanted, atol=2e-3 if encoding != "16UC1" else 0.01)


def test_depth_of_floats_stays_as_it_is() -> None:
    frame = np.random.default_rng(6).random((ROWS, COLUMNS, 1), np.float32) * 10
    np.testing.assert_array_equal(graph("32FC1", frame, "gray")[0], frame[..., 0])


@pytest.mark.parametrize("flip", ["", "horizontal", "vertical"])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_frames_are_turned_clockwise_and_then_flipped(rotate: int, flip: str) -> None:
    frame = noise("rgb8")
    wanted = np.rot90(frame, -rotate // 90)
    wanted = {"": wanted, "horizontal": wanted[:, ::-1], "vertical": wanted[::-1]}[flip]
    np.testing.assert_array_equal(graph("rgb8", frame, "rgb", rotate, flip), wanted.transpose(2, 0, 1))


@pytest.mark.parametrize("encoding", [name for name, one in ENCODINGS.items() if not one.depth])
def test_a_picture_as_a_frame_of_any_camera_looks_the_same_to_the_model(encoding: str) -> None:
    across, down = np.meshgrid(np.linspace(30, 220, COLUMNS), np.linspace(40, 200, ROWS))
    rgb = np.stack((across, down, (across + down) / 2), axis=-1).astype(np.uint8)  # smooth: little is lost by chroma
    picture = Image.fromarray(rgb)
    wanted = rgb.transpose(2, 0, 1).astype(np.float64)
    if not ENCODINGS[encoding].colour:
        wanted = np.repeat(np.asarray(picture.convert("L"), np.float64)[None], 3, axis=0)
    found = graph(encoding, camera_frame(picture, encoding))
    assert np.abs(found - wanted)[:, 1:-1, 1:-1].max() < (14.0 if ENCODINGS[encoding].even else 0.01)
    assert np.abs(found - wanted)[:, 1:-1, 1:-1].mean() < 5.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(EngineError, match="must be even"):
        engine_input(TensorSpec("x", (1, 3, 8, 8), preprocess=Preprocess(7, 8, "nv12")))
    with pytest.raises(EngineError, match="rotate 45"):
        engine_input(TensorSpec("x", (1, 3, 8, 8), preprocess=Preprocess(8, 8, "rgb8", rotate=45)))
    with pytest.raises(EngineError, match="pictures are no distances"):
        camera_frame(Image.new("RGB", (8, 8)), "16UC1")
