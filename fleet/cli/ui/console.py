"""What people and machines see: results on stdout, progress and errors on stderr, one JSON document for ``--json``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fleet.cli.ui.already_shown import AlreadyShown
from fleet.cli.ui.process_exit import to_nowhere
from fleet.cli.ui.streams import OutputLost, StdoutFailed
from fleet.errors import FleetError, ManifestError
from runtime.contract.printable import printable_colours, printable_lines, unicode_text

#: Wide enough for a table when the output is piped: a column cut to an ellipsis helps no script.
PIPED_WIDTH = 160


class PipeConsole(Console):
    """What this command prints, made fit for a terminal: whatever a robot or a registry said is in it as text.

    Rich ends the process with exit code 1 when a pipe's reader is gone; how a command ends is decided elsewhere.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does, for every string that is printed, in tables and titles too."""
        return super().render_str(printable_lines(text), **options)

    def on_broken_pipe(self) -> None:
        """Let the caller know."""
        raise BrokenPipeError


def stdout() -> Console:
    """Return a console for results: colours and the terminal's width on a terminal, plain text when piped."""
    terminal = sys.stdout.isatty()
    return _console(width=None if terminal else PIPED_WIDTH, soft_wrap=not terminal)


def stderr() -> Console:
    """Return a console for progress and errors."""
    return _console(stderr=True, soft_wrap=True)


def _console(**settings: Any) -> Console:
    """The one place that makes consoles. ``:b:`` is part of an address here, never a picture."""
    return PipeConsole(highlight=False, emoji=False, emoji_variant=None, **settings)


def emit(as_json: bool, document: Any, render: Callable[[Console], None]) -> None:
    """Print a result: ``document`` as the only thing on stdout for machines, or ``render`` it for a person.

    A reader that went away (`| head`) does not change how the command ends. Raises StdoutFailed for an output that is
    full or closed.
    """
    if as_json:
        # ASCII, so that it is the same document in every locale.
        write(json.dumps(_valid(document), indent=2, default=str) + "\n")
        return
    try:
        render(stdout())
    except BrokenPipeError:
        to_nowhere(sys.stdout)


def _valid(value: Any) -> Any:
    """Return JSON values as they are, but in Unicode that every reader takes."""
    if isinstance(value, str):
        return unicode_text(value)
    if isinstance(value, Mapping):
        return {unicode_text(str(key)): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value


def write(text: str) -> None:
    """Write text to stdout as it is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        to_nowhere(sys.stdout)


def conclude(
    as_json: bool, document: dict[str, Any], render: Callable[[Console], None], error: FleetError | None
) -> None:
    """Print a result that may end with an error: still one document, with the error in it. Raises Told."""
    if error is None:
        emit(as_json, document, render)
        return
    try:
        emit(as_json, {**document, "error": error_document(error)}, render)
    except StdoutFailed as failure:  # The command's own error decides how it ends; this one is said too.
        _write_error(OutputLost(failure))
    raise AlreadyShown(error)


def table(*columns: str, title: str | None = None) -> Table:
    """Return a table in the one style of this command."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        result.add_column(column, overflow="fold")
    return result


def fact_table() -> Table:
    """Return a table of names and values, without a header."""
    result = Table(box=None, pad_edge=False, show_header=False)
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    return result


def show_error(error: FleetError, as_json: bool) -> None:
    """Print what happened, where, and what to do. In JSON mode the document goes to stdout as well."""
    if as_json:
        try:
            emit(True, {"error": error_document(error)}, lambda _: None)
        except StdoutFailed as failure:
            _write_error(OutputLost(failure))
    _write_error(error)


def _write_error(error: FleetError) -> None:
    try:
        _print_error(error)
    except OSError:  # No reader, or a terminal that was closed: how the command ends is decided already.
        to_nowhere(sys.stderr)


def _print_error(error: FleetError) -> None:
    console = stderr()
    console.print(f"[bold red]error[/] {plain(error.message)}")
    if isinstance(error, ManifestError):
        for problem in error.problems:
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            console.print(f"  [bold]{plain(where)}[/] {plain(problem.path)}", end="")
            console.print(f"{': ' if problem.path else ' '}{plain(problem.message)}")
            console.print(f"      [dim]→[/] {plain(problem.hint)}")
    if error.hint:
        console.print(f"  [dim]→[/] {plain(error.hint)}")


def error_document(error: FleetError) -> dict[str, Any]:
    """Return an error as JSON values."""
    document: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, ManifestError):
        document["problems"] = [
            {"file": p.file, "line": p.line, "path": p.path, "message": p.message, "hint": p.hint}
            for p in error.problems
        ]
    return document


def note(about: str, words: str) -> None:
    """Print what stops nothing and should be known, on stderr; ``about`` is a robot's name, or empty."""
    with suppress(OSError):  # Nobody reads it any more.
        stderr().print(f"[yellow]note[/] {plain(f'{about}: ' if about else '')}{plain(words)}")


def notice(lines: Iterable[str]) -> None:
    """Say on stderr what was skipped or set aside, each once."""
    for line in dict.fromkeys(lines):
        note("", line)


def remarks(console: Console, lines: Mapping[str, str]) -> None:
    """Print what is to be said of single rows below their table: a column of sentences can't be read."""
    for name, text in lines.items():
        if text:
            console.print(f"  [bold]{plain(name)}[/]: {plain(text)}")


class Stopwatch:
    """Seconds since it was made, for the last line of a verb."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Elapsed seconds."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s"


def size(count: float | None) -> str:
    """Return a byte count as a person reads it: 4.7 MB."""
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def many(count: int, thing: str) -> str:
    """Return ``1 robot`` or ``3 robots``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def short(digest: str) -> str:
    """Return the first 12 hex digits of a digest or key: enough to tell things apart on a screen."""
    return digest.rpartition("@")[2].rpartition(":")[2][:12]


def print_line(console: Console, line: str, colour: bool) -> None:
    """Print a line of a robot's; with ``colour`` in its colours, which are all that stays of its escape sequences."""
    shown: str | Text = Text.from_ansi(printable_colours(line)) if colour else line
    console.print(shown, markup=False, soft_wrap=True)


def plain(text: str) -> str:
    """Return text with rich's markup escaped, and nothing in it that is no text: user data is neither."""
    # At its end rich would double a backslash, in case a tag follows. None does.
    return escape(printable_lines(text) + " ")[:-1]
