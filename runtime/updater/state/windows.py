"""When may it be done: windows that come again, in the robot's own time zone. Pure."""

from __future__ import annotations

import time
from typing import Iterator, Optional, Sequence, Tuple

from runtime.contract.robot.switching import Window

DAY_MINUTES = 24 * 60
#: A window opens at least once a week; one day more for the one that is open over midnight.
_LOOK_DAYS = 8


def is_open(windows: Sequence[Window], wall: float) -> bool:
    """Say whether one of ``windows`` is open at ``wall`` (Unix seconds). No windows: always."""
    return not windows or any(start <= wall < end for start, end in _openings(windows, wall))


def next_opening(windows: Sequence[Window], wall: float) -> Optional[float]:
    """Return when (Unix seconds) the next one opens that is not open at ``wall``; None without windows."""
    return min((start for start, _ in _openings(windows, wall) if start > wall), default=None)


def local_text(wall: float) -> str:
    """Return ``2026-11-25 02:00 CET``: a moment as a person at the robot reads it."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(wall))


def _openings(windows: Sequence[Window], wall: float) -> Iterator[Tuple[float, float]]:
    """Yield (opens, closes) of the days around ``wall``. The calendar's own day, so that a change to summer time moves
    the window with the clock on the wall."""
    today = time.localtime(wall)
    for ahead in range(-1, _LOOK_DAYS):
        day = time.localtime(time.mktime((today.tm_year, today.tm_mon, today.tm_mday + ahead, 12, 0, 0, 0, 0, -1)))
        for window in windows:
            if window.days and day.tm_wday not in window.days:
                continue
            end = window.end if window.end > window.start else window.end + DAY_MINUTES
            yield _moment(day, window.start), _moment(day, end)


def _moment(day: time.struct_time, minute: int) -> float:
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, minute, 0, 0, 0, -1))
