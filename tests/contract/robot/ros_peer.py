"""The other end of a test: a process that publishes camera frames, collects results, or asks for a transition.

Prints one JSON object. Not a test module.
"""

from __future__ import annotations

import argparse
import array
import json
import sys
import time
from collections.abc import Callable

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from tests.fakes.nodes.runtime_folder import HEIGHT, TOPIC, WIDTH, frame_with_box

RESULTS = "/jetfleet/signs/text"
DEADLINE_S = 120.0


def spin_until(node: Node, what: str, done: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"waited {deadline_s:g} s for {what}")
        rclpy.spin_once(node, timeout_sec=0.05)


def spin_for(node: Node, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)


def camera(node: Node, arguments: argparse.Namespace) -> dict[str, object]:
    """Publish frames, every third one without anything in it, and collect what comes back."""
    received: list[dict[str, object]] = []
    node.create_subscription(String, RESULTS, lambda message: received.append(json.loads(message.data)), 50)
    publisher = node.create_publisher(Image, TOPIC, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    spin_until(node, "the executor's subscription", lambda: publisher.get_subscription_count() > 0)
    spin_until(node, "the executor's publisher", lambda: node.count_publishers(RESULTS) > 0)
    spin_for(node, 0.5)  # matched on our side is not yet matched on the other
    print("sending", file=sys.stderr, flush=True)
    sent = []
    for index in range(arguments.frames):
        # A burst begins and ends with frames at leisure, so that everything lost in it lies between two that arrive.
        slow = not arguments.burst or min(index, arguments.frames - 1 - index) < 3
        sent.append(publish(node, publisher, index, arguments.encoding, arguments.level))
        spin_for(node, 1.0 / arguments.hz if slow else 0.0)
    end = time.monotonic() + arguments.wait
    while (not received or received[-1]["header"] != sent[-1]["header"]) and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    return {"sent": sent, "received": received}


def publish(node: Node, publisher: object, index: int, encoding: str, level: int = 250) -> dict[str, object]:
    box = None if index % 3 == 2 else (10 + index % 20, 20, 40, 16)
    pixels = frame_with_box(*(box or (0, 0, 0, 0)))
    pixels[pixels == 250] = level
    message = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 3, encoding=encoding)
    message.header.frame_id = f"camera_{index}"
    message.header.stamp = node.get_clock().now().to_msg()
    message.data = array.array("B", pixels.tobytes())
    publisher.publish(message)  # type: ignore[attr-defined]
    stamp = {"sec": message.header.stamp.sec, "nanosec": message.header.stamp.nanosec}
    return {"header": {"stamp": stamp, "frame_id": message.header.frame_id}, "box": box}


def lifecycle(node: Node, arguments: argparse.Namespace) -> dict[str, object]:
    """Ask for one transition, then for the state."""
    change = node.create_client(ChangeState, "/jetfleet/change_state")
    state = node.create_client(GetState, "/jetfleet/get_state")
    spin_until(node, "the lifecycle services", lambda: change.service_is_ready() and state.service_is_ready())
    future = change.call_async(ChangeState.Request(transition=Transition(id=arguments.transition)))
    spin_until(node, "the transition", future.done)
    asked = state.call_async(GetState.Request())
    spin_until(node, "the state", asked.done)
    return {"success": future.result().success, "state": asked.result().current_state.label}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["camera", "lifecycle"])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--burst", action="store_true", help="as fast as it goes, but for the first and last frames")
    parser.add_argument("--encoding", default="rgb8")
    parser.add_argument("--level", type=int, default=250, help="how bright the boxes are")
    parser.add_argument("--wait", type=float, default=10.0)
    parser.add_argument("--transition", type=int, default=0)
    arguments = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("peer")
    try:
        print(json.dumps({"camera": camera, "lifecycle": lifecycle}[arguments.role](node, arguments)))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
