"""A camera outside of the runtime container: publishes numbered raw images. Needs rclpy alone.

python3 outside_camera.py WIDTH HEIGHT HZ
"""

from __future__ import annotations

import array
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

TOPIC = "/bench/image"


def main() -> None:
    width, height, hz = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    rclpy.init()
    node = rclpy.create_node("outside_camera")
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, TOPIC, best_effort)
    message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    message.data = array.array("B", bytes(3 * width * height))
    due, count = time.monotonic(), 0
    while rclpy.ok():
        count += 1
        message.header.frame_id = str(count)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        publisher.publish(message)
        due = max(due + 1.0 / hz, time.monotonic() - 1.0 / hz)  # one that was held up does not catch up in a burst
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
