"""What the commands print: one JSON document for machines, short lines for a person at a serial console."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Callable, List

from runtime.contract.codec import to_dict
from runtime.contract.printable import printable
from runtime.updater.transaction.update_state import EXIT

if TYPE_CHECKING:
    import argparse  # it would stay in the daemon's memory

#: One less than a serial console has: a full line would be followed by an empty one.
COLUMNS = 79
INDENT = 10


def show(arguments: argparse.Namespace, value: Any, lines: Callable[[Any], List[str]]) -> int:
    """Print ``value`` as JSON, or as lines for a person."""
    if arguments.json:
        sys.stdout.write(json.dumps(to_dict(value)) + "\n")
    else:
        print_lines(lines(value))
    return 0


def print_lines(lines: List[str]) -> None:
    """Print lines; at a terminal folded to its width. They may hold a container's words."""
    lines = [printable(line) for line in lines]
    folded = [part for line in lines for part in fold(line)] if sys.stdout.isatty() else lines
    sys.stdout.write("".join(line + "\n" for line in folded))
    sys.stdout.flush()


def fold(line: str, columns: int = COLUMNS, indent: int = INDENT) -> List[str]:
    """Return ``line`` in pieces of at most ``columns``, cut between words; the later ones stand ``indent`` in."""
    pieces, rest = [], line
    while len(rest) > columns:
        cut = rest.rfind(" ", indent + 1, columns + 1)
        if cut < 0:
            cut = rest.find(" ", columns)
        if cut < 0:
            break
        pieces.append(rest[:cut].rstrip())
        rest = " " * indent + rest[cut:].lstrip()
    return [*pieces, rest]


def for_whom(arguments: argparse.Namespace) -> argparse.Namespace:
    """What a controller asks is JSON without asking for it; a person at a terminal gets lines."""
    arguments.json = arguments.json or not sys.stdout.isatty()
    return arguments


def fail(arguments: argparse.Namespace, kind: str, message: str, hint: str) -> int:
    """Say what is not done and what to do; return the exit code."""
    if arguments.json:
        document = {"error": {"kind": kind, "message": message, "hint": hint}}
        sys.stdout.write(json.dumps(document) + "\n")
    sys.stderr.write("fleet-updater: {}{}\n".format(message, " -> " + hint if hint else ""))
    return EXIT[kind]


def say(text: str) -> None:
    """One line of progress, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
