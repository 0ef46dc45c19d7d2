"""Listeners of our outputs that never hear anything: another message type, or a quality of service that does not match.

DDS matches such a listener with no publisher and says nothing to it: a base that waits for Twist stands still while
TwistStamped is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

FOREVER = Duration(nanoseconds=(1 << 63) - 1)
"""RMW_DURATION_INFINITE."""
MAX_NAMED = 8
"""Listeners of one topic that are named."""


def unheard(node: Node, topic: str, kind: type[Any], offered: QoSProfile) -> tuple[str, ...]:
    """Return one sentence for each listener on ``topic`` (a resolved name) that ``kind`` with ``offered`` never
    reaches."""
    return misfits(topic, type_name(kind), offered, node.get_subscriptions_info_by_topic(topic))


def misfits(topic: str, kind: str, offered: QoSProfile, listeners: Iterable[Any]) -> tuple[str, ...]:
    """Return who of ``listeners`` (rclpy's TopicEndpointInfo) cannot hear messages of type ``kind``, and why."""
    found = {said for each in listeners if (said := _misfit(topic, kind, offered, each))}
    shown = sorted(found)[:MAX_NAMED]
    return (*shown, f"{topic}: {len(found) - MAX_NAMED} more") if len(found) > MAX_NAMED else tuple(shown)


def type_name(kind: type[Any]) -> str:
    """Return ``package/msg/Name`` of a message class."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def _misfit(topic: str, kind: str, offered: QoSProfile, listener: Any) -> str:
    name = f"{listener.node_namespace.rstrip('/')}/{listener.node_name}"
    if listener.topic_type != kind:
        return (
            f"{name} subscribes to {topic} as {listener.topic_type} and receives nothing: {kind} is published; "
            "change the "
            "subscriber, or the output's options (message, for a velocity or joints)"
        )
    compatible, reason = qos_check_compatible(_spelled_out(offered), listener.qos_profile)
    if compatible != QoSCompatibility.ERROR:
        return ""
    reasons = "; ".join(each.strip() for each in reason.replace("ERROR: ", "").split(";") if each.strip())
    return (
        f"{name} subscribes to {topic} and receives nothing: its quality of service requests more than is offered "
        f"({reasons}); let it request volatile durability, without a deadline or liveliness"
    )


def _spelled_out(profile: QoSProfile) -> QoSProfile:
    """Return the profile as the graph shows it: a time that is not given is infinite there, and 0 in a profile."""
    return QoSProfile(
        depth=profile.depth,
        history=profile.history,
        reliability=profile.reliability,
        durability=profile.durability,
        liveliness=profile.liveliness,
        deadline=profile.deadline if profile.deadline.nanoseconds else FOREVER,
        liveliness_lease_duration=FOREVER,
    )
