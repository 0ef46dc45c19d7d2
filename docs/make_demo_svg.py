"""Make docs/demo.svg from a recording of a real run.

    script -qfc 'stty cols 124; make demo' demo.typescript
    pip install pyte && python docs/make_demo_svg.py demo.typescript --from 'fleet plan' docs/demo.svg

Nothing is typed in here: a terminal emulator reads what the run wrote, spinners and all, and what stood on the screen
in the end is drawn.
"""

from __future__ import annotations

import argparse
import io
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES = 124, 4000
NAMES = {"brown": "yellow", "default": None}


def main() -> None:
    """Read a typescript, draw its screen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("typescript", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--from", dest="start", default="", help="leave out the lines before the first with this text")
    parser.add_argument("--until", default="", help="and those from the first one after it with this text")
    options = parser.parse_args()
    lines = screen_of(options.typescript.read_bytes())
    plain = [line.plain for line in lines]
    first = next((i for i, text in enumerate(plain) if options.start and options.start in text), 0)
    last = next(
        (i for i, text in enumerate(plain) if i > first and options.until and options.until in text), len(lines)
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines[first:last]:
        console.print(line, no_wrap=True, crop=True)
    console.save_svg(str(options.svg), title="make demo")


def screen_of(recorded: bytes) -> list[Text]:
    """Return what stood on the screen in the end, without empty lines at its end."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(recorded)
    lines = [_line(screen, row) for row in range(screen.cursor.y + 1)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def _line(screen: pyte.Screen, row: int) -> Text:
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    text = Text()
    for (color, bold), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        known = NAMES.get(color, color if color.isalpha() else f"#{color}")
        words = "".join(cell.data for cell in run)
        blank = len(words) - len(words.lstrip(" "))
        # Blanks of a style of their own: some SVG renderers drop those at the start of a run of text.
        text.append(words[:blank], Style(bold=not bold))
        text.append(words[blank:], Style(color=known, bold=bold))
    text.rstrip()
    return text


if __name__ == "__main__":
    main()
