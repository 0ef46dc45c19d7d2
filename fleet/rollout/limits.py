"""How long one robot may take, by its order and by the state that it was seen in last. Pure; seconds throughout."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.contract.robot.update import PROBATION, REVERTING, SWITCHING, WAITING, UpdateOrder, UpdateState

_SLACK = 2.0
"""A robot may fetch so many times longer than its image takes at the manifest's rate: links are slower at times."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for one robot, seconds."""

    fetch_s: float = 3600.0
    submit_s: float = 60.0
    switch_s: float = 180.0
    """For `docker compose up` and a revert, beyond what the release's own probation allows."""
    lost_after_s: float = 600.0
    """So long after its own deadline a silent robot is lost: the manifest's ``rollout/lost/after``."""

    def update_s(self, order: UpdateOrder) -> float:
        """From the order to its end (the way back included), or to the wait for confirmation."""
        waits = 2 * order.switch.wait_s  # for the download's window, then for the switch's or the lock
        fetch_s = max(self.fetch_s, _SLACK * order.variant.image_bytes / (order.switch.bytes_per_s or float("inf")))
        return waits + fetch_s + self._probation_s(order) + self.switch_s + self.revert_s(order)

    def revert_s(self, order: UpdateOrder) -> float:
        """From the wish to go back to the old release running again."""
        return self.switch_s + order.probation.ready_timeout_s + order.probation.soak_s

    def left_s(self, order: UpdateOrder, seen: UpdateState | None) -> float | None:
        """From the moment in which a robot was seen in a state to the end that it brings about by itself.

        That end is a commit, or the old release running again because nobody confirmed. None: the state says nothing
        about it (not seen yet, or still fetching).
        """
        if seen is None:
            return None
        confirm_s = order.probation.confirm_timeout_s
        if seen.awaiting_confirmation:
            return confirm_s + self.revert_s(order)
        from_probation_s = self._probation_s(order) + confirm_s + self.revert_s(order)
        return {
            WAITING: order.switch.wait_s + self.switch_s + from_probation_s,
            SWITCHING: self.switch_s + from_probation_s,
            PROBATION: from_probation_s,
            REVERTING: self.revert_s(order),
        }.get(seen.state)

    @staticmethod
    def _probation_s(order: UpdateOrder) -> float:
        return order.probation.ready_timeout_s + order.probation.soak_s
