"""Keys of the manifest about when and how a robot may go from one release to the next."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from fleet.manifest.schema.values import Frozen, Seconds
from runtime.contract.robot.switching import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "(?:" + "|".join(DAYS) + ")"
_TWO = "[0-9][0-9]"
WINDOW_PATTERN = rf"^(?:({_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*) )?({_TWO}):({_TWO})-({_TWO}):({_TWO})$"
_WINDOW = re.compile(WINDOW_PATTERN)
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(kB|MB|kbit|Mbit)/s")
_BYTES = {"kB": 1e3, "MB": 1e6, "kbit": 1e3 / 8, "Mbit": 1e6 / 8}


def _window(value: Any) -> Any:
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f'{value!r} is not a window: write "22:00-06:00", "mon-fri 02:00-04:00" or "sat,sun 00:00-24:00"'
        )
    start, end = _minute(match[2], match[3]), _minute(match[4], match[5])
    if start == 24 * 60 or end == 0:
        raise ValueError(f"{value!r}: a window begins before 24:00 and ends after 00:00; a whole day is 00:00-24:00")
    return Window(start, end, _days(match[1] or ""))


def _minute(hour: str, minute: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > 24 * 60:
        raise ValueError(f"{hour}:{minute} is not a time of day: write 00:00 to 24:00")
    return found


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update((start + ahead) % 7 for ahead in range((end - start) % 7 + 1))
    return tuple(sorted(found))


def window_text(window: Window) -> str:
    """Return a window as the manifest writes it."""
    days = ",".join(DAYS[day] for day in window.days)
    times = f"{window.start // 60:02}:{window.start % 60:02}-{window.end // 60:02}:{window.end % 60:02}"
    return f"{days} {times}" if days else times


def _rate(value: Any) -> Any:
    if isinstance(value, str) and (match := _RATE.fullmatch(value)) and float(match[1]) > 0:
        return max(1, int(float(match[1]) * _BYTES[match[2]]))
    raise ValueError(f"{value!r} is not a rate: write a number and a unit, such as 500kB/s, 2MB/s or 8Mbit/s")


WindowText = Annotated[
    Window,
    BeforeValidator(_window),
    PlainSerializer(window_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": WINDOW_PATTERN, "examples": ["22:00-06:00", "mon-fri 02:00-04:00"]}),
]
Rate = Annotated[
    int,
    BeforeValidator(_rate),
    PlainSerializer(lambda value: f"{value / 1e3:g}kB/s", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _RATE.pattern, "examples": ["500kB/s", "2MB/s", "8Mbit/s"]}),
]


class Update(Frozen):
    """When and how this robot may be switched."""

    wait: Annotated[Seconds, Field(le=7 * 24 * 3600)] = 600.0
    """So long an order waits for a window or for the robot's update lock; then it is deferred."""
    download: tuple[WindowText, ...] = ()
    """When bytes may be fetched, in the robot's own time zone; at any time when there is none."""
    switch: tuple[WindowText, ...] = ()
    """When the container may be replaced."""
    download_rate: Rate | None = None
    """Most bytes a second that fetching takes."""
    handover: Literal["auto", "stop-start"] = "auto"
    """auto: the new container starts next to the old one where memory holds both; stop-start: never."""
