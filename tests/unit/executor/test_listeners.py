"""Who listens to an output and never hears it: every way in which DDS matches nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from runtime.executor.outputs.listeners import FOREVER, MAX_NAMED, misfits, type_name
from runtime.executor.outputs.publishers import RESULT_QOS

OFFERED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    deadline=Duration(seconds=1),
    liveliness=LivelinessPolicy.AUTOMATIC,
)
STAMPED = type_name(TwistStamped)


def listener(kind: type[Any] = TwistStamped, name: str = "base", **asked: Any) -> Any:
    # As the graph shows a listener that asks for nothing: infinite times.
    profile = QoSProfile(depth=1, **{"deadline": FOREVER, "liveliness_lease_duration": FOREVER, **asked})
    return SimpleNamespace(node_name=name, node_namespace="/", topic_type=type_name(kind), qos_profile=profile)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"reliability": ReliabilityPolicy.BEST_EFFORT},
        {"liveliness": LivelinessPolicy.AUTOMATIC},
        {"reliability": ReliabilityPolicy.RELIABLE, "deadline": Duration(seconds=2)},
    ],
)
def test_who_asks_for_no_more_than_is_offered_hears_it(asked: dict[str, Any]) -> None:
    assert misfits("/cmd_vel", STAMPED, OFFERED, [listener(**asked)]) == ()


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"durability": DurabilityPolicy.TRANSIENT_LOCAL}, "transient local"),
        ({"deadline": Duration(nanoseconds=10_000_000)}, "deadline"),
        ({"liveliness": LivelinessPolicy.MANUAL_BY_TOPIC}, "liveliness"),
    ],
)
def test_who_asks_for_more_is_named_with_what_he_asks_for(asked: dict[str, Any], word: str) -> None:
    [said] = misfits("/cmd_vel", STAMPED, OFFERED, [listener(**asked)])
    assert said.startswith("/base subscribes to /cmd_vel and receives nothing")
    reasons = said.partition("(")[2].partition(")")[0].lower()
    assert word in reasons
    assert reasons.count(";") == 0


def test_another_type_is_named_once_a_listener_and_many_are_counted() -> None:
    [said] = misfits("/cmd_vel", STAMPED, OFFERED, [listener(Twist), listener(Twist), listener()])
    assert said.startswith("/base subscribes to /cmd_vel as geometry_msgs/msg/Twist and receives nothing: ")
    assert "geometry_msgs/msg/TwistS" in said
    many = misfits("/cmd_vel", STAMPED, OFFERED, [listener(Twist, f"n{index:02}") for index in range(MAX_NAMED + 3)])
    assert len(many) == MAX_NAMED + 1
    assert many[-1] == "/cmd_vel: 3 more"


def test_results_without_a_deadline_are_heard_by_who_asks_for_none() -> None:
    assert misfits("/y", STAMPED, RESULT_QOS, [listener(), listener(reliability=ReliabilityPolicy.RELIABLE)]) == ()
    [said] = misfits("/y", STAMPED, RESULT_QOS, [listener(deadline=Duration(seconds=1))])
    assert "deadline" in said
