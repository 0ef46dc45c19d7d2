"""A service that decides about updates: what it answers, and that silence is a no. The clock is the test's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from runtime.contract.node.resources import InhibitRule
from runtime.executor.robot import inhibit
from runtime.executor.robot.inhibit import ANSWER_S, Inhibitor, moves


class Client:
    """A client whose answers the test gives."""

    def __init__(self) -> None:
        self.ready = False
        self.answer: Any = None
        self.asked = 0

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request: Any) -> Any:
        self.asked += 1
        return SimpleNamespace(done=lambda: self.answer is not None, result=lambda: self.answer)

    def remove_pending_request(self, future: Any) -> None:
        self.answer = None


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> tuple[Client, SimpleNamespace, Inhibitor]:
    client, clock = Client(), SimpleNamespace(now=100.0)
    monkeypatch.setattr(inhibit, "Trigger", SimpleNamespace(Request=object))
    node = SimpleNamespace(create_client=lambda kind, name: client)
    rules = [InhibitRule("service", "/may_update", 10.0)]
    return client, clock, Inhibitor(node, rules, lambda: clock.now)  # type: ignore[arg-type]


def test_a_service_that_nobody_offers_or_that_does_not_answer_says_no(
    rig: tuple[Client, SimpleNamespace, Inhibitor],
) -> None:
    client, clock, rules = rig
    assert rules.reasons() == ("/may_update does not answer: no node offers it",)
    client.ready = True
    rules.reasons()
    clock.now += ANSWER_S
    assert rules.reasons() == ("/may_update has not answered within 2 s",)
    assert client.asked == 1


def test_its_answer_counts_until_it_is_asked_again(rig: tuple[Client, SimpleNamespace, Inhibitor]) -> None:
    client, clock, rules = rig
    client.ready = True
    rules.reasons()
    client.answer = SimpleNamespace(success=True, message="")
    assert rules.reasons() == ()
    clock.now += 9.0
    assert (rules.reasons(), client.asked) == ((), 1)
    clock.now += 1.0
    rules.reasons()
    client.answer = SimpleNamespace(success=False, message="charging")
    assert rules.reasons() == ("/may_update answers no: charging",)
    assert client.asked == 2


def test_without_its_package_and_for_an_unknown_rule_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inhibit, "Trigger", None)
    rules = [InhibitRule("service", "/may_update"), InhibitRule("moonphase", "/moon")]
    found = Inhibitor(SimpleNamespace(), rules).reasons()  # type: ignore[arg-type]
    assert found[0] == "/may_update cannot be asked: std_srvs is not installed"
    assert "does not know the rule 'moonphase'" in found[1]


def test_what_is_not_a_number_is_motion() -> None:
    def twist(x: float) -> Any:
        zero = SimpleNamespace(x=0.0, y=0.0, z=0.0)
        return SimpleNamespace(linear=SimpleNamespace(x=x, y=0.0, z=0.0), angular=zero)

    assert [moves(twist(x)) for x in (0.0, 0.1, float("nan"))] == [False, True, True]
    assert moves(SimpleNamespace(twist=twist(0.1)))
