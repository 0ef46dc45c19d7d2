"""A robot that can be hurt between any two things it does: what `test_model.py` drives the real transaction with.

Time passes only where the updater waits. Every call of the world and every write of the journal is a tick, and a
tick is where the process dies, a call fails, or somebody asks for something.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.contract.robot.update import REVERTING, SWITCHING
from runtime.updater.daemon.updater import Updater
from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.state.world import WorldError
from runtime.updater.storage import journal as journal_module
from runtime.updater.storage.durable import remove, write_durable
from tests.fakes.robots.robot_world import FakeWorld
from tests.unit.updater.model.parts import (
    DOWN,
    ENGINE_CALLS,
    FAILING,
    TROUBLE,
    ClockEvent,
    Enough,
    SmallDisk,
    SteppingCondition,
)
from tests.unit.updater.robot import Crash, Robot


class FaultyRobot(Robot):
    """See the module. ``trouble`` and ``news`` come at a tick counted from now."""

    def __init__(self, root: Path) -> None:
        self.disk = SmallDisk()
        self.durable = Journal()
        self.engine_back: float | None = None
        self.trouble: dict[int, str] = {}
        self.news: dict[int, Callable[[], object]] = {}
        self.crash_at = None
        self.steps_left = 0
        self.hurts: list[tuple[str, float]] = []
        """What was done to it, and when (seconds since boot); the laws forget what is over."""
        self.watchers: list[Callable[[str, tuple[Any, ...]], None]] = []
        self.after_step: Callable[[], None] = lambda: None
        self._quiet = False
        super().__init__(root)
        self.world.wake = ClockEvent(self.world)

    # ── the process ──

    def boot(self) -> Updater:
        """Start a new process; its lock and what it was told to stop for died with the old one."""
        world = self.world
        world.lock_held = False
        world.interrupt.clear()
        journal_module.write_durable = self.disk.write  # type: ignore[assignment]
        journal_module.remove = self.disk.remove  # type: ignore[attr-defined]
        self.updater = Updater(self.root / "state", _Watched(world, self), "amr-001", "test")  # type: ignore[arg-type]
        self._watch_saves(self.updater)
        self._count_steps(self.updater)
        self.updater._changed = SteppingCondition(self.work)
        self.durable, _ = self.updater._store.load()
        self.updater.start()
        return self.updater

    def work(self, steps: int) -> bool:
        """Let the driver's own loop go for at most so many steps. False: there is nothing left to do."""
        self.steps_left = steps
        self.world.on_sleep = self._asleep
        try:
            self.updater.run()
        except Enough:
            pass
        finally:
            self.world.on_sleep = None
        return self.updater.busy

    def _asleep(self) -> None:
        if not self.updater.busy:
            raise Enough

    def _count_steps(self, updater: Updater) -> None:
        step = updater.step

        def counted() -> bool:
            if self.steps_left <= 0:
                raise Enough
            self.steps_left -= 1
            more = step()
            self.after_step()
            return more

        updater.step = counted  # type: ignore[method-assign]

    def _watch_saves(self, updater: Updater) -> None:
        save, record = updater._store.save, updater._history.record

        def recorded(outcome: HistoryEntry) -> None:
            self.disk.check()
            record(outcome)

        def watched(journal: Journal) -> None:
            self.tick("before save")
            save(journal)
            self.durable = journal
            self.tick("after save")

        updater._store.save = watched  # type: ignore[method-assign]
        updater._history.record = recorded  # type: ignore[method-assign]

    # ── ticks ──

    def tick(self, where: str, arguments: tuple[Any, ...] = ()) -> None:
        if self._quiet:
            return
        self.ticks += 1
        for watch in self.watchers:
            watch(where, arguments)
        self._tell_news(where)
        if self.crash_at is not None and self.ticks >= self.crash_at:
            self.crash_at = None
            raise Crash(where)
        self._fail(where)

    def _tell_news(self, where: str) -> None:
        """Somebody's request comes while the driver is inside a call of the world (never while it saves)."""
        if where.endswith("save"):
            return
        for at in [at for at in self.news if at <= self.ticks]:
            news = self.news.pop(at)
            self._quiet = True
            try:
                news()
            finally:
                self._quiet = False

    def _fail(self, where: str) -> None:
        call = where.partition(" ")[2]
        world = self.world
        if self.engine_back is not None:
            if world.boot < self.engine_back:
                if call in ENGINE_CALLS:
                    self.hurt("down")
                    raise DOWN
            else:
                self.engine_back = None
                world.restart_all()  # by the Engine, as their restart policy says
        if self.disk.full and not self.disk.given_up and where == "before write_release":
            raise WorldError("cannot write the release folder: No space left on device", "free space on that volume")
        due = [at for at in self.trouble if at <= self.ticks]
        if not due or call not in FAILING:
            return
        kind = self.trouble.pop(due[0])
        switching = self.durable.state in (SWITCHING, REVERTING)  # by hand, whoever asked is told, and asks again
        if kind == "gap" and not (switching and where == "before compose_up"):
            kind = "transient"
        if kind == "gap":
            world.runs = None
        self.hurt(kind)
        raise TROUBLE[kind]

    def hurt(self, kind: str) -> None:
        """Remember what was done to it."""
        self.hurts.append((kind, self.world.boot))

    # ── what is done to it ──

    def engine_down(self, seconds: float) -> None:
        self.engine_back = self.world.boot + seconds

    def jump_clock(self, seconds: float) -> None:
        """The wall clock is set; what runs is as old as it was."""
        self.world.time += seconds
        for one in self.world.containers:
            one.started += seconds
            one.served_at = None if one.served_at is None else one.served_at + seconds

    def reboot(self, away_s: float) -> None:
        """Cut the power; the Engine starts with the robot."""
        self.engine_back = None
        self.world.reboot(away_s)

    def close(self) -> None:
        """Put the journal's own functions back."""
        journal_module.write_durable = write_durable
        journal_module.remove = remove

    def calm(self) -> None:
        """End every trouble."""
        self.trouble, self.news, self.crash_at, self.engine_back = {}, {}, None, None
        self.world.faults.clear()
        self.disk.free()


class _Watched:
    """The world, each call of it between two ticks."""

    def __init__(self, world: FakeWorld, robot: FaultyRobot) -> None:
        self._world, self._robot = world, robot

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._world, name)
        if not callable(found) or name in ("mark", "note", "sleep"):
            return found

        def called(*arguments: Any) -> Any:
            self._robot.tick(f"before {name}", arguments)
            result = found(*arguments)
            self._robot.tick(f"after {name}", arguments)
            return result

        return called
