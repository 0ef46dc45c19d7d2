"""Receive images for a while and print what came, as one JSON document. Exit 1 when fewer than --count arrived.

A real subscriber, as another process of the same user: whoever trusts it needs no trust in the camera.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


class Probe(Node):
    """Counts images and remembers the last one's shape."""

    def __init__(self, topic: str) -> None:
        super().__init__("jetfleet_lab_probe")
        self.arrivals: list[float] = []
        self.last: Image | None = None
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self.create_subscription(Image, topic, self._take, qos)

    def _take(self, message: Image) -> None:
        self.arrivals.append(time.monotonic())
        self.last = message


def report(probe: Probe, topic: str) -> dict[str, object]:
    """Return what arrived: count, rate (Hz), publishers seen on the topic, and the last image's shape."""
    span = probe.arrivals[-1] - probe.arrivals[0] if len(probe.arrivals) > 1 else 0.0
    document: dict[str, object] = {
        "received": len(probe.arrivals),
        "rate_hz": round((len(probe.arrivals) - 1) / span, 2) if span else None,
        "publishers": probe.count_publishers(topic),
    }
    if probe.last is not None:
        document |= {
            "width": probe.last.width,
            "height": probe.last.height,
            "encoding": probe.last.encoding,
            "bytes": len(probe.last.data),
            "frame_id": probe.last.header.frame_id,
        }
    return document


def main() -> int:
    """Wait for --count images, at most --deadline seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topic", default="/camera/image_raw")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=20.0, metavar="SECONDS")
    options = parser.parse_args()
    rclpy.init()
    probe = Probe(options.topic)
    executor = SingleThreadedExecutor()
    executor.add_node(probe)
    deadline = time.monotonic() + options.deadline
    while len(probe.arrivals) < options.count and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.2)
    print(json.dumps(report(probe, options.topic)))
    rclpy.try_shutdown()
    executor.shutdown()
    probe.destroy_node()
    return 0 if len(probe.arrivals) >= options.count else 1


if __name__ == "__main__":
    sys.exit(main())
