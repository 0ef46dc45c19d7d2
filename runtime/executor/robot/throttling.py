"""Does what the agent orders because of heat: fewer frames, none, or a lighter engine; and takes it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.robot.power import ServingOrders
from runtime.executor.serving.candidates import CONFIGURED, FALLBACK, configured, fallback
from runtime.executor.serving.changer import Change
from runtime.executor.serving.pipeline import ACTIVE, Pipeline

RETRY_AFTER = 60
"""Orders (one a second) until the configured engine is tried again that could not come back."""


@dataclass
class _Model:
    pipeline: Pipeline
    change: Change | None = None
    """The last change of engine that was begun for an order."""
    lightened: bool = False
    """The order in force has been acted on, whatever came of it."""
    wait: int = 0


class Throttling:
    """Obeys one node's orders. Called from one thread; engines are changed elsewhere."""

    def __init__(self, pipelines: Iterable[Pipeline], engines_dir: Path, begin: Callable[[Change], Change]) -> None:
        self._models = [_Model(pipeline) for pipeline in pipelines]
        self._engines_dir, self._begin = engines_dir, begin

    def obey(self, orders: ServingOrders) -> None:
        """Do what ``orders`` say; a model that they do not name does all it can."""
        for one in self._models:
            name = one.pipeline.model.name
            one.pipeline.duty.set(orders.rates.get(name, 1.0), orders.refused.get(name, ""))
            if one.change is None or one.change.done.is_set():
                self._weigh(one, orders.lighter.get(name, ""))

    def _weigh(self, one: _Model, why: str) -> None:
        if why and not one.lightened:
            one.lightened = True
            self._lighten(one, why)
        elif not why and one.lightened:
            one.lightened, one.wait = False, 0
        if not why and one.change is not None:
            self._restore(one)

    def _lighten(self, one: _Model, why: str) -> None:
        """Put the fallback in, for a model whose own engine serves; one that failed has its fallback already."""
        candidate = fallback(one.pipeline.model, self._engines_dir, why)
        if candidate is not None and one.pipeline.state == ACTIVE and one.pipeline.slot.source == CONFIGURED:
            one.change = self._begin(Change(one.pipeline, candidate, keep_old=True))

    def _restore(self, one: _Model) -> None:
        """Bring the configured engine back where this put the fallback in its place, until it is there."""
        if one.pipeline.slot.source != FALLBACK or not one.pipeline.slot.open:
            one.change = None  # it is back, it never went, or the node is being cleaned up
        elif one.wait > 0:
            one.wait -= 1
        else:
            one.wait = RETRY_AFTER
            own = configured(one.pipeline.model, self._engines_dir)
            one.change = self._begin(Change(one.pipeline, own, keep_old=True))
