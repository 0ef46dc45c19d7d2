"""The lab robot's camera: a ROS 2 node that publishes warehouse signs as sensor_msgs/Image (rgb8).

Settings come from the environment: JETFLEET_CAMERA_TOPIC, JETFLEET_CAMERA_RATE (Hz), JETFLEET_CAMERA_WIDTH,
JETFLEET_CAMERA_HEIGHT (pixels), JETFLEET_CAMERA_SIGN_S (seconds that each sign stays in view).

The signs are drawn once, at start: publishing then costs no more than handing their bytes to the transport.
"""

from __future__ import annotations

import array
import os
import signal
import sys
import threading
from dataclasses import dataclass

import rclpy
from PIL import Image, ImageDraw, ImageFont
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image as ImageMessage

Colour = tuple[int, int, int]

LOOK_S = 0.2
"""How long a spin may wait before it looks whether a signal came."""

WALL: Colour = (122, 124, 120)
FLOOR: Colour = (88, 86, 82)


@dataclass(frozen=True)
class Sign:
    """One sign as it hangs in the warehouse: its lines of text, its colours, its place (fractions of the image)."""

    lines: tuple[str, ...]
    paper: Colour
    ink: Colour
    left: float
    top: float


SIGNS = (
    Sign(("AISLE 07",), (20, 60, 150), (255, 255, 255), 0.18, 0.22),
    Sign(("DOCK 3", "INBOUND"), (245, 245, 240), (20, 20, 20), 0.40, 0.12),
    Sign(("STOP",), (190, 20, 25), (255, 255, 255), 0.30, 0.30),
    Sign(("FORKLIFTS", "ONLY"), (245, 200, 30), (15, 15, 15), 0.12, 0.16),
    Sign(("BAY B-12",), (245, 245, 240), (180, 20, 20), 0.45, 0.35),
    Sign(("CHARGING", "ZONE"), (20, 120, 60), (255, 255, 255), 0.25, 0.18),
)


@dataclass(frozen=True)
class Settings:
    """What the environment says; ValueError when it makes no sense."""

    topic: str
    rate_hz: float
    width: int
    height: int
    sign_s: float

    @classmethod
    def from_environment(cls) -> Settings:
        """Read JETFLEET_CAMERA_*; ValueError for a number that is none, or not above zero."""
        settings = cls(
            topic=os.environ.get("JETFLEET_CAMERA_TOPIC", "/camera/image_raw"),
            rate_hz=float(os.environ.get("JETFLEET_CAMERA_RATE", "5")),
            width=int(os.environ.get("JETFLEET_CAMERA_WIDTH", "640")),
            height=int(os.environ.get("JETFLEET_CAMERA_HEIGHT", "480")),
            sign_s=float(os.environ.get("JETFLEET_CAMERA_SIGN_S", "2")),
        )
        if min(settings.rate_hz, settings.width, settings.height, settings.sign_s) <= 0:
            raise ValueError(f"all of {settings} must be above zero")
        return settings


def draw_sign(sign: Sign, width: int, height: int) -> Image.Image:
    """Return the scene: wall, floor, and the sign on its wall."""
    scene = Image.new("RGB", (width, height), WALL)
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, int(height * 0.78), width, height), fill=FLOOR)
    size = height // 9
    font = ImageFont.load_default(size=size)
    margin = size // 2
    text_width = max(draw.textlength(line, font=font) for line in sign.lines)
    left, top = int(sign.left * width), int(sign.top * height)
    right = left + int(text_width) + 2 * margin
    bottom = top + len(sign.lines) * int(size * 1.3) + 2 * margin
    draw.rectangle((left, top, right, bottom), fill=sign.paper, outline=sign.ink, width=max(1, size // 16))
    for number, line in enumerate(sign.lines):
        draw.text((left + margin, top + margin + number * int(size * 1.3)), line, fill=sign.ink, font=font)
    return scene


class Camera(Node):
    """Publishes the signs in turn, each for a while, at a fixed rate."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("camera")
        self._frames = [self._message(draw_sign(sign, settings.width, settings.height)) for sign in SIGNS]
        self._frames_per_sign = max(1, round(settings.sign_s * settings.rate_hz))
        self._published = 0
        # As camera drivers do: the newest image or none.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = self.create_publisher(ImageMessage, settings.topic, qos)
        self._timer = self.create_timer(1.0 / settings.rate_hz, self._publish)
        self.get_logger().info(f"publishing {len(SIGNS)} signs on {settings.topic} at {settings.rate_hz} Hz")

    @staticmethod
    def _message(scene: Image.Image) -> ImageMessage:
        message = ImageMessage()
        message.header.frame_id = "camera_optical_frame"
        message.width, message.height = scene.size
        message.encoding = "rgb8"
        message.is_bigendian = 0
        message.step = 3 * scene.width
        # array('B') is taken over as it is; a list or an ndarray would be checked element by element (0.2 s).
        message.data = array.array("B", scene.tobytes())
        return message

    def _publish(self) -> None:
        message = self._frames[self._published // self._frames_per_sign % len(self._frames)]
        message.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._published += 1


def main() -> int:
    """Publish until SIGTERM or SIGINT."""
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        print(f"camera: error: bad JETFLEET_CAMERA_* setting: {error}", file=sys.stderr)
        return 2
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # rclpy's own handler shuts the context down wherever the signal finds it: in a publish, that ends with a traceback.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Camera(settings)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopping.is_set():
        executor.spin_once(timeout_sec=LOOK_S)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
