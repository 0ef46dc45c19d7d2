"""Hands tests to the workers of pytest-xdist: some workers take the lab's tests first, the others never take one.

Each worker that runs a lab test brings up robots of its own, so their number is bounded: a robot's Engine, camera and
executor take memory and processor time for as long as its worker lives. Everything else is as ``--dist loadgroup``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadGroupScheduling

from tests.harness import tiers

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

LAB_WORKERS = "JETFLEET_LAB_WORKERS"
DEFAULT_LAB_WORKERS = 3


class TierScheduling(LoadGroupScheduling):
    """`loadgroup` with tiers. The first workers take lab tests; a worker for which nothing is left is ended."""

    def __init__(self, config: Any, log: Any = None) -> None:
        config.option.loadscopereorder = False  # the order is that of the tiers, not of how many tests a group has
        super().__init__(config, log)
        self._lab_workers = int(os.environ.get(LAB_WORKERS, DEFAULT_LAB_WORKERS))
        self._started = 0

    def schedule(self) -> None:
        self._started = self._started or len(self.nodes)
        super().schedule()

    def _takes_lab(self, node: WorkerController) -> bool:
        number = int(str(node.gateway.id).removeprefix("gw"))
        # A worker that crashed is replaced by one with a higher number, which has to take whatever is left.
        return number < self._lab_workers or number >= self._started

    def _assign_work_unit(self, node: WorkerController) -> None:
        chosen = tiers.choose(self.workqueue, self._takes_lab(node))
        if chosen is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)
