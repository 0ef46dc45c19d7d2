"""Holds the robot's update lock by its rules, once a second, from the spin thread: a thread that hangs falls silent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from rclpy.node import Node

from runtime.contract.codec import ContractError, from_json
from runtime.contract.node.resources import ENV_INHIBIT, LOCK_FILE, InhibitPolicy
from runtime.executor.inputs.steady_timer import steady_timer
from runtime.executor.robot.inhibit import Inhibitor
from runtime.executor.robot.update_lock import UpdateLock

#: Another lock file than the contract's (laptops and tests).
ENV_LOCK_FILE = "JETFLEET_LOCK_FILE"
PERIOD_S = 1.0


class LockKeeper:
    """Rules and lock of one robot; without rules there is no lock."""

    def __init__(
        self,
        node: Node,
        policy: InhibitPolicy | None,
        path: Path,
        problem: str = "",
        elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        """``elsewhere``: another container serves, and it is the one to say whether the robot may be updated."""
        self._lock, self._problem, self._elsewhere = UpdateLock(path), problem, elsewhere
        self._reasons: tuple[str, ...] = ()
        self._rules = None if policy is None else Inhibitor(node, policy.rules)
        if policy is not None or problem:
            steady_timer(node, PERIOD_S, self._turn)
            self._turn()

    @classmethod
    def from_environment(
        cls, node: Node, elsewhere: Callable[[], bool], environment: Mapping[str, str] = os.environ
    ) -> LockKeeper:
        """Read the rules. Rules that cannot be read hold the lock: what is not understood is not allowed."""
        text, path = environment.get(ENV_INHIBIT, ""), Path(environment.get(ENV_LOCK_FILE) or LOCK_FILE)
        try:
            return cls(node, from_json(InhibitPolicy, text) if text else None, path, elsewhere=elsewhere)
        except ContractError as error:
            why = f"{ENV_INHIBIT} cannot be read: {error}; publish the release again"
            return cls(node, None, path, why, elsewhere)

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds an update back now, and what keeps the lock from working."""
        said = tuple(f"no update now: {reason}" for reason in self._reasons)
        return (*said, self._lock.problem) if self._lock.problem else said

    def _turn(self) -> None:
        rules = self._rules
        if self._elsewhere():
            self._reasons = ()
            self._lock.close()
            return
        self._reasons = (self._problem,) if rules is None else rules.reasons()
        self._lock.update(self._reasons)
