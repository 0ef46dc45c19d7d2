"""Windows in the robot's own time zone, summer time included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from runtime.contract.robot.switching import Window
from runtime.updater.state.windows import is_open, local_text, next_opening

ZONE = "Europe/Berlin"
NIGHT = Window(22 * 60, 6 * 60)
EARLY = Window(2 * 60, 4 * 60)
WEEKEND = Window(0, 24 * 60, (5, 6))


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", ZONE)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()


@pytest.mark.parametrize(
    ("windows", "moment", "expected"),
    [
        ((), "2026-11-25 12:00", True),
        ((EARLY,), "2026-11-25 01:59", False),
        ((EARLY,), "2026-11-25 02:00", True),
        ((EARLY,), "2026-11-25 03:59", True),
        ((EARLY,), "2026-11-25 04:00", False),
        ((NIGHT,), "2026-11-25 23:00", True),
        ((NIGHT,), "2026-11-25 05:59", True),
        ((NIGHT,), "2026-11-25 06:00", False),
        ((WEEKEND,), "2026-11-27 23:59", False),  # a Friday
        ((WEEKEND,), "2026-11-28 00:00", True),
        ((WEEKEND,), "2026-11-29 23:59", True),
        ((WEEKEND,), "2026-11-30 00:00", False),
        ((Window(22 * 60, 6 * 60, (4,)),), "2026-11-28 05:00", True),  # opened on Friday
        ((Window(22 * 60, 6 * 60, (4,)),), "2026-11-28 22:30", False),
        ((EARLY, NIGHT), "2026-11-25 23:30", True),
        ((Window(60, 60),), "2026-11-25 12:00", True),  # a whole day, from 01:00
    ],
)
def test_open(windows: tuple[Window, ...], moment: str, expected: bool) -> None:
    assert is_open(windows, at(moment)) is expected


@pytest.mark.parametrize(
    ("window", "moment", "expected"),
    [
        (EARLY, "2026-11-25 12:00", "2026-11-26 02:00"),
        (EARLY, "2026-11-25 02:00", "2026-11-26 02:00"),
        (NIGHT, "2026-11-25 12:00", "2026-11-25 22:00"),
        (WEEKEND, "2026-11-25 12:00", "2026-11-28 00:00"),
        (Window(120, 240, (2,)), "2026-11-25 12:00", "2026-12-02 02:00"),  # a Wednesday, on a Wednesday
        (EARLY, "2026-03-28 12:00", "2026-03-29 03:00"),  # 02:00 does not exist: summer time begins
        (Window(240, 300), "2026-10-24 12:00", "2026-10-25 04:00"),  # a day of 25 hours
    ],
)
def test_next_opening(window: Window, moment: str, expected: str) -> None:
    found = next_opening((window,), at(moment))
    assert found is not None
    assert local_text(found) == local_text(at(expected))


def test_no_windows_never_open_next() -> None:
    assert next_opening((), at("2026-11-25 12:00")) is None
