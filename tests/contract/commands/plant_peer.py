"""Twelve joints, their controller and an Imu in one process: moves them by what is commanded, and records that.

A joint is a mass on a spring and a damper (a position controller's gains) whose other end the command moves. Prints one
JSON object a line. Not a test module.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray

from tests.fakes.nodes.policy_engine import (
    BASE_TOPIC,
    COMMANDED,
    COMMANDS,
    DRIVE,
    HANG,
    IMU_TOPIC,
    JOINTS,
    MEASURED,
    NAN,
    OBSERVED,
)

DEADLINE_S = 60.0
PERIOD_S, SUBSTEPS = 0.02, 4
STIFFNESS, DAMPING = 400.0, 40.0
"""1/s², 1/s: a natural frequency of 20 rad/s, critically damped."""
START = 0.1
"""Rad, of every joint."""
JUMP = 0.5


class Plant:
    """The joints, and whoever commands them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.position = np.full(len(JOINTS), START)
        self.velocity = np.zeros(len(JOINTS))
        self.target = self.position.copy()
        self.commands: list[list[float]] = []
        self.measured: list[list[float]] = []
        """What was measured when each command came."""
        self.arrived: list[float] = []
        """When, seconds, monotonic."""
        self.lean, self.mode = 0.2, DRIVE
        self.late_s = 0.0
        """How old what the policy observes is."""
        self.offset = np.zeros(len(JOINTS))
        """Of the encoders."""
        self.measures = True
        self.rival = False
        self._rival: Any = None
        self.seconds, self.seed = 60.0, 1
        self._observed = node.create_publisher(JointState, OBSERVED, 1)
        self._measured = node.create_publisher(JointState, MEASURED, 1)
        self._imu = node.create_publisher(Imu, IMU_TOPIC, 1)
        self._base = node.create_publisher(Float64MultiArray, BASE_TOPIC, 1)
        self._twist = node.create_publisher(Twist, COMMANDED, 1)
        node.create_subscription(Float64MultiArray, COMMANDS, self._take, QoSProfile(depth=200))
        node.create_timer(PERIOD_S, self._step)

    def _take(self, message: Float64MultiArray) -> None:
        self.target = np.array(message.data)
        self.commands.append(self.target.tolist())
        self.measured.append((self.position + self.offset).tolist())
        self.arrived.append(time.monotonic())

    def _step(self) -> None:
        for _ in range(SUBSTEPS):
            force = STIFFNESS * (self.target - self.position) - DAMPING * self.velocity
            self.velocity += force * PERIOD_S / SUBSTEPS
            self.position += self.velocity * PERIOD_S / SUBSTEPS
        now = self.node.get_clock().now()
        twist = Twist()
        twist.linear.x, twist.angular.z = self.lean, self.mode
        self._twist.publish(twist)
        self._imu.publish(self._motion(now))
        self._base.publish(Float64MultiArray(data=[0.1, 0.0, 0.0]))
        order = np.arange(len(JOINTS))[::-1]  # a driver's order is not the model's
        state = JointState(name=[JOINTS[place] for place in order])
        state.position = (self.position + self.offset)[order].tolist()
        state.velocity = self.velocity[order].tolist()
        state.header.stamp = now.to_msg()
        if self.measures:
            self._measured.publish(state)
        state.header.stamp = (now - Duration(seconds=self.late_s)).to_msg()
        self._observed.publish(state)

    def _motion(self, now: Any) -> Imu:
        message = Imu()
        message.header.stamp = now.to_msg()
        message.orientation.w = 1.0
        message.linear_acceleration.z = 9.81
        return message

    # ── what the roles wait for ──

    def until(self, what: str, done: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"waited {DEADLINE_S:g} s for {what}; commanded last {self.commands[-2:]}")
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def command_too(self, too: bool) -> None:
        """Be another commander of the joints, however silent, or be none any more."""
        if too and self._rival is None:
            self._rival = self.node.create_publisher(Float64MultiArray, COMMANDS, 1)
        elif not too and self._rival is not None:
            self.node.destroy_publisher(self._rival)
            self._rival = None

    def pass_by(self, seconds: float) -> None:
        """Go on as it is for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def until_driving(self, lean: float) -> None:
        """Lean to another side, and wait until the joints are there: what is commanded comes from results."""
        self.lean, self.mode, self.late_s = lean, DRIVE, 0.0
        self.until(f"leaning by {lean:g}", lambda: self.commands and abs(self.position.mean() - lean / 2) < 0.1)

    def until_held(self, why: str) -> None:
        """Wait for ten equal commands: the policy's are never equal, as its Imu's or joints' numbers change."""
        before = len(self.commands)
        self.until(f"a hold after {why}", lambda: len(self.commands) >= before + 12 and self._same(10))

    def _same(self, count: int) -> bool:
        return all(each == self.commands[-1] for each in self.commands[-count:])

    def tell(self, **facts: Any) -> None:
        print(json.dumps(facts), flush=True)


def faults(plant: Plant) -> None:
    """Lean; NaN; frames that are late; an encoder that jumps; limits; an inference that hangs for ever."""
    held: dict[str, list[list[float]]] = {}
    plant.until_driving(0.4)
    ramp = len(plant.commands)
    for name, mode, late_s in (("NaN", NAN, 0.0), ("late", DRIVE, 2.0)):
        plant.mode, plant.late_s = mode, late_s
        plant.until_held(name)
        held[name] = [plant.commands[-1], plant.position.tolist()]
        plant.until_driving(-0.4)
        plant.until_driving(0.4)
    plant.until_driving(0.1)
    jump, plant.offset = len(plant.commands), plant.offset + JUMP * (np.arange(len(JOINTS)) == 3)
    plant.lean = -0.4  # what is asked of it goes on
    plant.until("silence", lambda: plant.arrived and time.monotonic() - plant.arrived[-1] > 0.3)
    silent = len(plant.commands)
    plant.until("commands after the jump", lambda: len(plant.commands) >= silent + 10)
    after_jump = [plant.commands[silent], plant.measured[silent]]
    plant.offset = np.zeros(len(JOINTS))  # another jump
    plant.until("silence", lambda: time.monotonic() - plant.arrived[-1] > 0.3)
    plant.until_driving(0.4)
    plant.lean = 5.0
    plant.until("a limit", lambda: max(plant.commands[-1]) >= 0.799)
    plant.mode = HANG
    plant.until_held("a hang")
    plant.tell(
        commands=plant.commands, measured=plant.measured, arrived=plant.arrived, ramp=ramp, held=held, jump=jump,
        silent=silent, after_jump=after_jump,
    )  # fmt: skip


def soak(plant: Plant) -> None:
    """Lean and fail at random, until ``plant.seconds`` are over; tell what came, and when what was wrong."""
    chance, phases = random.Random(plant.seed), []
    plant.until_driving(0.4)
    end = time.monotonic() + plant.seconds
    while time.monotonic() < end:
        name = chance.choice(["lean", "lean", "lean", "NaN", "late", "unmeasured", "jump"])
        plant.lean = chance.uniform(-4.0, 4.0)
        plant.mode, plant.late_s = (NAN if name == "NaN" else DRIVE), (2.0 if name == "late" else 0.0)
        plant.measures = name != "unmeasured"
        phase = {"name": name, "from": len(plant.commands), "begun": time.monotonic()}
        if name == "jump":
            plant.offset = plant.offset + chance.choice([-JUMP, JUMP]) * (np.arange(len(JOINTS)) == 5)
        plant.pass_by(chance.uniform(0.5, 2.0))
        phases.append({**phase, "to": len(plant.commands)})
        plant.mode, plant.late_s, plant.measures, plant.offset = DRIVE, 0.0, True, np.zeros(len(JOINTS))
    plant.until_driving(0.2)
    plant.tell(commands=plant.commands, measured=plant.measured, arrived=plant.arrived, phases=phases)


def last(plant: Plant) -> None:
    """Drive until the publisher is gone; tell what was commanded last, and what the joints do then."""
    plant.until_driving(0.4)
    plant.lean = -0.4
    plant.tell(driving=True)
    plant.until("the publisher's end", lambda: plant.node.count_publishers(COMMANDS) == 0)
    before = len(plant.commands)
    plant.until("the joints to come to rest", lambda: np.abs(plant.velocity).max() < 0.001)
    plant.tell(
        last=plant.commands[-1],
        measured=plant.measured[-1],
        rest=plant.position.tolist(),
        more=len(plant.commands) - before,
    )


def scene(plant: Plant) -> None:
    """Do what each line of standard input says, a JSON object of this plant's attributes, until it ends."""
    lines: list[str] = []
    ended = threading.Event()

    def read() -> None:
        for line in iter(sys.stdin.readline, ""):
            lines.append(line)  # noqa: PERF402 - each as it comes
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    while not ended.is_set():
        while lines:
            for name, value in json.loads(lines.pop(0)).items():
                setattr(plant, name, value)
            plant.command_too(plant.rival)
        rclpy.spin_once(plant.node, timeout_sec=0.05)
    plant.tell(commands=len(plant.commands))


ROLES = {"faults": faults, "last": last, "soak": soak, "scene": scene}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=list(ROLES))
    parser.add_argument("--seconds", type=float, default=60.0, help="of a soak")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--silent", action="store_true", help="nothing is measured at first")
    arguments = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("plant")
    try:
        plant = Plant(node)
        plant.measures = not arguments.silent
        plant.seconds, plant.seed = arguments.seconds, arguments.seed
        ROLES[arguments.role](plant)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
