"""Simulated time: what the environment says, and a clock that stands still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from runtime.executor.inputs.sim_time import ENV_USE_SIM_TIME, STILL_S, SimTime, sim_time_wanted


@pytest.mark.parametrize(("word", "wanted"), [("", False), ("false", False), ("0", False), ("True", True), ("1", True)])
def test_words_of_the_environment(word: str, wanted: bool) -> None:
    assert sim_time_wanted({ENV_USE_SIM_TIME: word}) is wanted
    assert not sim_time_wanted({})


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="JETFLEET_USE_SIM_TIME=maybe: write true"):
        sim_time_wanted({ENV_USE_SIM_TIME: "maybe"})


class Node:
    def __init__(self) -> None:
        self.ns, self.active = 0, True

    def get_clock(self) -> Any:
        return SimpleNamespace(ros_time_is_active=self.active, now=lambda: SimpleNamespace(nanoseconds=self.ns))


def test_a_clock_that_stands_still_is_said_and_one_of_the_machine_is_not() -> None:
    node, steady = Node(), 100.0
    watch = SimTime(cast("Any", node), lambda: steady)
    watch.look()
    assert watch.notes == ("simulated time (use_sim_time): the clock says 0.0 s",)
    steady += STILL_S
    watch.look()
    [said] = watch.notes
    assert "has stood still for 2 s: nothing new comes on /clock; is a simulator or a bag player" in said
    node.ns = 5_000_000_000
    watch.look()
    assert watch.notes == ("simulated time (use_sim_time): the clock says 5.0 s",)
    node.active = False
    watch.look()
    assert watch.notes == ()
