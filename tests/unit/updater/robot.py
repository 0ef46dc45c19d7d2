"""A robot with a fake world, a real journal on disk, and an updater that can die anywhere and start again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.daemon.updater import Updater
from runtime.updater.state.records import CONFIRM, HistoryEntry, Journal, Request
from runtime.updater.state.transitions import kept_releases
from runtime.updater.state.world import StepInterrupted
from runtime.updater.storage.journal import History, JournalStore
from tests.fakes.robots.robot_world import FakeWorld, order


class Crash(BaseException):
    """The process dies here."""


class Robot:
    """``world`` survives crashes, the updater does not."""

    def __init__(self, root: Path, *, confirms: bool = True) -> None:
        self.root = root
        self.confirms = confirms
        self.world = FakeWorld(root)
        self.ticks = 0
        self.crash_at: int | None = None
        self.log: list[str] = []
        (root / "state").mkdir()
        self.updater = self.boot()

    def boot(self) -> Updater:
        """Start a new process on what is on disk."""
        self.updater = Updater(self.root / "state", _Dying(self.world, self), "amr-001", "test")  # type: ignore[arg-type]
        store = self.updater._store
        store.save = _dying(store.save, "save", self)  # type: ignore[method-assign]
        self.updater.start()
        return self.updater

    def history(self, count: int) -> list[HistoryEntry]:
        """How the last orders ended, as it is on disk, oldest first."""
        return History(self.root / "state").entries(count)

    def tick(self, where: str) -> None:
        self.log.append(where)
        self.ticks += 1
        if self.crash_at is not None and self.ticks == self.crash_at:
            self.crash_at = None
            raise Crash(where)

    def drive(self, limit: int = 2000, until: Callable[[UpdateState], bool] = lambda _state: False) -> UpdateState:
        """Run until idle and tidy, or until ``until``; confirm when asked to, where the controller is there."""
        for _ in range(limit):
            state = self.updater.status()
            if not self.updater.busy or until(state):
                return state
            if self.confirms and state.awaiting_confirmation:
                self.updater.leave(Request(CONFIRM, state.order_id))
            try:
                if not self.updater.step():
                    self.world.sleep(1.0)
            except StepInterrupted:
                self.world.interrupt.clear()
        raise AssertionError(f"never ended: {self.updater.status()}\n" + "\n".join(self.world.notes[-20:]))

    def run(self, what: UpdateOrder) -> UpdateState:
        self.updater.submit(what)
        return self.drive()

    def on(self, letter: str) -> UpdateState:
        """Bring the robot to the release called ``letter``, well."""
        state = self.run(order(letter, order_id=f"to-{letter}"))
        assert state.outcome == "committed", state
        self.ticks, self.log = 0, []
        return state

    @property
    def journal(self) -> Journal:
        """As it is on disk."""
        journal, complaints = JournalStore(self.root / "state").load()
        assert complaints == []
        return journal

    def assert_whole(self) -> None:
        """The robot is idle and runs, wholly, what its journal and links say, well."""
        journal, world = self.journal, self.world
        assert journal.state == "idle"
        assert not journal.tidy_due
        links = world.links()
        kept = {release.folder for release in kept_releases(journal)}
        begun = {journal.deferred.folder} if journal.deferred else set()  # before its folder was written, perhaps
        assert kept - begun <= set(world.releases()) <= kept
        assert links.current == (journal.current.folder if journal.current else None)
        assert links.previous == (journal.previous.folder if journal.previous else None)
        if journal.current is None:
            assert world.runs is None
            return
        assert world.runs is not None
        assert world.runs.image == journal.current.image
        assert world._environment(journal.current.folder)["JETFLEET_IMAGE"] == journal.current.image


class _Dying:
    """The world, with a chance to die before and after each call."""

    def __init__(self, world: FakeWorld, robot: Robot) -> None:
        self._world, self._robot = world, robot

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._world, name)
        if not callable(found) or name in ("mark", "note", "sleep"):
            return found
        return _dying(found, name, self._robot)


def _dying(call: Callable[..., Any], name: str, robot: Robot) -> Callable[..., Any]:
    def dies(*arguments: Any) -> Any:
        robot.tick(f"before {name}")
        result = call(*arguments)
        robot.tick(f"after {name}")
        return result

    return dies
