"""`fleet-updater`: the daemon and the commands that speak to it. One page: docs/robot.md."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Optional, Sequence

from runtime.contract.codec import ContractError
from runtime.contract.robot.update import ROBOT_DIR, SOCKET_PATH
from runtime.updater import VERSION
from runtime.updater.cli import verbs
from runtime.updater.cli.terminal import fail
from runtime.updater.transaction.update_state import Rejected

OF_THE_DAEMON = ("root", "socket", "project", "machine")
"""Options that `serve` may have before it."""


def main(argv: Optional[List[str]] = None, build: str = "") -> int:
    """Run one command; return its exit code. ``build``: 12 hex over the sources, from the zipapp's ``__main__``."""
    words = sys.argv[1:] if argv is None else argv
    arguments: Any = for_the_daemon(words) or _parsed(words)
    arguments.version = version_text(build)
    try:
        code: int = arguments.command(arguments)
        return code
    except Rejected as error:
        return fail(arguments, error.kind, error.message, error.hint)
    except ContractError as error:
        return fail(arguments, "usage", str(error), "give the JSON document that fleet writes")
    except ConnectionError as error:
        return fail(arguments, "outside", str(error), verbs.DEAD_HINT)
    except PermissionError as error:
        return fail(arguments, "outside", str(error), "use sudo, or join the group jetfleet")
    except OSError as error:
        return fail(arguments, "outside", str(error), "`sudo fleet-updater doctor` says what is wrong with this robot")
    except KeyboardInterrupt:
        return 130


def version_text(build: str) -> str:
    """Return ``VERSION+BUILD``, or ``VERSION`` when not run from a zipapp."""
    return "{}+{}".format(VERSION, build) if build else VERSION


def for_the_daemon(words: Sequence[str]) -> Optional[SimpleNamespace]:
    """Return what ``[--root R] [--socket S] … serve`` says, without argparse: it would stay in the daemon's memory.

    None for every other command line, a wrong one too: argparse says what is wrong.
    """
    if not words or words[-1] != "serve" or len(words) % 2 == 0:
        return None
    found = SimpleNamespace(
        root=Path(ROBOT_DIR), socket=Path(SOCKET_PATH), project="jetfleet", machine=Path("/"), json=False
    )
    for at in range(0, len(words) - 1, 2):
        name, value = words[at], words[at + 1]
        if not name.startswith("--") or name[2:] not in OF_THE_DAEMON or value.startswith("-"):
            return None
        setattr(found, name[2:], value if name == "--project" else Path(value))
    found.command = verbs.serve
    return found


def _parsed(words: Sequence[str]) -> Any:
    from runtime.updater.cli.arguments import parsed

    return parsed(words)
