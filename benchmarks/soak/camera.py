"""The soak's camera: publishes raw images until SIGTERM, counts the answers, prints JSON. Holds nothing a frame."""

from __future__ import annotations

import json
import signal
import sys
import time
from types import FrameType

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String

from benchmarks.frames.camera import picture, spin_for
from benchmarks.frames.network import RESULT, TOPIC


def main() -> int:
    width, height, hz = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    ending: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        ending.append(number)

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, end)
    node = rclpy.create_node("soak_camera")
    counts = {"sent": 0, "answers": 0}

    def count(message: String) -> None:
        del message
        counts["answers"] += 1

    node.create_subscription(String, RESULT, count, 50)
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, TOPIC, best_effort)
    message = picture(width, height)
    due = time.monotonic()
    while not ending:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        publisher.publish(message)
        counts["sent"] += 1
        due = max(due + 1.0 / hz, time.monotonic() - 1.0 / hz)  # one that was held up does not catch up in a burst
        spin_for(node, due - time.monotonic())
    print(json.dumps(counts), flush=True)
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
