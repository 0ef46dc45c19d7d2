"""The tiers of the suite, by folder. The lab waits longest, so it is started first; unit tests fill what is left."""

from __future__ import annotations

from collections.abc import Iterable

LAB = "lab"
ORDER = (LAB, "contract", "browser", "gpu", "docs", "unit")
"""In the order in which tests are handed to workers."""
LONGEST = ("tests/lab/test_trust.py",)
"""Files whose tests stay on one worker and take longest: begun last, they would keep a run waiting at its end."""


def tier(nodeid: str) -> str:
    """Return the tier of a test: the folder below ``tests``."""
    parts = nodeid.split("::", 1)[0].split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else parts[0]


def rank(nodeid: str) -> int:
    """Return the place of a test's tier in :data:`ORDER`; unknown folders come last."""
    name = tier(nodeid)
    return ORDER.index(name) if name in ORDER else len(ORDER)


def begins(nodeid: str) -> tuple[int, bool]:
    """Return what tests are sorted by."""
    return rank(nodeid), not nodeid.startswith(LONGEST)


def choose(scopes: Iterable[str], takes_lab: bool) -> str | None:
    """Return the scope that a worker takes next: the first of its highest tier; None when none is for it.

    Scopes are node ids, or group names that begin with their tier and a hyphen (``lab-fetch``).
    """
    best: tuple[int, str] | None = None
    for scope in scopes:
        if is_lab(scope) and not takes_lab:
            continue
        place = rank(scope) if "/" in scope else rank(f"tests/{scope.partition('-')[0]}/group")
        if best is None or place < best[0]:
            best = (place, scope)
        if place == 0:
            break
    return best[1] if best else None


def is_lab(scope: str) -> bool:
    """Whether a scope needs the lab."""
    return scope.startswith((f"tests/{LAB}/", f"{LAB}-"))
