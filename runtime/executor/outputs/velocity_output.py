"""A velocity topic: the guard of `velocity_guard.py` with a clock, a timer of its own and a publisher.

The worker only leaves results here. A timer on the spin thread publishes at a fixed rate, so that an inference that
hangs, a camera that is silent and a model that failed come to the same: the command runs out, and zero is published.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # Humble has it nowhere else
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from runtime.contract.node.runtime_config import OutputBinding
from runtime.decoding.decoders import Velocity
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.velocity_guard import DRIVE, Command, VelocityGuard, VelocityLimits, guard_options

ACKNOWLEDGE_S = 0.2
"""How long the last zero may take to reach everybody before the publisher goes."""
LOOK_AROUND_S = 1.0
"""Between two looks for other publishers of the topic, and between two lines in the log."""


class VelocityOutput:
    """Sends velocities of one output of one model, within limits and deadlines."""

    def __init__(
        self,
        node: LifecycleNode,
        model: str,
        output: OutputBinding,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        take = guard_options(output.options)
        limits = VelocityLimits.of(output.options)
        self._node, self._model, self._monotonic = node, model, monotonic
        self._lock = threading.Lock()
        self._guard = VelocityGuard(limits)
        self._running = False
        self._others: str = take["other_publishers"]
        self._conflict = self.note = ""
        self._twin = False
        self._keeps_stamp = take["stamp"] == "input"
        self._frame_id: str = take["frame_id"]
        self._message = TwistStamped() if take["message"] == "TwistStamped" else Twist()
        self._twist = self._message.twist if isinstance(self._message, TwistStamped) else self._message
        self._logged = self._looked = -LOOK_AROUND_S
        self._state = ""
        self._limits = limits
        self.topic = str(node.resolve_topic_name(output.topic))
        self._publisher: Any = None
        self._timer: Any = None

    # ── the worker thread ──

    def __call__(self, stamp: Stamp, result: Any) -> None:
        """Take a result; the timer publishes what becomes of it."""
        known = stamp.nanoseconds != 0
        age = (self._node.get_clock().now().nanoseconds - stamp.nanoseconds) / 1e9 if known else 0.0
        with self._lock:
            if self._conflict and self._others == "refuse":
                self._guard.fail(self._monotonic(), self._conflict)
            elif isinstance(result, Velocity):
                self._guard.accept(self._monotonic(), result, stamp if known else None, age)

    def failed(self, reason: str) -> None:
        """The model failed on a frame, or altogether."""
        with self._lock:
            self._guard.fail(self._monotonic(), reason)

    # ── the spin thread ──

    def tick(self) -> None:
        """Publish the command of this moment."""
        with self._lock:
            if not self._running:  # stopped between the timer's call and here: zero was the last command
                return
            now = self._monotonic()
            if now - self._looked >= LOOK_AROUND_S:
                self._looked = now
                self._look_around()
            if self._conflict and self._others == "refuse":
                self._guard.fail(now, self._conflict)
            command = self._guard.tick(now)
            self._publish(command)
        self._log(command, now)

    def _publish(self, command: Command) -> None:
        twist, velocity = self._twist, command.velocity
        twist.linear.x, twist.linear.y, twist.linear.z = velocity.linear
        twist.angular.x, twist.angular.y, twist.angular.z = velocity.angular
        if isinstance(self._message, TwistStamped):
            head = self._message.header
            if self._keeps_stamp and isinstance(command.frame, Stamp):
                head.stamp.sec, head.stamp.nanosec = command.frame.sec, command.frame.nanosec
            else:
                head.stamp.sec, head.stamp.nanosec = divmod(self._node.get_clock().now().nanoseconds, 1_000_000_000)
            head.frame_id = self._frame_id
        self._publisher.publish(self._message)

    def _log(self, command: Command, now: float) -> None:
        """Say that it drives, or why it does not; at most once a second, and only what changed."""
        said = command.state if command.state == DRIVE else f"{command.state}: {command.reason}"
        if said == self._state or now - self._logged < LOOK_AROUND_S:
            return
        self._state, self._logged = said, now
        self._node.get_logger().info(f"{self._model}: velocity on {self.topic}: {said}")

    # ── transitions ──

    def open(self) -> None:
        """Let the publisher exist, and a timer that sends nothing yet."""
        if self._publisher is not None:
            return
        node, limits = self._node, self._limits
        self._publisher = node.create_lifecycle_publisher(type(self._message), self.topic, _qos(limits))
        # Of steady time: a simulated or adjusted clock must not stop it.
        self._timer = node.create_timer(limits.period, self.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()

    def start(self, *, patient: bool = False) -> str:
        """Begin at zero. Returns why not, when somebody else commands this topic and that is to be refused.

        ``patient``: he may be the node that served before and died, which is seen for a while; zero until he is gone.
        """
        self._look_around()
        if self._conflict and self._others == "refuse" and not (patient and self._twin):
            return self._conflict
        with self._lock:
            self._guard.start(self._monotonic())
            self._running = True
        self._timer.reset()
        return ""

    def stop(self, reason: str) -> None:
        """Publish zero now, from this thread, and nothing after it."""
        with self._lock:
            self._guard.stop(reason)
            if not self._running:
                return
            self._running = False
            self._timer.cancel()
            self._publish(self._guard.tick(self._monotonic()))
        self._publisher.wait_for_all_acked(Duration(nanoseconds=int(ACKNOWLEDGE_S * 1e9)))

    def close(self) -> None:
        """Take timer and publisher away, after :meth:`stop`."""
        if self._publisher is None:
            return
        self._node.destroy_timer(self._timer)
        self._node.destroy_lifecycle_publisher(self._publisher)
        self._publisher = self._timer = None

    def others(self) -> int:
        """How many others publish on this topic, as far as the graph shows. Before :meth:`open` only."""
        return len(self._node.get_publishers_info_by_topic(self.topic)) if self._others != "allow" else 0

    def _look_around(self) -> None:
        """Look for others who command this topic. One of them may be another output of this very node."""
        if self._others == "allow":
            return
        found = self._node.get_publishers_info_by_topic(self.topic)
        ours = (self._node.get_namespace(), self._node.get_name())
        names = {
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in found
            if (info.node_namespace, info.node_name) != ours
        }
        if len(found) <= 1 and not names:
            self._conflict = self.note = ""
            return
        self._twin = not names
        who = ", ".join(sorted(names)) or "another output of this node"
        what = "stop it, remap one of the two, or declare other_publishers"
        self._conflict = f"{self.topic} is also commanded by {who}: {what}"
        self.note = f"{self._model}: {self._conflict}"


def _qos(limits: VelocityLimits) -> QoSProfile:
    """Only the newest command, none that is older than a command may be, and one every two periods at least."""
    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        lifespan=Duration(nanoseconds=int(limits.deadline * 1e9)),
        deadline=Duration(nanoseconds=int(2 * limits.period * 1e9)),
    )
