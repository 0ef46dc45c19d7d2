"""What the manifest reserves for this node on this robot: CPUs for its threads, memory that engines leave free."""

from __future__ import annotations

import os
from collections.abc import Mapping

from runtime.contract.codec import ContractError, from_json
from runtime.contract.node.resources import ENV_RESOURCES, ResourcePolicy
from runtime.executor.robot.affinity import Affinity
from runtime.executor.serving.memory import Memory, available_memory


class CpuReservation:
    """Applies a robot's ResourcePolicy, and remembers what could not be applied."""

    def __init__(self, policy: ResourcePolicy, problem: str = "") -> None:
        self._policy, self._problem = policy, problem
        self._affinity = Affinity()
        self._spin_done = False
        keep = policy.keep_free_bytes
        self.memory = Memory(available_memory) if keep is None else Memory(available_memory, keep)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> CpuReservation:
        """Read the policy. One that cannot be read reserves nothing, and a note says so: the robot still works."""
        text = environment.get(ENV_RESOURCES, "")
        try:
            return cls(from_json(ResourcePolicy, text) if text else ResourcePolicy())
        except ContractError as error:
            return cls(ResourcePolicy(), f"{ENV_RESOURCES} is not used: {error}; publish the release again")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        return (*((self._problem,) if self._problem else ()), *self._affinity.notes)

    def pin_worker(self) -> None:
        """Pin the calling thread as one that loads or runs engines."""
        self._affinity.pin("the worker", self._policy.worker_cpus)

    def pin_spin_once(self) -> None:
        """Pin the calling thread as the one that takes messages, the first time."""
        if not self._spin_done:
            self._spin_done = True
            self._affinity.pin("the spin thread", self._policy.spin_cpus)
