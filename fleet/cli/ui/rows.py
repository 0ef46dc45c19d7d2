"""Tables of many robots: those that are alike are one row with a count, unless every row is wanted (`--all`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from fleet.cli.ui.console import many

MOST_ROWS = 40
"""A longer table scrolls past whatever a person looks for."""
_EXAMPLES = 3
_NUMBER = re.compile(r"[0-9]+")

T = TypeVar("T")
K = TypeVar("K")


class _Wanted:
    every = False


_WANTED = _Wanted()


def want_every(value: bool) -> bool:
    """Note whether this command is to print every row: what the option `--all` calls."""
    _WANTED.every = value
    return value


def are_many(count: int) -> bool:
    """Say whether a table of ``count`` robots is to be summarised."""
    return count > MOST_ROWS and not _WANTED.every


def alike(items: Iterable[T], key: Callable[[T], K]) -> list[tuple[K, list[T]]]:
    """Return items with one key together, the largest group first; groups of one size in the order of their first."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def gist(reason: str, robot: str) -> str:
    """Return a reason without what differs from robot to robot: its name, addresses and other numbers."""
    return _NUMBER.sub("#", reason.replace(robot, "#"))


def names(robots: Sequence[str]) -> str:
    """Return a few names of a group."""
    rest = len(robots) - _EXAMPLES
    return ", ".join(robots[:_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")


def totals(words: Iterable[str]) -> str:
    """Return ``3 robots: 2 committed · 1 offline`` for one word a robot."""
    counted = Counter(words)
    parts = " · ".join(f"{count} {word}" for word, count in counted.most_common())
    return f"{many(sum(counted.values()), 'robot')}: {parts}"
