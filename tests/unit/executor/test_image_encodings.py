"""Real serialized images of every encoding: what a camera publishes is what the engine gets, or is refused by name."""

from __future__ import annotations

import array
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.inputs import COMPRESSED_IMAGE, IMAGE
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import adapter_for, tensor_of
from runtime.executor.inputs.frames import FrameRefusedError

sensor = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages (pip install jetfleet[ros])")
serialize: Callable[[Any], bytes] = pytest.importorskip("rclpy.serialization").serialize_message

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

ROWS, COLUMNS = 6, 8
INF, NAN = float("inf"), float("nan")


def wanted(encoding: str, kind: str = IMAGE, rows: int = ROWS, columns: int = COLUMNS, **options: Any) -> InputBinding:
    return InputBinding("x", "/camera", kind, encoding, rows, columns, options=options)


def image(encoding: str, rows: np.ndarray, padding: int = 0, big: bool = False, said: str = "") -> Any:
    """``rows``: bytes by row."""
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    message = sensor.Image(height=ROWS, width=COLUMNS, encoding=said or encoding, is_bigendian=int(big))
    message.step, message.data = padded.shape[1], array.array("B", padded.tobytes())
    return message


def filled(binding: InputBinding, *messages: Any) -> np.ndarray:
    adapter = adapter_for(binding)
    dtype, shape = tensor_of(binding)
    tensor = np.full(shape, 77, dtype)
    for message in messages:
        adapter.fill(adapter.take(serialize(message)).data, tensor)
    return tensor[0]


def refusal(binding: InputBinding, message: Any) -> tuple[str, str]:
    with pytest.raises(FrameRefusedError) as caught:
        filled(binding, message)
    return caught.value.kind, str(caught.value)


def frame_bytes(encoding: str) -> np.ndarray:
    one = ENCODINGS[encoding]
    size = (one.rows(ROWS), COLUMNS * one.pixel_bytes)
    return np.random.default_rng(3).integers(0, 120, size, dtype=np.uint8)  # as floats: finite


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_the_engine_gets_the_camera_s_bytes(encoding: str, padding: int) -> None:
    data = frame_bytes(encoding)
    message = image(encoding, data, padding)
    tensor = filled(wanted(encoding), message, message)  # the second one goes by the header of the first
    assert tensor.tobytes() == data.tobytes()


@pytest.mark.parametrize(("encoding", "form"), [("mono16", "u2"), ("16UC1", "u2"), ("32FC1", "f4")])
def test_both_byte_orders_of_values_of_more_than_one_byte(encoding: str, form: str) -> None:
    values = np.arange(1, ROWS * COLUMNS + 1).reshape(ROWS, COLUMNS) * 300
    got = [
        filled(wanted(encoding), image(encoding, np.frombuffer(values.astype(order + form).tobytes(), np.uint8)
                                       .reshape(ROWS, -1), 3, order == ">"))
        for order in "<>"
    ]  # fmt: skip
    for tensor in got:
        np.testing.assert_array_equal(tensor.view("<u2" if form == "u2" else "<f4")[..., 0], values)


@pytest.mark.parametrize(("encoding", "said"), [("yuv422", "uyvy"), ("yuv422_yuy2", "yuyv"), ("mono8", "8UC1")])
def test_other_names_of_the_same_bytes_are_taken(encoding: str, said: str) -> None:
    assert filled(wanted(encoding), image(encoding, frame_bytes(encoding), said=said)).tobytes()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("bgra8", "declare encoding: bgra8 for this input, or set the driver to rgb8"),
        ("uyvy", "declare encoding: yuv422 for this input"),
        ("8UC1", "declare encoding: mono8 for this input"),
        ("RGB8", "the driver means rgb8: correct its encoding"),
        ("", "the driver names no encoding: correct it"),
        ("rgb16", "set the driver to rgb8"),
    ],
)
def test_another_encoding_is_refused_with_what_to_do(said: str, hint: str) -> None:
    message = image("rgb8", frame_bytes("rgb8"))
    message.encoding = said
    kind, says = refusal(wanted("rgb8"), message)
    assert kind == "encoding"
    assert f"encoding {said!r}, expected 'rgb8': {hint}" in says


def test_too_few_rows_of_chroma_are_refused() -> None:
    message = image("nv12", frame_bytes("nv12"))
    message.data = message.data[: COLUMNS * ROWS]
    assert refusal(wanted("nv12"), message)[0] == "size"
    with pytest.raises(OptionError, match="must be even"):
        adapter_for(wanted("nv12", rows=7))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.0, 0.0, 0.0, 0.0, 0.0, 2.5]),
        ({"max_range": 2.0}, [0.0, 2.0, 0.0, 0.0, 0.0, 2.0]),
        ({"max_range": 4.0, "invalid": "max"}, [4.0, 4.0, 0.0, 0.0, 0.0, 2.5]),
    ],
)
def test_distances_that_are_none_become_what_is_declared(options: dict[str, Any], expected: list[float]) -> None:
    values = np.full((ROWS, COLUMNS), 1.0, "<f4")
    values[0, :6] = [NAN, INF, -INF, -0.5, 0.0, 2.5]
    message = image("32FC1", values.view(np.uint8).reshape(ROWS, -1))
    assert filled(wanted("32FC1", **options), message)[0, :6, 0].tolist() == expected
    assert refusal(wanted("32FC1", invalid="drop"), message) == (
        "not_finite", "1 of 48 distances are no measurements",
    )  # fmt: skip


def test_millimetres_that_are_none_become_what_is_declared() -> None:
    values = np.full((ROWS, COLUMNS), 1000, "<u2")
    values[0, :2] = [0, 9000]
    message = image("16UC1", values.view(np.uint8).reshape(ROWS, -1))
    for options, expected in (({}, [0, 9000]), ({"max_range": 5000}, [0, 5000]),
                              ({"max_range": 5000, "invalid": "max"}, [5000, 5000])):  # fmt: skip
        assert filled(wanted("16UC1", **options), message).view("<u2")[0, :2, 0].tolist() == expected
    assert refusal(wanted("16UC1", invalid="drop"), message)[0] == "not_finite"
    with pytest.raises(OptionError, match="invalid: max needs max_range"):
        adapter_for(wanted("16UC1", invalid="max"))
    with pytest.raises(OptionError, match="are for distances, but frames are rgb8"):
        adapter_for(wanted("rgb8", max_range=5.0))


def compressed(form: str, data: bytes) -> Any:
    return sensor.CompressedImage(format=form, data=array.array("B", data))


def png16(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(values.astype(np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def test_pngs_of_16_bits_and_compressed_depth() -> None:
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 1000 % 65536
    for encoding in ("mono16", "16UC1"):
        tensor = filled(wanted(encoding, COMPRESSED_IMAGE), compressed(f"{encoding}; png compressed", png16(values)))
        np.testing.assert_array_equal(tensor.view("<u2")[..., 0], values)
    header = struct.pack("<iff", 0, 0.0, 0.0)
    message = compressed("16UC1; compressedDepth png", header + png16(values))
    np.testing.assert_array_equal(filled(wanted("16UC1", COMPRESSED_IMAGE), message).view("<u2")[..., 0], values)
    assert "declare encoding: 16UC1" in refusal(wanted("32FC1", COMPRESSED_IMAGE), message)[1]
    assert refusal(wanted("16UC1", COMPRESSED_IMAGE), compressed("16UC1; compressedDepth rvl", header + b"123456789"))[
        1
    ].endswith("set the driver's format to png")


def test_inverse_distances_of_compressed_depth() -> None:
    metres = np.linspace(0.5, 8.0, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    first, second = (
        100.0 * 101.0,
        1.0 - 101.0 / 10.0,
    )  # depth_quantization 100, depth_max 10, as in the plugin's encoder
    packed = np.rint(first / metres + second)
    packed[0, 0] = 0
    message = compressed("32FC1; compressedDepth png", struct.pack("<iff", 0, first, second) + png16(packed))
    tensor = filled(wanted("32FC1", COMPRESSED_IMAGE), message)[..., 0]
    assert tensor[0, 0] == 0.0
    np.testing.assert_allclose(tensor.ravel()[1:], metres.ravel()[1:], rtol=5e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_where_it_is_declared(orientation: int) -> None:
    rows, columns = (16, 24) if orientation < 5 else (24, 16)
    upright = np.zeros((rows, columns, 3), np.uint8)
    upright[: rows // 2, : columns // 2] = 255  # the upper left corner is white
    undo = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    stored = Picture.fromarray(upright)
    for step in undo:
        stored = stored.transpose(Picture.Transpose(step))
    stream, tags = io.BytesIO(), Picture.Exif()
    tags[0x0112] = orientation
    stored.save(stream, "JPEG", quality=95, exif=tags.tobytes())
    message = compressed("jpeg", stream.getvalue())
    turned = filled(wanted("rgb8", COMPRESSED_IMAGE, rows, columns, exif=True), message)
    assert np.abs(turned.astype(int) - upright).mean() < 8
    if orientation > 4:
        assert refusal(wanted("rgb8", COMPRESSED_IMAGE, rows, columns), message)[0] == "size"
