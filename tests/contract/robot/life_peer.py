"""Says what a robot's topics and services say of motion, missions and updates, or collects `/diagnostics` as JSON.

Not a test module.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from tests.contract.robot.ros_peer import spin_for, spin_until

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def diagnostics(node: Any) -> dict[str, Any]:
    """Two arrays of the executor."""
    seen: list[Any] = []
    node.create_subscription(DiagnosticArray, "/diagnostics", seen.append, 10)
    spin_until(node, "two diagnostics", lambda: len(seen) >= 2, 60.0)
    [status] = seen[-1].status
    return {
        "level": status.level[0],
        "name": status.name,
        "message": status.message,
        "hardware_id": status.hardware_id,
        "values": {value.key: value.value for value in status.values},
    }


def say(node: Any, moving: bool, mission: bool) -> None:
    """Publish a command and a latched flag until the test closes our input's other end by ending us."""
    commands = node.create_publisher(Twist, "/cmd_vel", 10)
    node.create_publisher(Bool, "/mission/active", LATCHED).publish(Bool(data=mission))
    message = Twist()
    message.linear.x = 0.5 if moving else 0.0
    print("saying", flush=True)
    while rclpy.ok():
        commands.publish(message)
        spin_for(node, 0.1)


def decide(node: Any) -> None:
    """Offer a service that says no, then yes at every later question, until the test ends us."""
    answers = iter([(False, "charging")])

    def answer(request: Any, response: Any) -> Any:
        del request
        response.success, response.message = next(answers, (True, ""))
        return response

    node.create_service(Trigger, "/may_update", answer)
    while rclpy.ok():
        spin_for(node, 0.1)


def main() -> None:
    role = sys.argv[1]
    rclpy.init()
    node = rclpy.create_node("life_peer")
    try:
        if role == "diagnostics":
            print(json.dumps(diagnostics(node)))
        elif role == "service":
            decide(node)
        else:
            say(node, moving=role == "moving", mission=role == "mission")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
