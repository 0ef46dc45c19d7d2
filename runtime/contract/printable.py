"""Text of somebody else, made fit for a terminal, a log and a document. Stdlib only and Python 3.8.

What a robot, a container or a registry says may hold escape sequences (which move the cursor, or fill the clipboard),
characters that reorder or hide their neighbours, and halves of surrogate pairs, which no encoder takes.
"""

from __future__ import annotations

import re

#: Stands where something was that is no text.
REPLACEMENT = "\ufffd"

#: Control characters but for tab and newline; invisible ones and those that reorder a line; halves of surrogate pairs.
_NO_TEXT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"[\r\n\t]+")
_COLOUR = re.compile("(\x1b\\[[0-9;:]{0,32}m)")
_RESET = "\x1b[0m"
_ENDING = "…"


def printable(text: str, limit: int = 0) -> str:
    """Return ``text`` as one line that shows what it is, without its colours; at most ``limit`` characters (0: all)."""
    line = _NO_TEXT.sub(REPLACEMENT, _SPACES.sub(" ", _COLOUR.sub("", text)))
    return line if not limit or len(line) <= limit else line[: limit - 1] + _ENDING


def printable_lines(text: str) -> str:
    """Return ``text`` with its lines and tabs as they are, without its colours, and nothing in it that is no text."""
    return _NO_TEXT.sub(REPLACEMENT, _COLOUR.sub("", text).replace("\r\n", "\n"))


def printable_colours(text: str) -> str:
    """As :func:`printable_lines`, but colours (ANSI SGR sequences) stay, and end where the text ends."""
    pieces = _COLOUR.split(text)
    kept = [piece if number % 2 else printable_lines(piece) for number, piece in enumerate(pieces)]
    return "".join(kept) + (_RESET if len(pieces) > 1 else "")


def unicode_text(text: str) -> str:
    """Return ``text`` as it is, but for halves of surrogate pairs: every encoder takes it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
