"""What the shell offers after TAB: robots, groups, labels and versions of the manifest at hand.

Nothing here may print, fail or take long: a completion that cannot be made offers nothing.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from fleet.cli.wiring import Wiring

DEFAULT_MANIFEST = Path("manifests")
"""Where the manifest is when nothing is said."""
WAIT = "FLEET_COMPLETION_S"
"""Environment variable: how long a completion may take, in seconds."""
ASK_S = 3.0
"""The same when it is not set."""


def robots(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer names, ``group:NAME`` and ``label=value`` for the last part of a selector."""
    done, comma, part = incomplete.rpartition(",")
    exclamation = "!" if part.startswith("!") else ""

    def known(wiring: Wiring) -> list[str]:
        chosen = wiring.desired.robots
        groups = sorted({f"group:{robot.group}" for robot in chosen if robot.group})
        labels = sorted({f"{key}={value}" for robot in chosen for key, value in robot.labels.items()})
        return [robot.name for robot in chosen] + groups + labels

    return _fitting([f"{done}{comma}{exclamation}{each}" for each in _ask(ctx, known)], incomplete)


def robot(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer names of robots."""
    return _fitting(_ask(ctx, lambda wiring: [robot.name for robot in wiring.desired.robots]), incomplete)


def versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer published versions, the newest first."""
    return _fitting(_ask(ctx, _published), incomplete)


def versions_or_current(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer published versions and ``current``."""
    return _fitting(["current", *_ask(ctx, _published)], incomplete)


def versions_that_ran(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer published versions that robots committed: where a rollback can go."""

    def ran(wiring: Wiring) -> list[str]:
        from fleet.rollout import audit
        from fleet.rollout.rollback import versions_committed

        known = versions_committed(audit.history(wiring.registry, wiring.desired.registry.prefix))
        return [version for version in _published(wiring) if version in known]

    return _fitting(_ask(ctx, ran), incomplete)


def _published(wiring: Wiring) -> list[str]:
    from fleet.oci.releases import list_releases

    return list_releases(wiring.registry, wiring.desired.registry.prefix)[::-1]


def _fitting(offered: list[str], incomplete: str) -> list[str]:
    return [each for each in offered if each.startswith(incomplete)]


def _ask(ctx: typer.Context, question: Callable[[Wiring], list[str]]) -> list[str]:
    """Answer from the manifest that the line names; nothing when that fails or takes too long."""
    answer: list[str] = []

    def ask() -> None:
        from fleet.cli.wiring import Wiring

        try:
            answer.extend(question(Wiring(_manifest(ctx))))
        except Exception:  # noqa: BLE001  (nothing to offer; a trace in the middle of a command line helps nobody)
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_wait_s())
    return list(answer)


def _wait_s() -> float:
    try:
        seconds = float(os.environ[WAIT])
    except (KeyError, ValueError):
        return ASK_S
    return seconds if 0.0 <= seconds <= 600.0 else ASK_S


def _manifest(ctx: Any) -> Path:
    while ctx is not None:
        given = ctx.params.get("manifest") or ctx.params.get("_manifest")
        if given is not None:
            return Path(given)
        ctx = ctx.parent
    return Path(os.environ.get("FLEET_MANIFEST") or DEFAULT_MANIFEST)


@contextmanager
def as_bash_breaks_words() -> Iterator[None]:
    """While bash asks for completions: read its words as it meant them, and leave out what it has of the last already.

    Bash breaks words at ``:`` and ``=``. ``group:amr`` is one word to us, and of it bash replaces ``amr`` alone.
    """
    typed = _join_words()
    if not typed:
        yield
        return
    offered = io.StringIO()
    try:
        with redirect_stdout(offered):
            yield
    finally:
        lines = (line.removeprefix(typed) for line in offered.getvalue().splitlines())
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _join_words() -> str:
    """Put together what bash took apart; return what it has typed of the last word up to its last break."""
    if os.environ.get("_FLEET_COMPLETE") != "complete_bash" or not os.environ.get("COMP_CWORD", "").isdigit():
        return ""
    text, at = os.environ.get("COMP_WORDS", ""), int(os.environ["COMP_CWORD"])
    between = "\n" if "\n" in text else " "
    joined: list[str] = []
    for word in text.split(between)[: at + 1]:
        if joined and word and (not word.strip(":=") or joined[-1].endswith((":", "="))):
            joined[-1] += word
        else:
            joined.append(word)
    os.environ.update({"COMP_WORDS": between.join(joined), "COMP_CWORD": str(len(joined) - 1)})
    last = joined[-1] if joined else ""
    value = last.partition("=")[2] if last.startswith("-") else last
    return value[: max(value.rfind(":"), value.rfind("=")) + 1]
