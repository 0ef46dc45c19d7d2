"""The camera of the frame benchmark: publishes raw images, collects how old each answer is, prints JSON."""

from __future__ import annotations

import argparse
import array
import json
import resource
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from benchmarks.frames.network import RESULT, SEED, TOPIC

CONNECT_S = 60.0
LINGER_S = 3.0
"""After the last frame, for answers that are still on their way."""


def main() -> int:
    arguments = parse_arguments()
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    ages: list[float] = []

    def collect(message: String) -> None:
        stamp = json.loads(message.data)["header"]["stamp"]
        ages.append((time.time_ns() - stamp["sec"] * 10**9 - stamp["nanosec"]) / 1e6)

    node.create_subscription(String, RESULT, collect, 50)
    reliable = ReliabilityPolicy.RELIABLE if arguments.reliable else ReliabilityPolicy.BEST_EFFORT
    publisher = node.create_publisher(Image, TOPIC, QoSProfile(depth=arguments.depth, reliability=reliable))
    end = time.monotonic() + CONNECT_S
    while publisher.get_subscription_count() == 0 or node.count_publishers(RESULT) == 0:
        if time.monotonic() > end:
            print(f"nobody listened on {TOPIC} within {CONNECT_S:g} s", file=sys.stderr)
            return 3
        rclpy.spin_once(node, timeout_sec=0.05)
    message = picture(arguments.width, arguments.height)
    warm = publish(node, publisher, message, arguments.hz, arguments.warm)
    spin_for(node, LINGER_S)  # so that what was counted of these is told apart from what follows
    del ages[:]
    before = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"begin": warm}), flush=True)
    sent = publish(node, publisher, message, arguments.hz, arguments.frames)
    spin_for(node, LINGER_S)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / sent * 1e3
    print(json.dumps({"sent": sent, "answers": len(ages), "age_ms": percentiles(ages), "camera_cpu_ms": cpu}))
    node.destroy_node()
    rclpy.shutdown()
    return 0


def publish(node: rclpy.node.Node, publisher: Any, message: Image, hz: float, count: int) -> int:
    """Publish ``count`` frames at ``hz``; collect answers between them."""
    due = time.monotonic()
    for _ in range(count):
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)
        due += 1.0 / hz
        spin_for(node, due - time.monotonic())
    return count


def spin_for(node: rclpy.node.Node, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)


def picture(width: int, height: int) -> Image:
    data = np.random.default_rng(SEED).integers(0, 255, width * height * 3, np.uint8)
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3)
    message.header.frame_id = "camera_optical_frame"
    message.data = array.array("B", data.tobytes())
    return message


def percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: float(np.percentile(values, p)) for name, p in (("p50", 50), ("p99", 99), ("max", 100))}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--warm", type=int, default=60)
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--depth", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
