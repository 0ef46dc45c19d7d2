"""No room for the journal: nothing is done that is not on disk first, and nobody is left without an answer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.updater.state.records import HistoryEntry
from runtime.updater.storage import journal
from runtime.updater.storage.journal import RESERVE, RESERVE_BYTES, History
from runtime.updater.transaction.update_state import Rejected
from tests.fakes.robots.robot_world import order
from tests.unit.updater.robot import Robot


class FullDisk:
    """Takes not one byte more until it is freed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self._write = True, journal.write_durable
        monkeypatch.setattr(journal, "write_durable", self.write)

    def write(self, path: Path, body: bytes, private: bool = False) -> Path:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return self._write(path, body, private)


def test_an_updater_that_starts_on_a_full_disk_answers_and_takes_up_once_there_is_room(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "probation")
    (robot.root / "state" / RESERVE).unlink()
    before = robot.journal
    disk = FullDisk(monkeypatch)
    robot.boot()
    assert robot.updater.status().state == "probation"
    assert robot.updater.busy
    assert "No space left on device" in robot.world.said
    ticks = robot.ticks
    with pytest.raises(OSError, match="No space left"):
        robot.updater.step()
    assert robot.log[ticks:] == ["before save"]
    assert robot.journal == before
    disk.full = False
    assert robot.drive().outcome == "committed"
    assert (robot.root / "state" / RESERVE).stat().st_size == RESERVE_BYTES
    robot.assert_whole()


def test_a_reserve_that_was_used_is_held_again_with_the_next_order(robot: Robot) -> None:
    reserve = robot.root / "state" / RESERVE
    robot.on("1")
    reserve.unlink()
    robot.on("2")
    assert reserve.stat().st_size == RESERVE_BYTES


def test_the_reserve_is_as_large_as_the_journal_of_a_large_fleet_s_release_needs(robot: Robot) -> None:
    reserve = robot.root / "state" / RESERVE
    robot.on("1")
    robot.run(order("2", environment={"LONG": "x" * (1 << 20)}))
    assert reserve.stat().st_size >= 2 << 20
    reserve.unlink()
    robot.boot()  # by what is on disk
    assert reserve.stat().st_size >= 2 * (robot.root / "state" / "journal.json").stat().st_size


def test_without_room_for_its_end_an_order_is_refused_with_what_to_do(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.on("1")
    (robot.root / "state" / RESERVE).unlink()
    before = robot.journal
    disk = FullDisk(monkeypatch)
    with pytest.raises(Rejected) as refused:
        robot.updater.submit(order("2"))
    assert (refused.value.kind, refused.value.hint) == ("refused", "free space on that volume; nothing was changed")
    assert "no room for the journal: [Errno 28] No space left on device" in refused.value.message
    assert (robot.journal, robot.updater.busy) == (before, False)
    disk.full = False
    assert robot.run(order("2")).outcome == "committed"


def test_an_end_that_the_history_could_not_take_is_told_before_the_next_order(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    with monkeypatch.context() as full:
        full.setattr(History, "record", _no_room)
        assert robot.drive().outcome == "committed"
        with pytest.raises(Rejected, match="no room for the journal"):
            robot.updater.submit(order("3"))
    assert [entry.order_id for entry in robot.history(9)] == ["to-1"]
    robot.run(order("3"))
    assert [entry.order_id for entry in robot.history(9)] == ["to-1", "order-2", "order-3"]


def _no_room(_history: History, _outcome: HistoryEntry) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_half_a_reserve_is_none(robot: Robot) -> None:
    reserve = robot.root / "state" / RESERVE
    reserve.write_bytes(b"cut by a power failure")
    robot.boot()
    assert reserve.stat().st_size == RESERVE_BYTES
