"""Timers of steady time: a simulated clock that pauses, loops or never begins does not stop them."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]  # Humble has it nowhere else
from rclpy.node import Node
from rclpy.timer import Timer


def steady_timer(node: Node, period_s: float, run: Callable[[], None]) -> Timer:
    """Call ``run`` every ``period_s`` seconds on the spin thread of ``node``, whatever its clock says."""
    return node.create_timer(period_s, run, clock=Clock(clock_type=ClockType.STEADY_TIME))
