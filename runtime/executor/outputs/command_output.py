"""A command topic: the guard of `command_guard.py` with a clock, a timer of its own and a publisher.

The worker only leaves results here. A timer on the spin thread publishes at a fixed rate, so that an inference that
hangs, a camera that is silent and a model that failed come to the same: the command runs out, and what is declared for
that is published (a velocity: zero).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from runtime.contract.node.health import DRIVE, CommandHealth
from runtime.executor.inputs.frame_clock import age_s, ahead_s
from runtime.executor.inputs.frames import Stamp
from runtime.executor.inputs.steady_timer import steady_timer
from runtime.executor.inputs.subscriptions import HAS_MESSAGE_INFO
from runtime.executor.outputs.command_guard import STOPPED, Command, Timing
from runtime.executor.outputs.command_kinds import CommandKind
from runtime.executor.outputs.listeners import unheard
from runtime.executor.robot.commanders import Claim, Identity
from runtime.executor.robot.graph import look_at
from runtime.executor.robot.serving_gate import ServingGate

ACKNOWLEDGE_S = 0.2
"""How long the last zero may take to reach everybody before the publisher goes."""
LINGER_S = 0.3
"""The same, where the publisher goes while the node serves on: it yields to somebody else."""
LOOK_AROUND_S = 1.0
"""Between two lines in the log; and between two looks for others where they are only noted."""
SUSPENDED_S = 1.5
"""A process that stood still for so long (SIGSTOP, a frozen machine) may be taken for dead by others: less than the
lease of a participant (2 s, images/runtime/fastdds.xml)."""
HELD = "held"
"""State of a command that is not published: somebody else has the topic, or nobody listens."""
REFUSE, ALLOW = "refuse", "allow"
MEASURED_QOS = QoSProfile(
    depth=10,  # several publishers may share the topic, each with some of the joints
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)


class CommandOutput:
    """Sends commands of one output of one model, within limits and deadlines, and only while nobody else does."""

    def __init__(
        self,
        node: LifecycleNode,
        model: str,
        topic: str,
        kind: CommandKind,
        identity: Identity,
        gate: ServingGate,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``topic``: a resolved name."""
        self._node, self._model, self._monotonic, self._gate = node, model, monotonic, gate
        self._lock = threading.Lock()
        self._kind, self._guard = kind, kind.guard
        self._running = self._commands = self._stood_still = False
        self._failure = ""
        self._others = kind.other_publishers
        self.topic = topic
        self._claim = Claim(self.topic, identity, os.getpid(), kind.unheard)
        self.held = ""
        """Why it commands nothing, for a person: somebody else commands the topic. Empty: that is not so."""
        self.note = ""
        self.shared = False
        """Another output of this node has the same topic: neither commands."""
        self._logged = self._looked = self._ticked = self._pulsed = self._quiet_since = -LOOK_AROUND_S
        self._state = ""
        self._command: Command[Any] = Command(None, STOPPED, None, "not active")
        self._driven = self._sent = 0
        self._publisher: Any = None
        self._timer: Any = None
        self._measuring: Any = None

    # ── the worker thread ──

    def __call__(self, stamp: Stamp, result: Any) -> None:
        """Take a result; the timer publishes what becomes of it."""
        if not isinstance(result, self._kind.result):
            return
        now_ns, now = int(self._node.get_clock().now().nanoseconds), self._monotonic()
        ahead, age = ahead_s(stamp, now_ns), age_s(stamp, now_ns, now)
        # The same stamp in a new message is the same frame: its arrival is no part of its name.
        frame = stamp._replace(arrived_s=0.0) if stamp.nanoseconds else None
        with self._lock:  # while it is held, the guard does not run, and takes nothing
            self._failure = ""
            if ahead:
                self._guard.fail(
                    now, f"the frame's stamp is {ahead:.3f} s ahead of the robot's clock: its age is not known"
                )
            else:
                self._guard.accept(now, result, frame, age)

    def health(self) -> CommandHealth:
        """Return what it does now, and why it does not drive."""
        with self._lock:
            command, measured = self._command, self._kind.measured
            refused = 0 if measured is None else measured.refused
            return CommandHealth(
                self.topic, command.state, command.reason, self._driven, self._sent, *self._kind.limited, refused
            )

    def failed(self, reason: str) -> None:
        """The model failed on a frame, or altogether."""
        with self._lock:
            self._failure = reason
            self._guard.fail(self._monotonic(), reason)

    # ── the spin thread ──

    def tick(self) -> None:
        """Publish the command of this moment, or nothing where the topic is somebody else's."""
        with self._lock:
            if not self._running:  # stopped between the timer's call and here: zero was the last command
                return
            now = self._monotonic()
            suspended = self._stood_still or now - self._ticked > SUSPENDED_S
            self._ticked, self._stood_still = now, False
            if self._others == REFUSE:
                command = self._by_claim(now, suspended=suspended)
            else:
                if now - self._looked >= LOOK_AROUND_S:
                    self._looked = now
                    self._note_others(now)
                command = self._guard.tick(now)
                self._publish(command)
            self._command = command
        self._log(command, now)

    def _by_claim(self, now: float, *, suspended: bool) -> Command[Any]:
        """Command, or yield before the next command: one last one, and after a moment no publisher either."""
        claim = self._claim
        if suspended:
            claim.suspended(now)
        self._look(now)
        if claim.may_command and not self.shared:
            if not self._commands:
                self._commands = True
                self._start_guard(now)
            command = self._guard.tick(now)
            self._publish(command)
            return command
        reason = self.held or claim.reason
        if self._commands:
            self._commands = False
            self._guard.stop(reason)
            self._quiet_since = now
            if not suspended:  # what was commanded before that is long over, and somebody else may be at it
                self._publish(self._guard.tick(now))
        if self._publisher is None and claim.may_exist and not self.shared:
            self._open_publisher(now)
        elif self._publisher is not None and not claim.may_exist and now - self._quiet_since >= LINGER_S:
            self._withdraw()
        return Command(None, HELD, None, reason)

    def _start_guard(self, now: float) -> None:
        self._guard.start(now)
        if self._failure:  # the model failed while nothing could be commanded
            self._guard.fail(now, self._failure)

    def _publish(self, command: Command[Any]) -> None:
        if command.value is None:
            return
        now_ns = int(self._node.get_clock().now().nanoseconds)
        self._publisher.publish(self._kind.fill(command.value, command.frame, now_ns))
        self._sent += 1
        self._driven += command.state == DRIVE

    def _log(self, command: Command[Any], now: float) -> None:
        """Say that it drives, or why it does not; at most once a second, and only what changed."""
        said = command.state if command.state == DRIVE else f"{command.state}: {command.reason}"
        if said == self._state or now - self._logged < LOOK_AROUND_S:
            return
        self._state, self._logged = said, now
        self._node.get_logger().info(f"{self._model}: {self._kind.name} on {self.topic}: {said}")

    # ── transitions, and the threads that look after the node ──

    def watch(self) -> None:
        """Look at the graph while the node does not serve, so that at its turn it knows who is there."""
        with self._lock:
            now = self._monotonic()
            self._stood_still = self._stood_still or now - max(self._ticked, self._pulsed) > SUSPENDED_S
            self._pulsed = now
            if not self._running and self._others == REFUSE:
                self._look(now)

    @property
    def looked(self) -> bool:
        """Whether others have had the time to be found, so that the first command need not wait for it."""
        with self._lock:
            return self._others != REFUSE or self._claim.looked(self._monotonic())

    def listened(self) -> tuple[str, ...]:
        """Return who listens and never hears anything, and why."""
        self._note_measured()
        return unheard(self._node, self.topic, self._kind.message, _qos(self._guard.timing))

    def open(self) -> None:
        """Let a timer exist that sends nothing yet, and the publisher, where nobody else has the topic."""
        with self._lock:
            if self._timer is not None:
                return
            now = self._monotonic()
            if self._others == REFUSE:
                self._look(now)
            if self._others != REFUSE or (self._claim.may_exist and not self.shared):
                self._open_publisher(now)
            self._timer = steady_timer(self._node, self._guard.timing.period, self.tick)
            self._timer.cancel()
            self._measure()

    def start(self) -> None:
        """Begin (a velocity: at zero) as soon as nobody else commands the topic."""
        with self._lock:
            self._ticked = now = self._monotonic()
            self._running, self._commands = True, self._others != REFUSE
            self._stood_still = False
            if self._commands:
                self._start_guard(now)
        self._timer.reset()

    def stop(self, reason: str) -> None:
        """Publish the last command now (a velocity: zero), from this thread, and nothing after it; nothing at all where
        we do not command."""
        with self._lock:
            self._guard.stop(reason)
            now = self._monotonic()
            self._command = self._guard.tick(now)
            if not self._running:
                return
            self._running = False
            self._timer.cancel()
            suspended = self._stood_still or now - max(self._ticked, self._pulsed) > SUSPENDED_S
            if not self._commands or suspended:
                return
            self._commands = False
            self._publish(self._command)
        self._publisher.wait_for_all_acked(Duration(nanoseconds=int(ACKNOWLEDGE_S * 1e9)))

    def close(self) -> None:
        """Take timer and publisher away, after :meth:`stop`."""
        with self._lock:
            if self._timer is not None:
                self._node.destroy_timer(self._timer)
                self._timer = None
            if self._measuring is not None:
                self._node.destroy_subscription(self._measuring)
                self._measuring = None
            self._withdraw()
            self.held = self.note = ""

    def others(self) -> int:
        """How many others publish on this topic, as far as the graph shows, the dead included. Before :meth:`open`."""
        return len(self._node.get_publishers_info_by_topic(self.topic)) if self._others != ALLOW else 0

    def _measure(self) -> None:
        """Listen to what is measured of the joints, where that is needed."""
        measured = self._kind.measured
        if measured is None:
            return
        measured.forget()

        def take(message: bytes) -> None:
            take_with_info(message, {})

        def take_with_info(message: bytes, info: dict[str, Any]) -> None:
            publisher = bytes((info.get("publisher_gid") or {}).get("data", b""))
            with self._lock:
                measured.take(message, self._monotonic(), publisher)

        taken: Callable[..., None] = take_with_info if HAS_MESSAGE_INFO else take
        self._measuring = self._node.create_subscription(JointState, measured.topic, taken, MEASURED_QOS, raw=True)

    def _note_measured(self) -> None:
        """Look who publishes what is measured, and as what: another type never arrives."""
        measured = self._kind.measured
        if measured is not None and self._measuring is not None:
            measured.published_as({info.topic_type for info in self._node.get_publishers_info_by_topic(measured.topic)})

    def _open_publisher(self, now: float) -> None:
        self._publisher = self._node.create_publisher(self._kind.message, self.topic, _qos(self._guard.timing))
        self._claim.opened(now)
        if self._claim.identity.participant is not None:
            seen = look_at(self._node, self.topic).publishers
            self._gate.remember([each.gid for each in seen if self._claim.identity.ours(each)])

    def _withdraw(self) -> None:
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
            self._claim.withdrawn()

    def _look(self, now: float) -> None:
        claim, seen = self._claim, look_at(self._node, self.topic)
        claim.look(now, seen.publishers, seen.listeners, self._gate.gone)
        twice = f"{self.topic} is also commanded by another output of this node: remap one of the two"
        self.held = twice if self.shared else claim.conflict
        said = self.held or claim.reason
        self.note = f"{self._model}: {said}" if said and self._running else ""

    def _note_others(self, now: float) -> None:
        """Where others are only warned of: one of them may be another output of this very node."""
        if self._others != ALLOW:
            self._look(now)
            self.note = f"{self._model}: {self.held}" if self.held else ""
            self.held = ""


def _qos(timing: Timing) -> QoSProfile:
    """Only the newest command, none that is older than a command may be, and one every two periods at least."""
    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        liveliness=LivelinessPolicy.AUTOMATIC,
        lifespan=Duration(nanoseconds=int(timing.deadline * 1e9)),
        deadline=Duration(nanoseconds=int(2 * timing.period * 1e9)),
    )
