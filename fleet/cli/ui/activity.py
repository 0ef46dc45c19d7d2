"""Long work on a terminal: what is under way, how far it is, and how long it will take. Silent elsewhere.

A few things get a line each. Hundreds would scroll past whatever a person looks for, and to draw them for every change
costs more than the work: then one line says how many are done, and how they ended, and those that failed or are held
up stay on the screen by name. The screen is drawn at most four times a second, however much is said.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fleet.cli.ui.console import plain, stderr
from runtime.contract.printable import printable_lines

FEW = 12
"""So many things have a line each; of more, the ones that take longest."""
DRAWN_A_SECOND = 4
_BAR = 24
"""Characters."""


@dataclass
class _Line:
    text: str
    since: float


class Activity:
    """What is under way, by keys. Any thread may call it; nothing here draws."""

    def __init__(self, console: Console | None, clock: Callable[[], float] = time.monotonic) -> None:
        """``console``: where ended things are printed; None: nothing is shown at all."""
        self._console = console
        self._clock = clock
        self._guard = threading.Lock()
        self._open: dict[str, _Line] = {}
        self._title, self._total, self._began = "", 0, clock()
        self._ended: Counter[str] = Counter()
        self._spinner = Spinner("dots")

    def part(self, title: str, total: int) -> None:
        """Begin a part of the work, of ``total`` things: those that end from now on count for it."""
        with self._guard:
            self._title, self._total, self._began = title, total, self._clock()
            self._ended.clear()

    def update(self, key: str, text: str) -> None:
        """Show ``text`` on the line of ``key``, opening the line when it is new."""
        if self._console is None:
            return
        with self._guard:
            line = self._open.get(key)
            if line is None:
                self._open[key] = _Line(text, self._clock())
            else:
                line.text = text

    def done(self, key: str, text: str, *, state: str = "", well: bool = False) -> None:
        """End the line of ``key``; it stays on the screen as ``text``.

        Of many things (`part`) those that ended ``well`` are only counted. ``state``: under which word.
        """
        if self._console is None:
            return
        with self._guard:
            self._open.pop(key, None)
            if state:
                self._ended[state] += 1
            counted = well and self._total > FEW
        if not counted:
            self._console.print(f"  {plain(text)}")

    def __rich__(self) -> RenderableType:
        """What is under way, as it is now."""
        now = self._clock()
        with self._guard:
            lines = sorted(self._open.values(), key=lambda line: line.since)
            head = self._head(now, len(lines)) if self._total > FEW else None
        shown = lines[: FEW if head is None else FEW // 2]
        rows = Table.grid(padding=(0, 1))
        for line in shown:
            text = Text(printable_lines(line.text), overflow="ellipsis", no_wrap=True)
            rows.add_row(self._spinner.render(now), text, _took(now - line.since))
        parts: list[RenderableType] = [] if head is None else [head]
        parts += [rows] if shown else []
        if len(lines) > len(shown):
            parts.append(Text(f"  and {len(lines) - len(shown)} more under way", style="dim"))
        return Group(*parts)

    def _head(self, now: float, under_way: int) -> RenderableType:
        ended = sum(self._ended.values())
        bar = ProgressBar(total=self._total, completed=ended, width=_BAR)
        first = Table.grid(padding=(0, 1))
        first.add_row(Text(self._title), bar, Text(f"{ended} of {self._total}"))
        counts = [f"{count} {state}" for state, count in self._ended.most_common()]
        words = [*counts, f"{under_way} under way", *_pace(ended, self._total, now - self._began)]
        return Group(first, Text("  " + " · ".join(words), overflow="ellipsis", no_wrap=True))


def _pace(ended: int, total: int, seconds: float) -> list[str]:
    """Return the rate and the time that is left, once something has ended."""
    if not ended or seconds <= 0.0:
        return []
    rate = ended / seconds
    pace = f"{rate:.1f} a second" if rate >= 1.0 else f"{rate * 60:.1f} a minute"
    return [pace, f"about {_took((total - ended) / rate)} left"] if ended < total else [pace]


def _took(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


@contextmanager
def activity() -> Iterator[Activity]:
    """Show progress on stderr while the block runs, when stderr is a terminal."""
    console = stderr()
    if not console.is_terminal:
        yield Activity(None)
        return
    shown = Activity(console)
    with Live(shown, console=console, transient=True, refresh_per_second=DRAWN_A_SECOND):
        yield shown
