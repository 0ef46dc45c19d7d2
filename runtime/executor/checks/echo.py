"""Print what arrives on a topic: `python3 -m runtime.executor.checks.echo TOPIC [--count N] [--timeout S]`.

The runtime image has no ros2cli; this is what `ros2 topic echo` would show. Exit code 1 when nothing came in time.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data


def main() -> int:
    """Parse the command line, wait for the topic, print messages."""
    parser = argparse.ArgumentParser(prog="echo", description=__doc__)
    parser.add_argument("topic")
    parser.add_argument("--count", type=int, default=1, help="messages to print")
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds to wait for all of them")
    arguments = parser.parse_args()
    rclpy.init()
    try:
        return echo(arguments.topic, arguments.count, time.monotonic() + arguments.timeout)
    finally:
        rclpy.try_shutdown()


def echo(topic: str, count: int, deadline: float) -> int:
    """Print ``count`` messages of ``topic`` before ``deadline`` (monotonic seconds); return the exit code."""
    node = Node("jetfleet_echo")
    try:
        message_type = _wait_for_type(node, topic, deadline)
        if message_type is None:
            sys.stderr.write(f"echo: {topic} has no publisher\n")
            return 1
        seen: list[Any] = []
        node.create_subscription(_imported(message_type), topic, seen.append, qos_profile_sensor_data)
        printed = 0
        while printed < count and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.2)
            for message in seen[: count - printed]:
                sys.stdout.write(f"{getattr(message, 'data', message)}\n")
                printed += 1
            seen.clear()
        if printed < count:
            sys.stderr.write(f"echo: {printed} of {count} messages came on {topic} in time\n")
        return 0 if printed == count else 1
    finally:
        node.destroy_node()


def _wait_for_type(node: Node, topic: str, deadline: float) -> str | None:
    """Return the message type of ``topic`` once a publisher is discovered."""
    while time.monotonic() < deadline:
        for info in node.get_publishers_info_by_topic(topic):
            return str(info.topic_type)
        rclpy.spin_once(node, timeout_sec=0.1)
    return None


def _imported(name: str) -> Any:
    package, _, message = name.replace("/msg/", "/").partition("/")
    return getattr(importlib.import_module(f"{package}.msg"), message)


if __name__ == "__main__":
    sys.exit(main())
