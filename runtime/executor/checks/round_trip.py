"""At the start an image of the largest size that a model takes goes through the node's transport and back.

A transport that is set up wrongly says nothing: topics are listed, small messages arrive, images do not (stock Fast DDS
has a segment of 512 KiB; a /dev/shm without room is answered by a silent fallback to UDP). So the node sends itself
``FRAMES`` images on a private topic, best effort and depth 1 as a camera does. One that arrives proves little, for UDP
delivers some: ``REQUIRED`` must. What the result does to the report: ``runtime.health.process.round_trip``.

Publisher and subscriber are in one process, where Fast DDS would hand messages over without any transport. The agent's
profile turns that off (``intraprocess_delivery``); where it is not off, or the middleware is another one, the trip
would prove nothing and is not made.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.runtime_config import InputBinding, RuntimeConfig
from runtime.executor.inputs.frames import FrameRefusedError, parse_image
from runtime.health.process.round_trip import FAILED, PASSED, SKIPPED, RoundTrip
from runtime.health.process.transport import PROFILE_VARIABLES

TOPIC = "~/round_trip"
IMAGE = "sensor_msgs/msg/Image"
FRAMES, REQUIRED = 10, 8
FRAME_S = 0.25
"""The next frame is sent when one has come back, or after this time: the trip is to lose no frame by its own haste."""
DEADLINE_S = 4.0
"""Of the whole trip, whatever happens. One that succeeds takes a tenth of a second."""
_OFF = re.compile(r"<intraprocess_delivery>\s*OFF\s*</intraprocess_delivery>")


class Road(Protocol):
    """Where frames go in, and come out again through a callback."""

    def ready(self) -> bool:
        """Has the subscriber been found?"""

    def send(self, index: int) -> None:
        """Send a frame."""

    def close(self) -> None:
        """Leave nothing behind on the graph."""


@dataclass(frozen=True)
class Cargo:
    """The image to send."""

    height: int
    width: int
    encoding: str

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        encoding = ENCODINGS[self.encoding]
        return encoding.rows(self.height) * self.width * encoding.pixel_bytes

    @property
    def text(self) -> str:
        """For a person: ``1280x720 rgb8``."""
        return f"{self.width}x{self.height} {self.encoding}"


class Arrivals:
    """Counts the frames of one trip that came back whole. Fed by the spin thread, waited for by another."""

    def __init__(self, token: str, pixels: bytes) -> None:
        self._token, self._pixels = token, pixels
        self._indices: set[int] = set()
        self._changed = threading.Condition()

    def take(self, message: bytes) -> None:
        """Count a serialized image, unless it is damaged or of somebody else's trip."""
        try:
            frame = parse_image(message)
        except FrameRefusedError:
            return
        if frame.stamp.frame_id != self._token or frame.data.tobytes() != self._pixels:
            return
        with self._changed:
            self._indices.add(frame.stamp.nanosec)
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """How many different frames came back."""
        with self._changed:
            return len(self._indices)

    def wait(self, wanted: int, timeout_s: float) -> bool:
        """Wait until ``wanted`` frames came back. Returns whether they did."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._indices) >= wanted, max(0.0, timeout_s))


def largest_image(config: RuntimeConfig) -> Cargo | None:
    """Return the largest raw image that a model takes; None when none takes any."""
    cargo = [_cargo(binding) for model in config.models for binding in model.inputs if _is_image(binding)]
    return max(cargo, key=lambda image: image.size, default=None)


def no_proof(environment: Mapping[str, str], middleware: str) -> str:
    """Say why a trip inside of one process would prove nothing; empty when it does."""
    if not middleware.startswith("rmw_fastrtps"):
        return f"{middleware} may hand messages over inside of a process without its transport"
    for name in PROFILE_VARIABLES:
        try:
            if _OFF.search(Path(environment.get(name) or "").read_text("utf-8", "replace")) is not None:
                continue
        except OSError:
            pass
        return (
            f"Fast DDS hands messages over inside of a process without its transport, unless the profile in {name} has "
            "<library_settings><intraprocess_delivery>OFF</intraprocess_delivery></library_settings>"
        )
    return ""


def travel(cargo: Cargo, road: Road, arrivals: Arrivals, stop: threading.Event) -> RoundTrip:
    """Send the frames, one after the other, and count what comes back. Ends at its deadline, or at a stop."""
    began = time.monotonic()
    end = began + DEADLINE_S
    while not road.ready() and time.monotonic() < end and not stop.wait(0.01):
        pass
    sent = 0
    while sent < FRAMES and time.monotonic() < end and not stop.is_set():
        before = arrivals.count
        road.send(sent)
        sent += 1
        arrivals.wait(before + 1, min(FRAME_S, end - time.monotonic()))
    while not arrivals.wait(REQUIRED, 0.0) and time.monotonic() < end and not stop.is_set():
        arrivals.wait(REQUIRED, 0.1)  # late ones count too
    arrived = arrivals.count
    state = PASSED if arrived >= REQUIRED else FAILED
    seconds = round(time.monotonic() - began, 3)
    return RoundTrip(state, sent, arrived, REQUIRED, cargo.text, cargo.size, seconds)


class Traveller:
    """Makes the trip of one node, and makes it again for as long as it fails."""

    def __init__(self, node: Any, config: RuntimeConfig, stop: threading.Event) -> None:
        """``node`` is an rclpy Node that another thread spins."""
        self._node, self._cargo, self._stop = node, largest_image(config), stop
        self.result: RoundTrip | None = None
        """Of the last trip. None before the first."""
        self._made = 0.0

    def go(self) -> RoundTrip:
        """Make the trip now; takes ``DEADLINE_S`` at most. Never raises for what ROS says to it."""
        try:
            self.result = self._go()
        except Exception as error:  # noqa: BLE001 - a test of the node must not end the node; it is reported instead
            self.result = RoundTrip(FAILED, reason=f"{type(error).__name__}: {error}")
        self._made = time.monotonic()
        return self.result

    def due(self, after_s: float) -> bool:
        """The last trip failed, ``after_s`` seconds ago or more."""
        failed = self.result is not None and self.result.state == FAILED
        return failed and time.monotonic() - self._made >= after_s

    def _go(self) -> RoundTrip:
        from rclpy.utilities import get_rmw_implementation_identifier

        if self._cargo is None:
            return RoundTrip(SKIPPED, reason="no model takes raw images")
        why = no_proof(os.environ, get_rmw_implementation_identifier())
        if why:
            return RoundTrip(SKIPPED, reason=why)
        token, pixels = secrets.token_hex(8), secrets.token_bytes(self._cargo.size)
        arrivals = Arrivals(token, pixels)
        road = RosRoad(self._node, _image(self._cargo, token, pixels), arrivals.take)
        try:
            return travel(self._cargo, road, arrivals, self._stop)
        finally:
            road.close()


class RosRoad:
    """The node's own transport: a publisher and a subscriber on a private topic."""

    def __init__(self, node: Any, message: Any, take: Callable[[bytes], None]) -> None:
        from runtime.executor.inputs.subscriptions import SENSOR_QOS

        self._node, self._message = node, message
        self._subscription = node.create_subscription(type(message), TOPIC, take, SENSOR_QOS, raw=True)
        self._publisher = node.create_publisher(type(message), TOPIC, SENSOR_QOS)

    def ready(self) -> bool:
        """Has the subscriber been found?"""
        return bool(self._publisher.get_subscription_count())

    def send(self, index: int) -> None:
        """Send a frame."""
        self._message.header.stamp.nanosec = index
        self._publisher.publish(self._message)

    def close(self) -> None:
        """Leave nothing behind on the graph."""
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_subscription(self._subscription)


def _is_image(binding: InputBinding) -> bool:
    return binding.type == IMAGE and bool(binding.height and binding.width)


def _cargo(binding: InputBinding) -> Cargo:
    return Cargo(binding.height, binding.width, binding.encoding or "rgb8")


def _image(cargo: Cargo, token: str, pixels: bytes) -> Any:
    from sensor_msgs.msg import Image

    message = Image(height=cargo.height, width=cargo.width, encoding=cargo.encoding)
    message.step = cargo.size // cargo.height
    message.header.frame_id = token
    message.data = pixels
    return message
