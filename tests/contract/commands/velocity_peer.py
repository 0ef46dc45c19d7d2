"""The robot's base and its camera in one process: sends frames of a colour, records the velocities that come back.

Prints one JSON object a line. Not a test module.
"""

from __future__ import annotations

import argparse
import array
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from tests.fakes.nodes.runtime_folder import TOPIC
from tests.fakes.nodes.velocity_engine import COMMANDS, DRIVE, HANG, HEIGHT, NAN, WIDTH, frame

INFO = "/jetfleet/driver/info"
DEADLINE_S = 40.0
FRAME_S = 0.05


class Peer:
    """Frames of one colour at 20 Hz, and everything that is commanded meanwhile."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.offset_s = 0.0
        """The camera's clock less the robot's."""
        self.stamp_s: float | None = None
        """Stamp of the next frame, where the clock is simulated."""
        self.colour: tuple[int, int, int] | None = DRIVE
        self.commands: list[list[float]] = []
        self.stamps: list[float] = []
        self.frames: set[str] = set()
        self.sources: list[str] = []
        self.arrived: list[float] = []
        """When each command came, seconds, monotonic: the same clock for every process of the machine."""
        self._camera = node.create_publisher(
            Image, TOPIC, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        node.create_subscription(TwistStamped, COMMANDS, self._take, 200)
        node.create_timer(FRAME_S, self._send)

    def _take(self, message: TwistStamped) -> None:
        self.commands.append([message.twist.linear.x, message.twist.angular.z])
        self.stamps.append(message.header.stamp.sec + message.header.stamp.nanosec / 1e9)
        self.frames.add(message.header.frame_id)
        self.sources.append(message.header.frame_id)
        self.arrived.append(time.monotonic())

    def _send(self) -> None:
        if self.colour is None:
            return
        message = Image(height=HEIGHT, width=WIDTH, step=WIDTH * 3, encoding="rgb8")
        if self.stamp_s is not None:
            message.header.stamp = stamp_of(self.stamp_s)
        else:
            message.header.stamp = (self.node.get_clock().now() + Duration(seconds=self.offset_s)).to_msg()
        message.header.frame_id = "camera"
        message.data = array.array("B", frame(self.colour).tobytes())
        self._camera.publish(message)

    def until(self, what: str, done: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"waited {DEADLINE_S:g} s for {what}; commanded last {self.commands[-5:]}")
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def until_moving(self) -> None:
        self.until("a velocity", lambda: self.commands and self.commands[-1][0] > 0.0)

    def until_still(self, why: str) -> None:
        before = len(self.commands)
        self.until(f"zero after {why}", lambda: len(self.commands) > before and self.commands[-1] == [0.0, 0.0])

    def tell(self, **facts: Any) -> None:
        print(json.dumps(facts), flush=True)


def stamp_of(seconds: float) -> Time:
    return Time(sec=int(seconds), nanosec=int((seconds % 1.0) * 1e9))


def faults(peer: Peer) -> None:
    """Drive; a model that says NaN; drive; a camera that is silent; drive; an inference that hangs for ever."""
    peer.until_moving()
    for name, colour in (("NaN", NAN), ("silence", None)):
        peer.colour = colour
        peer.until_still(name)
        peer.colour = DRIVE
        peer.until_moving()
    peer.colour = HANG
    peer.until_still("a hang")
    peer.colour = DRIVE
    hung_at = len(peer.commands)
    peer.until("more commands", lambda: len(peer.commands) >= hung_at + 10)
    peer.tell(commands=peer.commands, after_hang=peer.commands[hung_at:], stamps=peer.stamps, frames=list(peer.frames))


def last(peer: Peer) -> None:
    """Drive until the publisher is gone; tell what was commanded last."""
    peer.until_moving()
    peer.tell(moving=True)
    peer.until("the publisher's end", lambda: peer.node.count_publishers(COMMANDS) == 0)
    peer.tell(last=peer.commands[-1], moved=peer.commands[-2])


def rival(peer: Peer) -> None:
    """Command the same topic, until standard input ends."""
    peer.node.create_publisher(TwistStamped, COMMANDS, 1)
    peer.tell(there=True)
    sys.stdin.read()


def both(peer: Peer) -> None:
    """Be a publisher of the same topic, and see the robot driven all the same."""
    peer.node.create_publisher(TwistStamped, COMMANDS, 1)
    peer.until_moving()
    peer.tell(moving=True)


def deaf(peer: Peer) -> None:
    """Be a base that waits for Twist, and one that asks for an earlier command, until standard input ends."""
    heard: list[Any] = []
    apart = rclpy.Context()  # a process cannot have one topic with two types
    rclpy.init(context=apart)
    base = rclpy.create_node("base", context=apart)
    base.create_subscription(Twist, COMMANDS, heard.append, 1)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.node.create_subscription(TwistStamped, COMMANDS, heard.append, latched)
    try:
        clock(peer)
    finally:
        base.destroy_node()
        rclpy.shutdown(context=apart)


def clock(peer: Peer) -> None:
    """A camera with another clock, until standard input ends: how many commands drove?"""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        rclpy.spin_once(peer.node, timeout_sec=0.05)
    peer.tell(commands=len(peer.commands), driving=sum(linear > 0.0 for linear, _ in peer.commands))


def simulation(peer: Peer) -> None:
    """A bag player: a clock that plays, pauses and loops back; after each word on standard input, the next part."""
    clock = peer.node.create_publisher(Clock, "/clock", 10)
    at_s = 1_680_000_000.0

    def play(seconds: float) -> None:
        nonlocal at_s
        peer.stamp_s, end = at_s, at_s + seconds
        while at_s < end:
            clock.publish(Clock(clock=stamp_of(at_s)))
            peer.stamp_s = at_s
            rclpy.spin_once(peer.node, timeout_sec=FRAME_S)
            at_s += FRAME_S / 4

    def driving() -> int:
        return sum(linear > 0.0 for linear, _ in peer.commands)

    peer.colour, before = DRIVE, 0
    for start_s in (at_s, at_s, at_s + 1.0):
        sys.stdin.readline()
        at_s, end = start_s, time.monotonic() + DEADLINE_S
        while driving() <= before and time.monotonic() < end:
            play(1.0)
        peer.colour, before = None, driving()
        peer.tell(driving=before)
        peer.colour = DRIVE


def info(peer: Peer) -> None:
    """Come late and be told what the model is."""
    peer.until_moving()
    told: list[String] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.node.create_subscription(String, INFO, told.append, latched)
    peer.until("the model's info", lambda: told)
    peer.tell(**json.loads(told[0].data))


ROLES = {
    "faults": faults,
    "last": last,
    "rival": rival,
    "both": both,
    "info": info,
    "clock": clock,
    "deaf": deaf,
    "simulation": simulation,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=list(ROLES))
    parser.add_argument("--offset", type=float, default=0.0, help="seconds that the camera's clock is ahead")
    arguments = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("peer")
    try:
        peer = Peer(node)
        peer.offset_s = arguments.offset
        ROLES[arguments.role](peer)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
