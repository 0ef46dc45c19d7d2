"""Simulated time: whether the node follows ``/clock``, from the start, and whether that clock goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rclpy.node import Node

from runtime.contract.node.ros_settings import ENV_USE_SIM_TIME, switch

STILL_S = 2.0
"""How long a simulated clock may stand still until that is said."""


def sim_time_wanted(environment: Mapping[str, str]) -> bool:
    """Return what the environment says of simulated time. Raises ValueError for another word than true or false."""
    return switch(environment, ENV_USE_SIM_TIME, False, "the node follows /clock")


class SimTime:
    """Watches a node's clock while it is a simulated one."""

    def __init__(self, node: Node, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._node, self._monotonic = node, monotonic
        self._seen_ns: int | None = None
        self._since = 0.0
        self.notes: tuple[str, ...] = ()
        """What a person should know of the node's clock; nothing while it is the machine's own."""

    def look(self) -> None:
        """Look at the clock; call it a few times a second."""
        clock, now = self._node.get_clock(), self._monotonic()
        if not clock.ros_time_is_active:  # type: ignore[attr-defined]  # rclpy's ROSClock has it
            self._seen_ns, self.notes = None, ()
            return
        at_ns = int(clock.now().nanoseconds)
        if at_ns != self._seen_ns:
            self._seen_ns, self._since = at_ns, now
        still_s = now - self._since
        said = f"simulated time (use_sim_time): the clock says {at_ns / 1e9:.1f} s"
        if still_s >= STILL_S:
            why = "is a simulator or a bag player with --clock running?" if at_ns == 0 else "paused?"
            said += f" and has stood still for {still_s:.0f} s: nothing new comes on /clock; {why}"
        self.notes = (said,)
