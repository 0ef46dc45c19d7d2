"""The other end of a test of inputs: publishes a script of sensor messages, collects results. Not a test module.

Reads one JSON object from stdin: ``results`` (topic), ``steps``: a list of messages ``{"topic", "kind", "stamp",
"value"}``, ``{"expect": n}`` (wait until so many results have come) or ``{"counted": name}`` (wait until the report at
the URL ``report`` counts such a cause), each for at most DEADLINE_S. Prints the results as JSON.
"""

from __future__ import annotations

import array
import io
import json
import math
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, Imu, JointState, LaserScan, PointCloud2, PointField, Range
from std_msgs.msg import Float32MultiArray, Float64MultiArray, String

DEADLINE_S = 120.0
HEIGHT, WIDTH, BEAMS = 6, 8, 4


def image(value: float) -> Any:
    message = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 3, encoding="rgb8")
    message.data = array.array("B", np.full((HEIGHT, WIDTH, 3), int(value), np.uint8).tobytes())
    return message


def compressed(value: float) -> Any:
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.new("RGB", (WIDTH, HEIGHT), (int(value),) * 3).save(stream, "PNG")
    return CompressedImage(format="png", data=array.array("B", stream.getvalue()))


def torn(value: float) -> Any:
    message = compressed(value)
    message.data = message.data[: len(message.data) // 2]
    return message


def scan(value: float) -> Any:
    return LaserScan(range_min=0.1, range_max=30.0, ranges=[value, float("nan"), 0.5, float("inf")])


def short_scan(value: float) -> Any:
    return LaserScan(range_min=0.1, range_max=30.0, ranges=[value])


def imu(value: float) -> Any:
    message = Imu()
    message.angular_velocity.x = value
    return message


def cloud(value: float) -> Any:
    message = PointCloud2(height=1, width=2, point_step=12, row_step=24)
    message.fields = [PointField(name=name, offset=4 * at, datatype=7, count=1) for at, name in enumerate("xyz")]
    message.data = array.array("B", np.full(6, value, np.float32).tobytes())
    return message


def twist(value: float) -> Any:
    message = Twist()
    message.linear.x = value
    return message


def tilted_imu(value: float) -> Any:
    """Rolled by ``value`` (rad), turning."""
    message = Imu()
    message.orientation.x, message.orientation.w = math.sin(value / 2), math.cos(value / 2)
    turning = message.angular_velocity
    turning.x, turning.y, turning.z = value, 2 * value, 3 * value
    return message


def joints(value: float) -> Any:
    """Twelve joints of four legs from the last to the first, in multiples of ``value``; velocities are the negative."""
    names = [f"{leg}_{part}" for leg in ("fl", "fr", "rl", "rr") for part in ("hip", "thigh", "calf")]
    positions = [value * (index + 1) for index in range(len(names))]
    return JointState(name=names[::-1], position=positions, velocity=[-each for each in positions])


def numbers(value: float) -> Any:
    return Float64MultiArray(data=[value, 2 * value, 3 * value])


def samples(number: float) -> list[float]:
    """Chunk ``number`` of a sound at 16 kHz: a quiet beginning, then pulses through two resonances."""
    time = (np.arange(512) + 512 * int(number)) / 16000
    pulses = np.sign(np.sin(2 * np.pi * 120 * time)) * (0.1 if number > 3 else 0.0001)
    voice = pulses * (1 + np.sin(2 * np.pi * 700 * time) + 0.5 * np.sin(2 * np.pi * 1200 * time))
    return [float(value) for value in voice.astype(np.float32)]


KINDS: dict[str, Callable[[float], Any]] = {
    "image": image,
    "compressed": compressed,
    "torn": torn,
    "scan": scan,
    "short_scan": short_scan,
    "imu": imu,
    "cloud": cloud,
    "twist": twist,
    "tilted_imu": tilted_imu,
    "joints": joints,
    "numbers": numbers,
    "sound": lambda value: Float32MultiArray(data=samples(value)),
    "range": lambda value: Range(range=value),
}


class Peer:
    def __init__(self, node: Node, script: dict[str, Any]) -> None:
        self.node, self.script = node, script
        self.results: list[dict[str, Any]] = []
        node.create_subscription(String, script["results"], self._result, 50)
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        kinds = {step["topic"]: type(KINDS[step["kind"]](1.0)) for step in script["steps"] if "topic" in step}
        self.publishers = {topic: node.create_publisher(kind, topic, qos) for topic, kind in kinds.items()}

    def _result(self, message: Any) -> None:
        self.results.append(json.loads(message.data))

    def run(self) -> list[dict[str, Any]]:
        if not self.script.get("nobody_listens"):
            self.until(lambda: all(one.get_subscription_count() > 0 for one in self.publishers.values()))
        self.until(lambda: self.node.count_publishers(self.script["results"]) > 0)
        for _ in range(10):  # matched on our side is not yet matched on the other
            rclpy.spin_once(self.node, timeout_sec=0.1)
        for step in self.script["steps"]:
            if "expect" in step:
                self.until(lambda wanted=step["expect"]: len(self.results) >= wanted)  # type: ignore[misc]
            elif "noted" in step:
                self.until(lambda words=step["noted"]: words in self.notes())  # type: ignore[misc]
            elif "counted" in step:
                self.until(lambda name=step["counted"]: name in self.causes())  # type: ignore[misc]
            else:
                self.publish(**step)
        return self.results

    def causes(self) -> set[str]:
        with urllib.request.urlopen(self.script["report"], timeout=10) as answer:
            return {name for model in json.load(answer)["models"] for name in model["causes"]}

    def notes(self) -> str:
        with urllib.request.urlopen(self.script["report"], timeout=10) as answer:
            return " ".join(note for model in json.load(answer)["models"] for note in model["mixed"])

    def publish(self, topic: str, kind: str, value: float, stamp: float | None = None) -> None:
        message = KINDS[kind](value)
        if stamp is not None:
            message.header.frame_id = kind
            message.header.stamp.sec = int(stamp)
            message.header.stamp.nanosec = round((stamp % 1) * 1e9)
        self.publishers[topic].publish(message)
        rclpy.spin_once(self.node, timeout_sec=0.1)

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"waited {DEADLINE_S:g} s; results so far: {self.results}")
            rclpy.spin_once(self.node, timeout_sec=0.1)


def main() -> None:
    script = json.load(sys.stdin)
    rclpy.init()
    node = rclpy.create_node("sensors")
    try:
        print(json.dumps(Peer(node, script).run()))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
