"""Orders because of heat: a lighter engine comes in and the configured one comes back; frames are taken and given."""

from __future__ import annotations

from runtime.contract.robot.power import ServingOrders
from runtime.executor.robot.throttling import RETRY_AFTER, Throttling
from runtime.executor.serving.changer import Change
from runtime.executor.serving.pipeline import MAX_CONSECUTIVE_FAILURES
from tests.unit.executor.test_fallback import Rig, with_fallback
from tests.unit.executor.test_pipeline import model

HOT = ServingOrders({"m": 0.25}, lighter={"m": "hot: 90 °C"})


class Site:
    """A model, and changes of engine that are made at once or refused."""

    def __init__(self, rig: Rig | None = None) -> None:
        self.rig = rig or Rig(with_fallback())
        self.refuse = ""
        self.changes: list[Change] = []
        self.throttling = Throttling([self.rig.pipeline], self.rig.pipeline.slot._engines_dir, self.begin)

    def begin(self, change: Change) -> Change:
        self.changes.append(change)
        change.refused = self.refuse
        if not self.refuse:
            change.pipeline.slot.install(self.rig.prepared(change.candidate), keep_old=change.keep_old)
        change.done.set()
        return change

    def serving(self) -> tuple[str, str]:
        health = self.rig.pipeline.health()
        return health.serving, health.serving_reason


def test_a_lighter_engine_comes_in_once_and_the_configured_one_comes_back() -> None:
    site = Site()
    for _ in range(5):
        site.throttling.obey(HOT)
    assert site.serving() == ("fallback", "hot: 90 °C")
    assert len(site.changes) == 1
    assert site.changes[0].keep_old
    for value in range(1, 9):
        site.rig.frame(value)
    assert site.rig.results == [("f4", -1.0), ("f8", -1.0)]
    for _ in range(5):
        site.throttling.obey(ServingOrders())
    assert site.serving() == ("configured", "")
    assert len(site.changes) == 2
    site.rig.frame(9)
    assert site.rig.results[-1] == ("f9", 9.0)
    site.throttling.obey(HOT)
    assert site.serving()[0] == "fallback"


def test_what_was_refused_is_not_tried_again_until_the_next_time() -> None:
    site = Site()
    site.refuse = "memory cannot hold both"
    for _ in range(100):
        site.throttling.obey(HOT)
    assert len(site.changes) == 1
    assert site.serving()[0] == "configured"
    site.throttling.obey(ServingOrders())
    site.refuse = ""
    site.throttling.obey(HOT)
    assert site.serving()[0] == "fallback"


def test_an_engine_that_cannot_come_back_is_tried_again_later() -> None:
    site = Site()
    site.throttling.obey(HOT)
    site.refuse = "memory cannot hold both"
    for _ in range(RETRY_AFTER):
        site.throttling.obey(ServingOrders())
    assert len(site.changes) == 2
    assert site.serving()[0] == "fallback"
    site.refuse = ""
    for _ in range(2):
        site.throttling.obey(ServingOrders())
    assert site.serving()[0] == "configured"


def test_a_change_that_is_still_going_on_is_waited_for() -> None:
    site = Site()
    pending: list[Change] = []

    def never_done(change: Change) -> Change:
        pending.append(change)
        return change

    site.throttling._begin = never_done
    for _ in range(5):
        site.throttling.obey(HOT)
        site.throttling.obey(ServingOrders())
    assert len(pending) == 1


def test_a_model_without_a_fallback_keeps_its_engine() -> None:
    site = Site(Rig(model()))
    site.throttling.obey(HOT)
    assert site.changes == []
    assert not site.rig.pipeline.duty.take()


def test_a_fallback_that_serves_because_the_engine_failed_is_left_alone() -> None:
    site = Site()
    site.rig.runners["m"].error = RuntimeError("bad")
    for value in range(MAX_CONSECUTIVE_FAILURES):
        site.rig.frame(value)
    [candidate] = site.rig.asked
    site.rig.pipeline.slot.install(site.rig.prepared(candidate))
    before = site.serving()
    site.throttling.obey(HOT)
    site.throttling.obey(ServingOrders())
    assert site.changes == []
    assert site.serving() == before


def test_an_executor_that_starts_again_while_it_is_hot_lightens_again() -> None:
    site = Site()
    site.throttling.obey(HOT)
    again = Site()
    again.throttling.obey(HOT)
    assert again.serving()[0] == "fallback"
