"""From real serialized messages to tensors, and every misfit named. Byte orders by messages written field by field."""

from __future__ import annotations

import array
import contextlib
import gc
import io
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.inputs import COMPRESSED_IMAGE, IMAGE, IMU, LASER_SCAN, POINT_CLOUD, TWIST, TWIST_STAMPED
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import InputAdapter, adapter_for, tensor_of
from runtime.executor.inputs.adapters.cloud import MAX_POINTS
from runtime.executor.inputs.frames import FrameRefusedError

sensor = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages (pip install jetfleet[ros])")
geometry = pytest.importorskip("geometry_msgs.msg")
serialize: Callable[[Any], bytes] = pytest.importorskip("rclpy.serialization").serialize_message

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

INF, NAN = float("inf"), float("nan")


def binding(
    kind: str, *shape: int, encoding: str = "", width: int = 0, height: int = 0, **options: Any
) -> InputBinding:
    return InputBinding("x", "/in", kind, encoding, height, width, shape=shape, options=options)


def filled(adapter: InputAdapter, message: bytes, wanted: InputBinding) -> np.ndarray:
    dtype, shape = tensor_of(wanted)
    tensor = np.full(shape, 77, dtype)
    adapter.fill(adapter.take(message).data, tensor)
    return tensor


def through(wanted: InputBinding, message: Any) -> np.ndarray:
    return filled(adapter_for(wanted), message if isinstance(message, bytes) else serialize(message), wanted)


def refusal(wanted: InputBinding, message: Any) -> tuple[str, str]:
    with pytest.raises(FrameRefusedError) as caught:
        through(wanted, message)
    return caught.value.kind, str(caught.value)


def stamped(message: Any, frame_id: str = "lidar_link") -> Any:
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 34
    return message


# ── laser scans ──


def scan(*ranges: float, low: float = 0.5, high: float = 10.0, frame_id: str = "lidar_link") -> Any:
    message = sensor.LaserScan(range_min=low, range_max=high, ranges=list(ranges), intensities=[1.0])
    return stamped(message, frame_id)


@pytest.mark.parametrize(
    ("invalid", "expected"),
    [("max", [1.0, 10.0, 10.0, 0.5, 10.0, 10.0]), ("zero", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0])],
)
@pytest.mark.parametrize("frame_id", ["", "l", "lidar", "lidar_link"])
def test_a_scan_and_what_is_no_measurement(invalid: str, expected: list[float], frame_id: str) -> None:
    wanted = binding(LASER_SCAN, 1, 6, invalid=invalid)
    message = scan(1.0, NAN, INF, -INF, 0.1, 11.0, frame_id=frame_id)
    assert through(wanted, message).tolist() == [expected]
    stamp = adapter_for(wanted).take(serialize(message)).stamp
    assert stamp is not None
    assert (stamp.sec, stamp.nanosec, stamp.frame_id) == (12, 34, frame_id)


def test_a_scan_may_be_refused_for_what_is_no_measurement() -> None:
    wanted = binding(LASER_SCAN, 1, 3, invalid="drop")
    assert through(wanted, scan(1.0, 2.0, 3.0)).tolist() == [[1.0, 2.0, 3.0]]
    assert refusal(wanted, scan(1.0, NAN, INF)) == ("not_finite", "2 of 3 ranges are not valid measurements")


def test_a_scan_that_does_not_fit() -> None:
    wanted = binding(LASER_SCAN, 1, 3)
    assert refusal(wanted, scan(1.0, 2.0)) == (
        "size", ("2 ranges, expected 3: set the driver to a fixed number of beams, or declare "
                "options: {angles: [first, last], resample: nearest}"),
    )  # fmt: skip
    assert refusal(wanted, scan(1.0, 2.0, 3.0, low=NAN))[0] == "limits"
    assert refusal(wanted, scan(1.0, 2.0, 3.0, low=5.0, high=5.0))[0] == "limits"


def test_a_scan_in_the_other_byte_order() -> None:
    body = struct.pack(">iII", 12, 34, 2) + b"l\0\0\0" + struct.pack(">7f", 0, 0, 0, 0, 0, 0.5, 10)
    message = b"\0\0\0\0" + body + struct.pack(">I3fI", 3, 1.0, INF, 2.0, 0)
    assert through(binding(LASER_SCAN, 1, 3), message).tolist() == [[1.0, 10.0, 2.0]]


def turned_scan(first: float, step: float, *ranges: float, **limits: float) -> Any:
    message = scan(*ranges, **limits)
    message.angle_min, message.angle_increment = first, step
    message.angle_max = first + step * (len(ranges) - 1)
    return message


def test_a_scan_whose_angles_fall_is_refused_with_the_cure() -> None:
    kind, said = refusal(binding(LASER_SCAN, 1, 3), turned_scan(1.0, -1.0, 1.0, 2.0, 3.0))
    assert kind == "angles"
    assert "the angles fall from 1 to -1 rad; declare options: {angles: [-1, 1]} to have the beams turned" in said


@pytest.mark.parametrize(
    ("angles", "first", "step", "expected"),
    [
        ([-1.0, 1.0], -1.0, 1.0, [1.0, 2.0, 3.0]),
        ([-1.0, 1.0], 1.0, -1.0, [3.0, 2.0, 1.0]),  # turned
        ([1.0, -1.0], 1.0, -1.0, [1.0, 2.0, 3.0]),  # the model was trained on falling angles
        ([1.0, -1.0], -1.0, 1.0, [3.0, 2.0, 1.0]),
        ([-1.0, 1.0], -0.9, 1.0, [1.0, 2.0, 3.0]),  # within half a beam
        ([-1.0, 1.0], 0.0, 1.0, None),  # starts elsewhere
        ([-1.0, 1.0], -0.5, 0.5, None),  # half of the view
        ([-1.0, 1.0], -1.0, 0.0, None),
        ([-1.0, 1.0], NAN, 1.0, None),
    ],
)
def test_declared_angles_hold(angles: list[float], first: float, step: float, expected: list[float] | None) -> None:
    wanted = binding(LASER_SCAN, 1, 3, angles=angles)
    message = turned_scan(first, step, 1.0, 2.0, 3.0)
    if expected is None:
        kind, said = refusal(wanted, message)
        assert kind == "angles"
        assert f"expected {angles[0]:.4g} to {angles[1]:.4g}: set the driver's angles" in said
    else:
        assert through(wanted, message).tolist() == [expected]


def resampled(count: int, first: float, step: float, size: int, how: str, ranges: np.ndarray) -> np.ndarray:
    wanted = binding(LASER_SCAN, 1, size, angles=[-np.pi, np.pi - 2 * np.pi / size], resample=how)
    return through(wanted, turned_scan(first, step, *map(float, ranges[:count])))[0]


@pytest.mark.parametrize("first", [-np.pi, 0.0, 1.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("count", [3181, 3200, 3208])
def test_a_scan_of_any_number_of_beams_gives_the_declared_ones_by_angle(count: int, sign: float, first: float) -> None:
    step = sign * 2 * np.pi / count
    angles = first + step * np.arange(count)
    ranges = (5.0 + 4.0 * np.sin(angles)).astype(np.float32)  # a room that looks different in every direction
    wanted = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    found = resampled(count, first, step, 360, "nearest", ranges)
    np.testing.assert_allclose(found, 5.0 + 4.0 * np.sin(wanted), atol=4.0 * abs(step) * 0.51 + 1e-3)


def test_the_closest_of_the_beams_around_is_not_lost_between_declared_ones() -> None:
    ranges = np.full(3200, 9.0, np.float32)
    ranges[[1604, 10]], ranges[20] = (1.5, NAN), -INF  # a table's leg, nothing measured, something too close
    step = 2 * np.pi / 3200
    assert resampled(3200, -np.pi, step, 360, "nearest", ranges).min() == 9.0
    found = resampled(3200, -np.pi, step, 360, "closest", ranges)
    assert np.flatnonzero(found < 9.0).tolist() == [2, 180]
    assert found[[2, 180]].tolist() == [0.5, 1.5]  # too close: range_min


def test_angles_that_a_scan_leaves_out_are_refused() -> None:
    wanted = binding(LASER_SCAN, 1, 90, angles=[-1.0, 1.0], resample="nearest")
    kind, says = refusal(wanted, turned_scan(-0.5, 0.01, *[1.0] * 101))
    assert kind == "angles"
    assert "leave out -1 rad" in says
    assert refusal(wanted, turned_scan(-1.0, 0.0, *[1.0] * 101))[0] == "angles"
    with pytest.raises(OptionError, match="needs the angles"):
        adapter_for(binding(LASER_SCAN, 1, 90, resample="nearest"))
    with pytest.raises(OptionError, match="not degrees"):
        adapter_for(binding(LASER_SCAN, 1, 90, angles=[-8.0, 8.0], resample="nearest"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_range": 8}, [1.0, 8.0, 8.0]),
        ({"invalid": "zero"}, [1.0, 0.0, 9.0]),
        ({"invalid": "zero", "max_range": 8}, [1.0, 0.0, 0.0]),
    ],
)
def test_an_infinite_range_max_with_what_stands_for_it(options: dict[str, Any], expected: list[float]) -> None:
    assert through(binding(LASER_SCAN, 1, 3, **options), scan(1.0, INF, 9.0, high=INF)).tolist() == [expected]


@pytest.mark.parametrize("high", [INF, float(np.finfo(np.float32).max), 1e6])
def test_a_range_max_that_bounds_nothing_needs_something_that_stands_for_it(high: float) -> None:
    kind, said = refusal(binding(LASER_SCAN, 1, 3), scan(1.0, INF, 9.0, high=high))
    assert kind == "limits"
    assert f"range_max is {np.float32(high):g} m, so there is no value for a beam without a measurement" in said
    assert "{max_range: 30}" in said
    assert refusal(binding(LASER_SCAN, 1, 3, invalid="drop"), scan(1.0, INF, 9.0, high=INF))[0] == "not_finite"
    assert refusal(binding(LASER_SCAN, 1, 3, max_range=8), scan(1.0, 2.0, 9.0, high=NAN))[0] == "limits"


# ── Imu and Twist ──


def test_a_zero_quaternion_is_no_orientation() -> None:
    message = imu()
    message.orientation.x = message.orientation.y = message.orientation.z = message.orientation.w = 0.0
    kind, said = refusal(binding(IMU, 1, 10), message)
    assert kind == "not_measured"
    assert "zero quaternion" in said
    assert through(binding(IMU, 1, 6), message).shape == (1, 6)


def imu() -> Any:
    message = stamped(sensor.Imu(), "imu")
    for group, names, first in (("orientation", "xyzw", 1), ("angular_velocity", "xyz", 5)):
        for offset, name in enumerate(names):
            setattr(getattr(message, group), name, float(first + offset))
    for offset, name in enumerate("xyz"):
        setattr(message.linear_acceleration, name, float(8 + offset))
    return message


def test_an_imu_in_its_documented_order() -> None:
    assert through(binding(IMU, 1, 10), imu()).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
    assert through(binding(IMU, 1, 6), imu()).tolist() == [[5, 6, 7, 8, 9, 10]]
    chosen = binding(IMU, 1, 2, fields=["linear_acceleration.z", "orientation.w"])
    assert through(chosen, imu()).tolist() == [[10, 4]]


def test_an_imu_that_does_not_measure_what_is_asked_for() -> None:
    message = imu()
    message.orientation_covariance[0] = -1.0
    assert refusal(binding(IMU, 1, 10), message)[0] == "not_measured"
    assert through(binding(IMU, 1, 6), message).shape == (1, 6)


@pytest.mark.parametrize("value", [NAN, INF, 1e39])
def test_an_imu_with_a_number_that_is_none(value: float) -> None:
    message = imu()
    message.angular_velocity.y = value
    assert refusal(binding(IMU, 1, 10), message) == ("not_finite", "angular_velocity.y is not a finite float32")
    assert through(binding(IMU, 1, 1, fields=["orientation.x"]), message).tolist() == [[1.0]]


def test_twists() -> None:
    message = geometry.Twist()
    message.linear.x, message.angular.z = 0.5, -1.5
    assert through(binding(TWIST, 1, 6), message).tolist() == [[0.5, 0, 0, 0, 0, -1.5]]
    assert adapter_for(binding(TWIST, 1, 6)).take(serialize(message)).stamp is None
    with_stamp = stamped(geometry.TwistStamped(twist=message), "base_link")
    chosen = binding(TWIST_STAMPED, 1, 2, fields=["angular.z", "linear.x"])
    assert through(chosen, with_stamp).tolist() == [[-1.5, 0.5]]
    assert adapter_for(chosen).take(serialize(with_stamp)).stamp is not None


# ── point clouds ──

FIELDS = (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 4))  # the last one is uint16


def cloud(points: list[tuple[float, ...]], height: int = 1, big: bool = False, row_padding: int = 0) -> Any:
    order = ">" if big else "<"
    width = len(points) // height
    rows = [
        b"".join(struct.pack(order + "fffH2x", *point) for point in points[row * width : (row + 1) * width])
        for row in range(height)
    ]
    message = stamped(sensor.PointCloud2(height=height, width=width, is_bigendian=big, point_step=16))
    message.fields = [sensor.PointField(name=name, offset=at, datatype=kind, count=1) for name, at, kind in FIELDS]
    message.row_step = 16 * width + row_padding
    message.data = array.array("B", (b"\xee" * row_padding).join(rows))
    return message


POINTS = [(1.0, 2.0, 3.0, 9), (4.0, 5.0, 6.0, 8), (7.0, 8.0, 9.0, 7), (10.0, 11.0, 12.0, 6)]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("height", "padding"), [(1, 0), (2, 0), (2, 7)])
def test_a_cloud_organised_or_not_in_both_byte_orders(big: bool, height: int, padding: int) -> None:
    wanted = binding(POINT_CLOUD, 1, 4, 2, fields=["z", "intensity"])
    found = through(wanted, cloud(POINTS, height, big, padding))
    assert found.tolist() == [[[3, 9], [6, 8], [9, 7], [12, 6]]]


def test_fields_first() -> None:
    wanted = binding(POINT_CLOUD, 1, 3, 4, layout="fields_first")
    assert through(wanted, cloud(POINTS)).tolist() == [[[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]]


@pytest.mark.parametrize(("padding", "rest"), [("zero", [0, 0]), ("repeat", [1, 4])])
def test_too_few_points(padding: str, rest: list[float]) -> None:
    wanted = binding(POINT_CLOUD, 1, 6, 1, fields=["x"], padding=padding)
    assert through(wanted, cloud(POINTS)).ravel().tolist() == [1, 4, 7, 10, *rest]
    assert through(wanted, cloud([])).ravel().tolist() == [0] * 6


@pytest.mark.parametrize(("too_many", "expected"), [("spread", [1, 7]), ("first", [1, 4])])
def test_too_many_points(too_many: str, expected: list[float]) -> None:
    wanted = binding(POINT_CLOUD, 1, 2, 1, fields=["x"], too_many=too_many)
    assert through(wanted, cloud(POINTS)).ravel().tolist() == expected


def test_too_many_points_may_be_refused() -> None:
    wanted = binding(POINT_CLOUD, 1, 2, 1, fields=["x"], too_many="drop")
    assert refusal(wanted, cloud(POINTS)) == ("size", "4 points, at most 2 are expected")


def test_points_that_are_none_are_left_out() -> None:
    points = [POINTS[0], (NAN, 0.0, 0.0, 1), (0.0, INF, 0.0, 1), POINTS[3]]
    wanted = binding(POINT_CLOUD, 1, 3, 3)
    assert through(wanted, cloud(points, height=2)).tolist() == [[[1, 2, 3], [10, 11, 12], [0, 0, 0]]]


def test_a_larger_cloud_after_a_smaller_one() -> None:
    wanted = binding(POINT_CLOUD, 1, 2, 1, fields=["x"])
    adapter = adapter_for(wanted)
    many = [(float(index), 0.0, 0.0, 0) for index in range(1000)]
    for points, expected in ((POINTS[:1], [1, 0]), (many, [0, 500]), (POINTS, [1, 7])):
        assert filled(adapter, serialize(cloud(points)), wanted).ravel().tolist() == expected


def test_a_cloud_that_does_not_fit() -> None:
    wanted = binding(POINT_CLOUD, 1, 4, 1, fields=["ring"])
    assert refusal(wanted, cloud(POINTS)) == ("fields", "no field 'ring': the cloud has x, y, z, intensity")
    wanted = binding(POINT_CLOUD, 1, 4, 3)
    short = cloud(POINTS)
    short.data = short.data[:-1]
    assert refusal(wanted, short)[0] == "size"
    overlapping = cloud(POINTS)
    overlapping.row_step = 8
    assert refusal(wanted, overlapping)[0] == "size"
    outside = cloud(POINTS)
    outside.fields[2].offset = 13
    assert refusal(wanted, outside)[0] == "fields"
    huge = cloud(POINTS)
    huge.height, huge.width = 1 << 16, MAX_POINTS
    assert refusal(wanted, huge)[0] == "size"


def coloured(name: str, datatype: int, *, big: bool = False, row_step: int = 0) -> Any:
    """x, y, z and a packed colour at 16, in points of 20 bytes; one row, whose length some drivers leave 0."""
    order = ">" if big else "<"
    colours = [(10, 20, 30, 255), (127, 128, 129, 255), (255, 0, 200, 128), (0, 0, 0, 0)]  # NaN as floats, some
    points = [
        struct.pack(order + "fff4xI", 1.0, 2.0, 3.0, alpha << 24 | red << 16 | green << 8 | blue)
        for red, green, blue, alpha in colours
    ]
    message = stamped(sensor.PointCloud2(height=1, width=4, is_bigendian=big, point_step=20, row_step=row_step))
    message.fields = [
        sensor.PointField(name=each, offset=at, datatype=kind, count=1)
        for each, at, kind in (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), (name, 16, datatype))
    ]
    message.data = array.array("B", b"".join(points))
    return message


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("name", "datatype"), [("rgb", 7), ("rgb", 6), ("rgba", 6), ("rgba", 5)])
def test_a_packed_colour_comes_in_its_parts(name: str, datatype: int, big: bool) -> None:
    wanted = binding(POINT_CLOUD, 1, 4, 4, fields=["x", "r", "g", "b"])
    found = through(wanted, coloured(name, datatype, big=big))
    assert found.tolist() == [[[1, 10, 20, 30], [1, 127, 128, 129], [1, 255, 0, 200], [1, 0, 0, 0]]]


def test_alpha_is_of_rgba_alone_and_a_colour_of_other_datatypes_is_none() -> None:
    wanted = binding(POINT_CLOUD, 1, 4, 1, fields=["a"])
    assert through(wanted, coloured("rgba", 6)).ravel().tolist() == [255, 255, 128, 0]
    assert refusal(wanted, coloured("rgb", 7)) == ("fields", "no field 'a': the cloud has x, y, z, rgb")
    assert refusal(binding(POINT_CLOUD, 1, 4, 1, fields=["r"]), coloured("rgb", 8))[0] == "fields"


# ── compressed images ──


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_a_png_of_16_bits_is_refused_and_not_clipped_to_white(encoding: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pillow.fromarray(np.array([[0, 255, 256], [2308, 10000, 65535]], np.uint16)).save(stream, "PNG")
    message = sensor.CompressedImage(format="16UC1; png compressed ", data=array.array("B", stream.getvalue()))
    kind, said = refusal(binding(COMPRESSED_IMAGE, encoding=encoding, width=3, height=2), stamped(message))
    assert kind == "encoding"
    assert "is a PNG of 16 bits a channel, 8 are expected: publish it as 8 bits" in said


def compressed(size: tuple[int, int] = (8, 6), form: str = "jpeg", mode: str = "RGB", **save: Any) -> Any:
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pillow.new(mode, size, (250, 10, 10) if mode == "RGB" else 100).save(stream, form, **save)
    return stamped(sensor.CompressedImage(format=form, data=array.array("B", stream.getvalue())), "camera")


@pytest.mark.parametrize("form", ["jpeg", "png"])
@pytest.mark.parametrize(("encoding", "first"), [("rgb8", [250, 10, 10]), ("bgr8", [10, 10, 250]), ("mono8", [82])])
def test_a_compressed_image_is_decoded_to_the_encoding(form: str, encoding: str, first: list[int]) -> None:
    wanted = binding(COMPRESSED_IMAGE, encoding=encoding, width=8, height=6)
    found = through(wanted, compressed(form=form))
    assert found.shape == (1, 6, 8, len(first))
    assert np.abs(found[0, 3, 4].astype(int) - first).max() <= 4


def test_a_compressed_image_that_does_not_fit() -> None:
    wanted = binding(COMPRESSED_IMAGE, encoding="rgb8", width=8, height=6)
    assert refusal(wanted, compressed((9, 6))) == ("size", "9x6 pixels, expected 8x6")
    torn = compressed()
    torn.data = torn.data[: len(torn.data) // 2]
    assert refusal(wanted, torn)[0] == "undecodable"
    other = compressed()
    other.data = array.array("B", b"RIFF....WEBP")
    assert refusal(wanted, other)[0] == "encoding"
    other.data = array.array("B", b"")
    assert refusal(wanted, other) == ("encoding", "format 'jpeg' with bytes that begin nowhere, expected JPEG or PNG")


def test_without_pillow_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(OptionError, match="compressed images need Pillow, which is not installed here"):
        adapter_for(binding(COMPRESSED_IMAGE, encoding="rgb8", width=8, height=6))


# ── all of them ──

EVERY = [
    (binding(LASER_SCAN, 1, 3), lambda: scan(1.0, 2.0, 3.0)),
    (binding(IMU, 1, 10), imu),
    (binding(TWIST, 1, 6), geometry.Twist),
    (binding(TWIST_STAMPED, 1, 6), lambda: stamped(geometry.TwistStamped())),
    (binding(POINT_CLOUD, 1, 4, 3), lambda: cloud(POINTS)),
    (binding(COMPRESSED_IMAGE, encoding="rgb8", width=8, height=6), compressed),
    (
        binding(IMAGE, encoding="rgb8", width=2, height=2),
        lambda: stamped(sensor.Image(height=2, width=2, step=6, encoding="rgb8", data=[0] * 12)),
    ),
]
NAMES = [wanted.type.rpartition("/")[2] for wanted, _ in EVERY]


@pytest.mark.parametrize(("wanted", "make"), EVERY, ids=NAMES)
def test_a_message_cut_anywhere_is_refused_and_raises_nothing_else(wanted: InputBinding, make: Any) -> None:
    message = serialize(make())
    through(wanted, message)
    # Behind what is read there may be padding, or an array that nobody looks at (a scan's intensities).
    unread = {LASER_SCAN: 12, POINT_CLOUD: 4, COMPRESSED_IMAGE: 4, IMAGE: 4}.get(wanted.type, 0)
    for cut in range(len(message) - unread - 3):
        with pytest.raises(FrameRefusedError):
            through(wanted, message[:cut])


@pytest.mark.parametrize(("wanted", "make"), EVERY, ids=NAMES)
def test_garbage_in_any_byte_raises_nothing_but_a_refusal(wanted: InputBinding, make: Any) -> None:
    message = serialize(make())
    for index in range(min(len(message), 300)):
        for value in (0x00, 0x7F, 0xFF):
            garbled = message[:index] + bytes([value]) + message[index + 1 :]
            with contextlib.suppress(FrameRefusedError):
                through(wanted, garbled)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (binding(LASER_SCAN, 3), "does not begin with a batch of 1"),
        (binding(IMU, 1, 7), "takes 7 values, but sensor_msgs/msg/Imu gives 10 or 6"),
        (binding(TWIST, 1, 3, fields=["linear.x"]), "takes 3 values, but geometry_msgs/msg/Twist gives 1"),
        (binding(POINT_CLOUD, 1, 4, 4), "does not hold points of 3 fields"),
        (binding(LASER_SCAN, 1, 3, invalid="min"), "invalid is 'min'"),
        (binding(LASER_SCAN, 1, 3, angles=[1]), r"angles has 1 numbers: write angles: \[first, last\]"),
        (binding(POINT_CLOUD, 1, 4, 4, fields=["x", "y", "z", "rgb"]), r"rgb is a colour .*: \[x, y, z, r, g, b\]"),
        (binding("std_msgs/msg/String", 1, 3), "no input takes 'std_msgs/msg/String'"),
        (binding(IMAGE, encoding="yuv", width=1, height=1), "encoding 'yuv' is not one of"),
    ],
)
def test_an_input_that_cannot_be_made(wanted: InputBinding, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        adapter_for(wanted)


@pytest.mark.parametrize(
    ("wanted", "make"), [pair for pair in EVERY if pair[0].type != COMPRESSED_IMAGE], ids=lambda value: ""
)
def test_frames_leave_no_memory_behind(wanted: InputBinding, make: Any) -> None:
    message = serialize(make())
    adapter = adapter_for(wanted)
    dtype, shape = tensor_of(wanted)
    tensor = np.zeros(shape, dtype)

    def frames(count: int) -> None:
        for _ in range(count):
            adapter.fill(adapter.take(message).data, tensor)

    frames(50)
    gc.collect()
    tracemalloc.start()
    try:
        frames(10)
        before = tracemalloc.get_traced_memory()[0]
        frames(500)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 500  # less than a byte a frame
    finally:
        tracemalloc.stop()
