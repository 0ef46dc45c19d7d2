"""The other end of a test: publishes one frame again and again until its boxes and its image of ids have come back.

Called with an .npy file of the frame. Prints one JSON object. Not a test module.
"""

from __future__ import annotations

import array
import json
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from tests.contract.robot.ros_peer import DEADLINE_S
from tests.fakes.nodes.runtime_folder import TOPIC

BOXES = "/jetfleet/things"


def main() -> None:
    """Publish, wait, print."""
    frame = np.load(sys.argv[1])
    rclpy.init()
    node = Node("mask_peer")
    boxes: dict[int, Any] = {}
    masks: dict[int, Any] = {}

    def heard_boxes(message: String) -> None:
        found = json.loads(message.data)
        boxes[found["header"]["stamp"]["sec"]] = found

    def heard_mask(message: Image) -> None:
        facts = {"encoding": message.encoding, "frame_id": message.header.frame_id, "step": message.step}
        pixels = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width)
        masks[message.header.stamp.sec] = {**facts, "ids": pixels.tolist()}

    node.create_subscription(String, BOXES, heard_boxes, 10)
    node.create_subscription(Image, f"{BOXES}/mask", heard_mask, 10)
    publisher = node.create_publisher(Image, TOPIC, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    rows, columns, _ = frame.shape
    message = Image(height=rows, width=columns, encoding="rgb8", step=3 * columns)
    message.data = array.array("B", frame.tobytes())
    message.header.frame_id = "camera"
    end, sent = time.monotonic() + DEADLINE_S, 0
    while not (both := boxes.keys() & masks.keys()):
        if time.monotonic() > end:
            raise SystemExit(f"sent {sent} frames, heard {len(boxes)} messages of boxes and {len(masks)} masks")
        sent += 1
        message.header.stamp.sec = sent
        publisher.publish(message)
        pause = time.monotonic() + 0.1
        while time.monotonic() < pause:
            rclpy.spin_once(node, timeout_sec=0.02)
    stamp = max(both)
    print(json.dumps({"boxes": boxes[stamp], "mask": masks[stamp]}))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
