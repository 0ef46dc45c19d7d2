"""No room for the journal: nothing is done that is not on disk first, and nobody is left without an answer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.updater import journal
from runtime.updater.journal import RESERVE, RESERVE_BYTES
from tests.fakes.robot_world import order
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


def test_half_a_reserve_is_none(robot: Robot) -> None:
    reserve = robot.root / "state" / RESERVE
    reserve.write_bytes(b"cut by a power failure")
    robot.boot()
    assert reserve.stat().st_size == RESERVE_BYTES
