"""Real serialized CameraInfo messages: the matrices of the picture as it is published, or refused with the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.camera_info import CAMERA_INFO
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import adapter_for
from runtime.executor.inputs.frames import FrameRefusedError

sensor = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages (pip install jetfleet[ros])")
serialize: Callable[[Any], bytes] = pytest.importorskip("rclpy.serialization").serialize_message
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

K = [600.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
P = [600.0, 0.0, 320.0, -60.0, 0.0, 500.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
R = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
D = [0.1, -0.2, 0.001, 0.002, 0.03]


def info(**changes: Any) -> Any:
    message = sensor.CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=D, k=K, r=R, p=P)
    message.header.stamp.sec, message.header.frame_id = 7, "camera"
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def region(x: int, y: int, width: int, height: int) -> Any:
    return sensor.RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)


def wanted(count: int, **options: Any) -> InputBinding:
    return InputBinding("calibration", "/camera/camera_info", CAMERA_INFO, shape=(1, count), options=options)


def through(binding: InputBinding, message: Any) -> list[float]:
    adapter, tensor = adapter_for(binding), np.full(binding.shape, 77, np.float32)
    taken = adapter.take(serialize(message))
    assert taken.stamp is not None
    assert (taken.stamp.sec, taken.stamp.frame_id) == (7, "camera")
    adapter.fill(taken.data, tensor)
    return [round(float(value), 4) for value in tensor.ravel()]


def test_what_is_chosen_comes_in_that_order() -> None:
    assert through(wanted(9), info()) == K
    assert through(wanted(14, fields=["d", "k"]), info()) == [*D, *K]
    assert through(wanted(21, fields=["r", "p"]), info()) == [*R, *P]
    fisheye = info(distortion_model="equidistant", d=[0.1, 0.2, 0.3, 0.4])
    assert through(wanted(4, fields=["d"], distortion_model="equidistant"), fisheye) == [0.1, 0.2, 0.3, 0.4]


def test_k_is_for_the_picture_as_it_is_published() -> None:
    cropped = info(roi=region(100, 40, 400, 400))
    assert through(wanted(9), cropped) == [600.0, 0.0, 220.0, 0.0, 500.0, 200.0, 0.0, 0.0, 1.0]
    binned = info(binning_x=2, binning_y=4)
    assert through(wanted(9), binned) == [300.0, 0.0, 160.0, 0.0, 125.0, 60.0, 0.0, 0.0, 1.0]
    both = through(wanted(12, fields=["p"]), info(roi=region(100, 40, 400, 400), binning_x=2, binning_y=2))
    assert both == [300.0, 0.0, 110.0, -30.0, 0.0, 250.0, 100.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_k_is_scaled_to_another_size_whatever_region_and_binning_are() -> None:
    assert through(wanted(9, size=[320, 120]), info()) == [300.0, 0.0, 160.0, 0.0, 125.0, 60.0, 0.0, 0.0, 1.0]
    cropped = info(roi=region(100, 40, 400, 400), binning_x=2, binning_y=2)
    assert through(wanted(9, size=[200, 100]), cropped) == [300.0, 0.0, 110.0, 0.0, 125.0, 50.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "options", "kind", "said"),
    [
        ({"k": [0.0] * 9}, {}, "not_measured", "the camera is not calibrated: K begins with 0"),
        ({"k": [float("nan")] * 9}, {}, "not_finite", "not a finite float32"),
        ({"width": 0}, {"size": [320, 240]}, "size", "K cannot be scaled"),
        ({"distortion_model": "equidistant"}, {"fields": ["d"]}, "fields", "distortion_model is equidistant, expected"),
        ({"distortion_model": ""}, {"fields": ["d"]}, "fields", "distortion_model is empty, expected plumb_bob"),
        ({"d": []}, {"fields": ["d"]}, "size", "D has 0 numbers, plumb_bob has 5"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], options: dict[str, Any], kind: str, said: str) -> None:
    adapter = adapter_for(wanted(5 if options.get("fields") else 9, **options))
    with pytest.raises(FrameRefusedError, match=said) as caught:
        adapter.take(serialize(info(**changes)))
    assert caught.value.kind == kind


def test_a_message_that_is_cut_short_is_refused() -> None:
    adapter = adapter_for(wanted(9))
    whole = serialize(info())
    for end in (0, 3, 40, 100, 200, len(whole) - 20):
        with pytest.raises(FrameRefusedError):
            adapter.take(whole[:end])


@pytest.mark.parametrize(
    ("count", "options", "said"),
    [
        (8, {}, "the tensor takes 8 values, but k of a CameraInfo are 9"),
        (9, {"fields": ["k", "k"]}, "no field is named, or one twice"),
        (9, {"size": [320]}, "size is not a width and a height"),
        (9, {"fields": ["q"]}, "fields"),
    ],
)
def test_options_that_do_not_fit_are_named(count: int, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        adapter_for(wanted(count, **options))
