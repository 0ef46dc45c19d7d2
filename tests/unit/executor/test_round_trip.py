"""The round trip's pure parts: which image, whether it would prove anything, and what counts as having come back."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, RuntimeConfig
from runtime.executor.checks import round_trip
from runtime.executor.checks.round_trip import (
    FRAMES,
    REQUIRED,
    Arrivals,
    Cargo,
    Traveller,
    largest_image,
    no_proof,
    travel,
)
from runtime.health.process.round_trip import FAILED, PASSED, SKIPPED
from runtime.health.process.transport import PROFILE_VARIABLES

CARGO = Cargo(2, 3, "rgb8")
PIXELS = bytes(range(18))
IMAGE = "sensor_msgs/msg/Image"


def serialized(token: str, index: int, pixels: bytes) -> bytes:
    """An rgb8 Image in little-endian CDR."""
    frame_id = token.encode() + b"\0"
    body = struct.pack("<iII", 0, index, len(frame_id)) + frame_id
    body += bytes(-len(body) % 4) + struct.pack("<III", CARGO.height, CARGO.width, 5) + b"rgb8\0" + b"\0"
    body += bytes(-len(body) % 4) + struct.pack("<II", CARGO.width * 3, len(pixels)) + pixels
    return b"\0\1\0\0" + body


class Road:
    """Hands every frame back at once, unless told otherwise."""

    def __init__(self, arrivals: Arrivals, through: Callable[[int], bool] = lambda _: True) -> None:
        self._arrivals, self._through = arrivals, through

    def ready(self) -> bool:
        return True

    def send(self, index: int) -> None:
        if self._through(index):
            self._arrivals.take(serialized("mine", index, PIXELS))

    def close(self) -> None:
        pass


def config(*inputs: InputBinding) -> RuntimeConfig:
    return RuntimeConfig((ModelRuntime("m", "fp32", "sha256:k", inputs, ()),))


def image(height: int, width: int, encoding: str = "rgb8", kind: str = IMAGE) -> InputBinding:
    return InputBinding("x", "/camera", kind, encoding, height, width)


def test_the_largest_raw_image_travels() -> None:
    scan = InputBinding("s", "/scan", "sensor_msgs/msg/LaserScan", shape=(1, 360))
    compressed = image(4000, 4000, kind="sensor_msgs/msg/CompressedImage")
    found = largest_image(config(scan, image(480, 640), compressed, image(500, 640, "mono8")))
    assert found == Cargo(480, 640, "rgb8")
    assert (found.size, found.text) == (640 * 480 * 3, "640x480 rgb8")
    assert largest_image(config(scan, compressed)) is None


def test_a_trip_that_would_prove_nothing_is_not_made(tmp_path: Path) -> None:
    off, stock = tmp_path / "off.xml", tmp_path / "stock.xml"
    off.write_text("<intraprocess_delivery>OFF</intraprocess_delivery>")
    stock.write_text("<dds></dds>")
    both = dict.fromkeys(PROFILE_VARIABLES, str(off))
    assert no_proof(both, "rmw_fastrtps_cpp") == ""
    assert "rmw_zenoh_cpp may hand messages over" in no_proof(both, "rmw_zenoh_cpp")
    for other in ("", str(stock), str(tmp_path / "none.xml")):
        assert f"unless the profile in {PROFILE_VARIABLES[1]} has" in no_proof(
            {**both, PROFILE_VARIABLES[1]: other}, "rmw_fastrtps_cpp"
        )


def test_only_whole_frames_of_this_trip_count_and_each_once() -> None:
    arrivals = Arrivals("mine", PIXELS)
    for message in (
        serialized("mine", 1, PIXELS), serialized("mine", 1, PIXELS), serialized("other", 2, PIXELS),
        serialized("mine", 3, PIXELS[::-1]), serialized("mine", 4, PIXELS[:-1]),
        b"", serialized("mine", 5, PIXELS)[:-1],
    ):  # fmt: skip
        arrivals.take(message)
    assert arrivals.count == 1


@pytest.mark.parametrize("lost", [0, FRAMES - REQUIRED])
def test_a_trip_passes_with_the_required_share(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "FRAME_S", 0.0)
    monkeypatch.setattr(round_trip, "DEADLINE_S", 3600.0)
    arrivals = Arrivals("mine", PIXELS)
    result = travel(CARGO, Road(arrivals, lambda index: index >= lost), arrivals, threading.Event())
    assert (result.state, result.sent, result.arrived) == (PASSED, FRAMES, FRAMES - lost)
    assert (result.required, result.image, result.image_bytes) == (REQUIRED, "3x2 rgb8", 18)


def test_one_frame_less_fails_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "FRAME_S", 0.0)
    monkeypatch.setattr(round_trip, "DEADLINE_S", 1.0)
    arrivals = Arrivals("mine", PIXELS)
    result = travel(CARGO, Road(arrivals, lambda index: index > FRAMES - REQUIRED), arrivals, threading.Event())
    assert result.state == FAILED
    assert result.arrived < REQUIRED
    assert result.seconds >= 1.0


def test_a_subscriber_that_is_never_found_and_a_stop_end_the_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "DEADLINE_S", 0.1)
    arrivals = Arrivals("mine", PIXELS)
    road = Road(arrivals)
    monkeypatch.setattr(road, "ready", lambda: False)
    assert travel(CARGO, road, arrivals, threading.Event()).state == FAILED
    monkeypatch.setattr(round_trip, "DEADLINE_S", 3600.0)
    stop = threading.Event()
    stop.set()
    assert travel(CARGO, road, arrivals, stop).sent == 0


def test_what_ros_says_to_a_trip_is_reported_and_it_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    traveller = Traveller(None, config(image(2, 3)), threading.Event())
    assert not traveller.due(0.0)  # none was made

    def refuses() -> None:
        raise RuntimeError("no publisher")

    monkeypatch.setattr(traveller, "_go", refuses)
    found = traveller.go()
    assert (found.state, found.reason) == (FAILED, "RuntimeError: no publisher")
    assert traveller.due(0.0)
    assert not traveller.due(3600.0)


def test_without_images_there_is_no_trip_and_no_next_one() -> None:
    pytest.importorskip("rclpy")
    traveller = Traveller(None, config(), threading.Event())
    assert traveller.go().state == SKIPPED
    assert traveller.go().text == "not tested: no model takes raw images"
    assert not traveller.due(0.0)
