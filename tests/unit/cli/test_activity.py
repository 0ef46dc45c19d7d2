"""What a terminal shows of long work: a line each of a few things, counts of many, and never more than it can hold."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fleet.cli.rollout_flow import show_event
from fleet.cli.ui.activity import FEW, Activity
from fleet.cli.ui.console import PipeConsole
from fleet.rollout.result import RolloutEvent
from tests.fakes.clock import FakeClock


class Screen:
    """A terminal of 120 columns, and what was printed on it for good."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._file = io.StringIO()
        self.console: Console = PipeConsole(
            file=self._file, force_terminal=True, width=120, highlight=False, emoji=False, color_system=None
        )
        self.shown = Activity(self.console, self.clock.monotonic)

    def drawn(self) -> list[str]:
        """Return what would be drawn now."""
        with self.console.capture() as captured:
            self.console.print(self.shown)
        return [line.rstrip() for line in captured.get().splitlines() if line.strip()]

    @property
    def printed(self) -> list[str]:
        return self._file.getvalue().splitlines()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.mark.parametrize("text", [":b:", ":smiley:", "[red]layers[/red]", "back\\", "[link=x]"])
def test_what_is_given_is_shown_as_it_is(screen: Screen, text: str) -> None:
    screen.shown.update("a", f"asking {text}")
    assert f"asking {text}" in screen.drawn()[0]
    screen.shown.done("a", f"done {text}")
    assert screen.printed == [f"  done {text}"]
    assert screen.drawn() == []


def test_what_moves_a_cursor_is_shown_as_text(screen: Screen) -> None:
    screen.shown.update("a", "evil \x1b[2J\x07")
    assert "\x1b" not in screen.drawn()[0]
    assert "\x07" not in screen.drawn()[0]


def test_a_few_things_have_a_line_each_and_stay_when_they_end(screen: Screen) -> None:
    screen.shown.part("wave 1 of 1", 3)
    for name in ("a", "b", "c"):
        screen.shown.update(name, f"{name} fetches")
    screen.clock.sleep(65.0)
    assert [line.split()[1:] for line in screen.drawn()] == [[name, "fetches", "0:01:05"] for name in ("a", "b", "c")]
    screen.shown.done("b", "b committed", state="committed", well=True)
    assert screen.printed == ["  b committed"]


def test_of_many_things_the_counts_are_shown_and_by_name_only_what_failed(screen: Screen) -> None:
    shown = screen.shown
    shown.part("wave 2 of 3", 1000)
    for number in range(64):
        shown.update(f"r{number}", f"r{number} fetching")
    screen.clock.sleep(10.0)
    for number in range(40):
        shown.done(f"r{number}", f"r{number} committed", state="committed", well=True)
    shown.done("r40", "r40 reverted: too slow", state="reverted")
    assert screen.printed == ["  r40 reverted: too slow"]
    head, counts, *lines = screen.drawn()
    assert (head.split()[:4], head.split()[-3:]) == (["wave", "2", "of", "3"], ["41", "of", "1000"])
    assert counts == "  40 committed · 1 reverted · 23 under way · 4.1 a second · about 0:03:53 left"
    assert len(lines) == FEW // 2 + 1, "a screen must hold it"
    assert lines[-1].strip() == "and 17 more under way"


def test_the_next_part_counts_from_nothing(screen: Screen) -> None:
    screen.shown.part("wave 1 of 2", 100)
    screen.shown.done("a", "a committed", state="committed", well=True)
    screen.shown.part("wave 2 of 2", 100)
    head, counts = screen.drawn()
    assert head.endswith("0 of 100")
    assert counts == "  0 under way"


def test_without_a_terminal_nothing_is_shown() -> None:
    shown = Activity(None)
    shown.update("a", "asking")
    shown.done("a", "done")
    shown.part("wave", 100)


def test_a_rollout_of_many_says_who_failed_and_counts_the_rest(screen: Screen) -> None:
    def event(kind: str, robot: str = "", state: str = "", message: str = "", robots: int = 0) -> None:
        show_event(screen.shown, RolloutEvent(kind, message, 0.0, 1, 2, robot, state, robots))

    event("wave", message="50 robots: r0, r1", robots=50)
    for number in range(50):
        event("robot", f"r{number}", "fetching", "fetching: 3 of 7 layers")
    for number in range(48):
        event("robot-done", f"r{number}", "committed")
    event("robot-done", "r48", "offline", "host-48 did not answer")
    event("robot-done", "r49", "reverted", "self-test cosine 0.08 < 0.999")
    assert screen.printed == [
        "  wave 1 of 2  50 robots: r0, r1",
        "  wave 1 of 2  r48  offline  host-48 did not answer",
        "  wave 1 of 2  r49  reverted  self-test cosine 0.08 < 0.999",
    ]
    assert screen.drawn()[1] == "  48 committed · 1 offline · 1 reverted · 0 under way"
