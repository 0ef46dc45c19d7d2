"""A bond with a lifecycle manager: while the node is active it says so ten times a second, and says when it is no more.

As nav2's nodes do it (nav2_util::LifecycleNode, bondcpp): topic ``bond``, the node's name as id, each side an instance
of its own. A manager whose ``bond_timeout`` is 0 asks for none. The package is ``bond`` (apt: ros-<distro>-bond).
"""

from __future__ import annotations

import importlib
import uuid
from typing import Any

from rclpy.node import Node

from runtime.executor.inputs.steady_timer import steady_timer

TOPIC = "bond"
PERIOD_S, TIMEOUT_S = 0.1, 4.0
"""nav2's own."""
MISSING = (
    "the package bond is not installed: give the lifecycle manager bond_timeout: 0.0 for this node, or install "
    "ros-<distro>-bond in the profile's base image"
)


class Bond:
    """Between ``form`` and ``end`` the manager knows that the node lives."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._status = _status_type()
        self._publisher: Any = None
        self._timer: Any = None
        self._instance = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        return (MISSING,) if self._status is None else ()

    def form(self) -> None:
        """Begin to say that the node is active."""
        if self._status is None or self._publisher is not None:
            return
        self._instance = str(uuid.uuid4())
        self._publisher = self._node.create_publisher(self._status, TOPIC, 5)
        self._timer = steady_timer(self._node, PERIOD_S, lambda: self._say(active=True))

    def end(self) -> None:
        """Say that it is no more, once."""
        if self._publisher is None:
            return
        self._node.destroy_timer(self._timer)
        self._say(active=False)
        self._node.destroy_publisher(self._publisher)
        self._publisher = self._timer = None

    def _say(self, *, active: bool) -> None:
        publisher = self._publisher
        if publisher is None:  # a tick that began before the end
            return
        status = self._status(  # type: ignore[misc]  # there is a publisher, so there is a type
            id=self._node.get_name(), instance_id=self._instance, active=active,
            heartbeat_timeout=TIMEOUT_S, heartbeat_period=PERIOD_S,
        )  # fmt: skip
        status.header.stamp = self._node.get_clock().now().to_msg()
        publisher.publish(status)


def _status_type() -> type[Any] | None:
    """Return bond/msg/Status, or None where it is not installed."""
    try:
        found: type[Any] = importlib.import_module("bond.msg").Status
    except (ImportError, AttributeError):
        return None
    return found
