"""Is there a reason not to update the robot now? Watches topics and asks services, as the manifest's rules say.

Silence about motion is taken for rest only after the node has listened for as long as the rule looks back. A Bool that
nobody ever said is not true; one that was said to be true stays so until somebody says otherwise. A service that does
not answer says no.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool

from runtime.contract.node.resources import BOOL, SERVICE, VELOCITY, InhibitRule

try:
    from std_srvs.srv import Trigger
except ImportError:
    Trigger = None

ANYTHING = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Matches every publisher."""
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Matches those that keep their last message for who comes late, and gets it."""
ANSWER_S = 2.0
Reasons = Callable[[], str]


class Inhibitor:
    """All rules of a robot."""

    def __init__(self, node: Node, rules: Sequence[InhibitRule], clock: Callable[[], float] = time.monotonic) -> None:
        kinds: dict[str, type[_Velocity | _Flag | _Service]] = {VELOCITY: _Velocity, BOOL: _Flag, SERVICE: _Service}
        self._rules: list[Reasons] = [
            kinds[rule.kind](node, rule, clock).reason if rule.kind in kinds else _unknown(rule) for rule in rules
        ]

    def reasons(self) -> tuple[str, ...]:
        """Why the robot must not be updated now; nothing when it may."""
        return tuple(reason for reason in (rule() for rule in self._rules) if reason)


def moves(message: Any) -> bool:
    """Say whether a Twist or TwistStamped asks for any motion. What is not a number is no rest."""
    twist = getattr(message, "twist", message)
    parts = (part for vector in (twist.linear, twist.angular) for part in (vector.x, vector.y, vector.z))
    return any(part != 0.0 for part in parts)


class _Velocity:
    def __init__(self, node: Node, rule: InhibitRule, clock: Callable[[], float]) -> None:
        self._rule, self._clock = rule, clock
        self._listening_since = clock()
        self._moved: float | None = None
        kind = TwistStamped if rule.message == "TwistStamped" else Twist
        self._subscription = node.create_subscription(kind, rule.name, self._take, ANYTHING)

    def _take(self, message: Any) -> None:
        if moves(message):
            self._moved = self._clock()

    def reason(self) -> str:
        now, limit = self._clock(), self._rule.within_s
        if self._moved is not None and now - self._moved < limit:
            return f"{self._rule.name} asked for motion {now - self._moved:.1f} s ago (limit {limit:g} s)"
        if now - self._listening_since < limit:
            return f"{self._rule.name}: the node has listened for less than {limit:g} s"
        return ""


class _Flag:
    def __init__(self, node: Node, rule: InhibitRule, clock: Callable[[], float]) -> None:
        self._rule, self._clock, self._listening_since = rule, clock, clock()
        self._value: bool | None = None
        self._subscriptions = [
            node.create_subscription(Bool, rule.name, self._take, qos) for qos in (ANYTHING, LATCHED)
        ]

    def _take(self, message: Any) -> None:
        self._value = bool(message.data)

    def reason(self) -> str:
        if self._value is None and self._clock() - self._listening_since < ANSWER_S:
            return f"{self._rule.name}: the node has listened for less than {ANSWER_S:g} s"
        return f"{self._rule.name} is true" if self._value else ""


class _Service:
    def __init__(self, node: Node, rule: InhibitRule, clock: Callable[[], float]) -> None:
        self._rule, self._clock = rule, clock
        self._client: Any = None if Trigger is None else node.create_client(Trigger, rule.name)
        self._future: Any = None
        self._asked: float | None = None
        self._said = f"{rule.name} has not been asked yet"

    def reason(self) -> str:
        if self._client is None:
            return f"{self._rule.name} cannot be asked: std_srvs is not installed"
        now = self._clock()
        if self._future is not None:
            self._hear(now)
        if self._future is None and (self._asked is None or now - self._asked >= self._rule.within_s):
            self._ask(now)
        return self._said

    def _ask(self, now: float) -> None:
        self._asked = now
        if not self._client.service_is_ready():
            self._said = f"{self._rule.name} does not answer: no node offers it"
            self._asked = None  # it is looked for again at the next turn
            return
        self._future = self._client.call_async(Trigger.Request())

    def _hear(self, now: float) -> None:
        assert self._asked is not None
        if self._future.done():
            answer = self._future.result()
            self._said = "" if answer is not None and answer.success else f"{self._rule.name} answers no"
            if self._said and answer is not None and answer.message:
                self._said += f": {answer.message}"
            self._future = None
        elif now - self._asked >= ANSWER_S:
            self._client.remove_pending_request(self._future)
            self._future = None
            self._said = f"{self._rule.name} has not answered within {ANSWER_S:g} s"


def _unknown(rule: InhibitRule) -> Reasons:
    """A rule of a newer fleet: what is not understood is not allowed."""
    return lambda: f"this runtime does not know the rule {rule.kind!r} ({rule.name}): roll out a newer one"
