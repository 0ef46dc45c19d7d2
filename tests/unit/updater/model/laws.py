"""What holds of a robot at any moment, and what holds when it has nothing left to do."""

from __future__ import annotations

from typing import Any

from runtime.contract.node.resources import ENV_INHIBIT
from runtime.contract.robot.update import (
    COMMITTED,
    FAILED,
    FETCHING,
    IDLE,
    PREFLIGHT,
    REVERTING,
    SWITCHING,
    RunningRelease,
    UpdateOrder,
)
from runtime.contract.versions import version_order
from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.state.release_folder import order_in, target_of
from runtime.updater.state.transitions import ENGINE_RETURN_S, MAX_TRIES, kept_releases, links_of
from runtime.updater.storage.journal import History
from tests.fakes.signed_orders import ANNA
from tests.unit.updater.model.faulty import FaultyRobot


class Laws:
    """Looks at every tick; `check` after every rule, `check_quiet` when nothing is left to do."""

    def __init__(self, robot: FaultyRobot, good: set[str]) -> None:
        self.robot, self.good = robot, good
        self.broken = ""
        """Why the robot may be less than whole: it said itself that it needs hands."""
        self.last: HistoryEntry | None = None
        self.ended: list[HistoryEntry] = []
        self.returning = False
        self.room_is_new = False
        robot.watchers.append(self._tick)
        robot.after_step = self.check

    # ── told by the model ──

    def said(self, error: Exception) -> None:
        """Somebody was refused: in words."""
        assert str(error)

    def could_not_start(self) -> None:
        assert self.robot.disk.full, "the updater does not start, and nothing is wrong with the disk"
        raise AssertionError("a full disk keeps the updater from starting")

    def room_changed(self) -> None:
        self.room_is_new = True

    # ── at every tick ──

    def _tick(self, where: str, arguments: tuple[Any, ...]) -> None:
        self._count_from_revert()
        self._something_runs(where)
        assert len(self.robot.world.publishers) <= 1, f"two publish {where}"
        if where == "before compose_up":
            self._may_start(arguments[0])
        if where == "before fetch":
            self._may_fetch()
        if where in ("after remove_image", "after remove_release"):
            self._kept_stay()

    def _something_runs(self, where: str) -> None:
        """Never no release once one was committed; never any other than the old or the new one."""
        journal, runs = self.robot.durable, self.robot.world.runs
        if runs is None:
            inside = journal.state in (SWITCHING, REVERTING)
            assert journal.current is None or inside or self.broken, f"nothing runs {where} in {journal.state}"
            return
        if self.broken:
            return
        known = {release.image for release in (journal.current, journal.target) if release is not None}
        assert runs.image in known, f"{runs.image} runs {where} in {journal.state}"
        if journal.previous is not None:
            known.add(journal.previous.image)  # until it is cleaned up after a handover
        there = {one.image for one in self.robot.world.containers}
        assert there <= known, f"{there - known} is there {where} in {journal.state}"

    def _may_start(self, folder: str) -> None:
        journal = self.robot.durable
        order, target, current = journal.order, journal.target, journal.current
        if journal.state in (IDLE, REVERTING):
            assert current is not None
            assert folder == current.folder, "another release is started than the one that the robot is to run"
            return
        assert order is not None
        assert target is not None
        assert journal.state == SWITCHING, f"containers are changed in {journal.state}"
        assert folder == target.folder
        banned = {ban.image for ban in journal.banned}
        self._is_trusted(journal, order, target)
        same = current is not None and current.image == target.image
        assert order.force or same or target.image not in banned, "a banned release is started"
        if self._declares_rules(journal) and not order.override and self._old_runs(journal):
            assert self.robot.world.lock_held, "the switch is done without the update lock"

    def _is_trusted(self, journal: Journal, order: UpdateOrder, target: RunningRelease) -> None:
        """In a signed fleet: only what an allowed signer signed, and nothing older unless that was signed for too."""
        settings = self.robot.world.settings
        if settings is None or settings.unsigned or journal.by_hand:
            return
        assert order.proof is not None, "an unsigned release is started"
        assert order.proof.release.signatures[0].startswith(ANNA), "a release that nobody may sign is started"
        newest = max((version_order(each.version) for each in self.ended if each.outcome == COMMITTED), default=None)
        if newest is not None and version_order(order.version) < newest and target != journal.current:
            assert order.proof.rollback is not None, "an older release is started"

    def _declares_rules(self, journal: Journal) -> bool:
        if journal.current is None:
            return False
        return ENV_INHIBIT in order_in(self.robot.world, journal.current.folder).environment

    def _old_runs(self, journal: Journal) -> bool:
        runs, current = self.robot.world.runs, journal.current
        return runs is not None and current is not None and runs.image == current.image

    def _may_fetch(self) -> None:
        journal = self.robot.durable
        assert journal.state == FETCHING
        assert journal.order is not None
        banned = {ban.image for ban in journal.banned}
        assert journal.order.force or journal.order.variant.image not in banned, "a banned release is fetched"

    def _kept_stay(self) -> None:
        """Current, previous and pinned are never pruned."""
        journal, world = self.robot.durable, self.robot.world
        for release in (journal.current, journal.previous, *journal.pinned):
            if release is not None:
                assert release.image in world.images, f"the image of {release.version} was removed"
                assert release.folder in world.releases(), f"the folder of {release.version} was removed"

    # ── after every step ──

    def check(self) -> None:
        journal = self.robot.durable
        last = journal.last
        if last is not None and (self.last is None or last.number != self.last.number):
            self._ended(last)
        self.last = last
        self._something_runs("now")

    def _ended(self, last: HistoryEntry) -> None:
        before = 0 if self.last is None else self.last.number
        assert last.number == before + 1, f"order {last.number} ended after {before}"
        self.ended.append(last)
        if last.outcome == COMMITTED:
            assert last.image in self.good, "a bad release was committed"
        if last.outcome == FAILED and not last.reason.startswith("could not revert"):
            assert self._may_fail(), f"the robot gave up too early: {last.reason}"
            self.broken = last.reason
        elif last.outcome in ("committed", "reverted"):
            self.broken = ""

    def _count_from_revert(self) -> None:
        """What happened before the way back began explains nothing of its end."""
        returning = self.robot.durable.state == REVERTING
        if returning and not self.returning:
            self.robot.hurts.clear()
        self.returning = returning
        if self.robot.durable.state == PREFLIGHT:
            self.room_is_new = False

    def _may_fail(self) -> bool:
        """A robot needs hands after all attempts, a long wait for its Engine, or when the old release is unwell."""
        hurts = self.robot.hurts
        others = sum(1 for kind, _ in hurts if kind != "down")
        down = [at for kind, at in hurts if kind == "down"]
        waited = bool(down) and (max(down) - min(down) >= ENGINE_RETURN_S * 0.9)
        return others >= MAX_TRIES[REVERTING] - 1 or waited or self.room_is_new

    # ── when nothing is left to do ──

    def check_quiet(self) -> None:
        """Wholly old or wholly new, and every part says the same."""
        self.check()
        journal, world = self.robot.journal, self.robot.world
        assert (journal.state, journal.tidy_due, journal.request) == (IDLE, False, None)
        if self.broken:
            return
        links, tidied = world.links(), "cleaning up" not in world.said
        kept = {release.folder for release in kept_releases(journal)} | {each.folder for each in journal.pinned}
        if tidied:
            assert links == links_of(journal)
            assert set(world.releases()) <= kept, "a folder that nothing needs was left"
        if journal.current is None:
            assert world.runs is None
            return
        assert world.runs is not None
        assert len(world.containers) == 1, "a second container was left"
        assert (world.runs.image, world.runs.slot) == (journal.current.image, journal.current.slot)
        assert target_of(order_in(world, journal.current.folder)).folder == journal.current.folder
        content = world.read_release(journal.current.folder, ".env")
        content += world.read_release(journal.current.folder, "robot.compose.yaml")
        assert world.runs.content == content, "what runs is not what the folder says"
        self._kept_stay()

    def check_history(self) -> None:
        """One line for each order that ended, in their order."""
        lines = History(self.robot.root / "state").entries(10_000)
        assert [line.number for line in lines] == list(range(1, len(self.ended) + 1))
        assert [line.order_id for line in lines] == [each.order_id for each in self.ended]
        assert lines == self.ended
