"""Frames out of serialized messages: exactly the middleware's layout, and every misfit named."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.images import ImageAdapter
from runtime.executor.inputs.frames import Expected, FrameRefusedError, parse_image, pixels


def image(
    width: int = 4,
    height: int = 3,
    encoding: str = "rgb8",
    frame_id: str = "cam",
    step: int | None = None,
    order: str = "<",
) -> bytes:
    """A sensor_msgs/msg/Image in plain CDR, written field by field."""
    channels = 1 if encoding == "mono8" else 3
    step = width * channels if step is None else step
    body = struct.pack(order + "iI", 1_700_000_000, 42)

    def text(so_far: bytes, value: str) -> bytes:
        so_far += bytes(-len(so_far) % 4)
        raw = value.encode() + b"\0"
        return so_far + struct.pack(order + "I", len(raw)) + raw

    body = text(body, frame_id)
    body += bytes(-len(body) % 4) + struct.pack(order + "II", height, width)
    body = text(body, encoding) + b"\0"
    body += bytes(-len(body) % 4) + struct.pack(order + "II", step, step * height)
    body += bytes(index % 251 for index in range(step * height))
    return bytes([0, 1 if order == "<" else 0, 0, 0]) + body


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("frame_id", ["", "c", "cam", "camera", "camera_optical_frame"])
@pytest.mark.parametrize("encoding", ["rgb8", "mono8"])
def test_every_alignment_is_read(order: str, frame_id: str, encoding: str) -> None:
    frame = parse_image(image(encoding=encoding, frame_id=frame_id, order=order))
    assert (frame.stamp.sec, frame.stamp.nanosec, frame.stamp.frame_id) == (1_700_000_000, 42, frame_id)
    assert (frame.height, frame.width, frame.encoding) == (3, 4, encoding)
    assert frame.data[:5].tolist() == [0, 1, 2, 3, 4]
    assert frame.stamp.nanoseconds == 1_700_000_000_000_000_042


@pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency
def test_agrees_with_the_real_serializer() -> None:
    sensor_msgs = pytest.importorskip("sensor_msgs.msg")
    serialization = pytest.importorskip("rclpy.serialization")
    message = sensor_msgs.Image(height=2, width=2, step=6, encoding="rgb8", data=list(range(12)))
    message.header.frame_id = "camera_link"
    message.header.stamp.nanosec = 7
    frame = parse_image(serialization.serialize_message(message))
    assert frame.stamp.frame_id == "camera_link"
    assert frame.stamp.nanosec == 7
    assert pixels(frame, Expected("rgb8", 2, 2)).ravel().tolist() == list(range(12))


def test_rows_with_padding_are_cut() -> None:
    view = pixels(parse_image(image(width=4, height=2, step=16)), Expected("rgb8", 2, 4))
    assert view.shape == (2, 4, 3)
    assert view[1, 0].tolist() == [16, 17, 18]


@pytest.mark.parametrize("cut", [0, 3, 15, 20, 40, 60, 70])
def test_a_message_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(FrameRefusedError):
        parse_image(image()[:cut])


def test_a_huge_declared_size_is_refused() -> None:
    message = bytearray(image())
    struct.pack_into("<I", message, 12, 0xFFFFFFF0)
    with pytest.raises(FrameRefusedError, match="cut short or garbled"):
        parse_image(bytes(message))


def test_another_encapsulation_is_refused() -> None:
    with pytest.raises(FrameRefusedError, match="not a plain CDR"):
        parse_image(b"\x00\x07" + image()[2:])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image(encoding="bgr8"), "encoding 'bgr8', expected 'rgb8'"),
        (image(width=5), "5x3 pixels, expected 4x3"),
        (image(step=11), "step 11, but a row of 4 rgb8 pixels is 12 bytes"),
    ],
)
def test_a_misfit_says_both_sides(message: bytes, reason: str) -> None:
    with pytest.raises(FrameRefusedError, match=reason):
        pixels(parse_image(message), Expected("rgb8", 3, 4))


def test_less_data_than_declared_rows() -> None:
    frame = parse_image(image(height=3))
    short = frame._replace(data=np.zeros(30, np.uint8))
    with pytest.raises(FrameRefusedError, match="30 bytes of data, but step x height is 36"):
        pixels(short, Expected("rgb8", 3, 4))


CAMERAS = st.fixed_dictionaries(
    {
        "width": st.just(4),
        "height": st.just(3),
        "encoding": st.sampled_from(["rgb8", "bgr8"]),
        "frame_id": st.sampled_from(["", "cam", "camera_link"]),
        "step": st.sampled_from([12, 16]),
        "order": st.sampled_from("<>"),
    }
)


@given(cameras=st.lists(CAMERAS, min_size=2, max_size=6), seconds=st.lists(st.integers(0, 2**31 - 1), min_size=6))
def test_a_header_that_is_known_reads_as_one_that_is_parsed(cameras: list[dict], seconds: list[int]) -> None:
    adapter = ImageAdapter(InputBinding("image", "/camera", "sensor_msgs/msg/Image", "rgb8", 3, 4, 3, 4))
    for camera, sec in zip([each for each in cameras for _ in range(2)], seconds * 2, strict=False):
        raw = bytearray(image(**camera))
        struct.pack_into(camera["order"] + "i", raw, 4, sec)
        raw[-1] = sec % 256
        frame = parse_image(bytes(raw))
        try:
            wanted = pixels(frame, Expected("rgb8", 3, 4))
        except FrameRefusedError as error:
            with pytest.raises(FrameRefusedError, match=re.escape(str(error))):
                adapter.take(bytes(raw))
            continue
        found = adapter.take(bytes(raw))
        assert found.stamp == frame.stamp
        assert found.stamp is not None
        assert found.stamp.sec == sec
        np.testing.assert_array_equal(found.data, wanted)


def test_a_frame_cut_short_is_refused_though_its_header_is_known() -> None:
    adapter = ImageAdapter(InputBinding("image", "/camera", "sensor_msgs/msg/Image", "rgb8", 3, 4, 3, 4))
    whole = image()
    adapter.take(whole)
    assert adapter.take(whole).data.base is not None  # a view into the message
    for cut in (1, 12, len(whole) - 4):
        with pytest.raises(FrameRefusedError, match=r"cut short or garbled|not a plain CDR"):
            adapter.take(whole[:-cut])
