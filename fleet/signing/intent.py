"""Whose words a signer may sign: those that say no more than the signer's own would. Pure."""

from __future__ import annotations

import time

from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import EVERY_ROBOT, Statement

#: Clocks of signers may differ by so much.
AHEAD_S = 300.0
MOST_REASON = 500


def why_beyond(text: str, words: Statement, mine: Statement) -> str:
    """Say in what ``words`` (as somebody wrote them: ``text``) go beyond ``mine``; empty when they do not.

    Whoever signs one statement is taken at its word by robots: its lifetime, its robots, its document. The words of
    another are signed only where the signer could have written them.
    """
    if canonical_json(words).decode("utf-8") != text:
        return "they have a field that this version of fleet does not know"
    for name in ("kind", "fleet", "version", "document", "schema"):
        theirs, own = getattr(words, name), getattr(mine, name)
        if theirs != own:
            return f"their {name} is {theirs}, yours would be {own}"
    return _beyond_time(words, mine) or _beyond_robots(words, mine) or _odd_reason(words)


def covers(words: Statement, mine: Statement) -> bool:
    """Whether ``words`` reach all robots that ``mine`` means."""
    return EVERY_ROBOT in words.robots or set(mine.robots) <= set(words.robots)


def _beyond_time(words: Statement, mine: Statement) -> str:
    if words.issued_at > mine.issued_at + AHEAD_S:
        return f"they were written at {at(words.issued_at)}, it is {at(mine.issued_at)}"
    if words.expires_at > mine.expires_at + AHEAD_S:
        return f"they last until {at(words.expires_at)}, yours would last until {at(mine.expires_at)}"
    lasts, own = words.expires_at - words.issued_at, mine.expires_at - mine.issued_at
    if lasts > own:
        return f"they were made for {lasts / 86400:.1f} days, yours would be for {own / 86400:.1f}"
    return ""


def _beyond_robots(words: Statement, mine: Statement) -> str:
    if EVERY_ROBOT in mine.robots:
        return ""
    more = sorted(set(words.robots) - set(mine.robots))
    if not more:
        return ""
    named = "all robots" if EVERY_ROBOT in more else f"{', '.join(more[:5])} too"
    return f"they are for {named}, yours would be for {', '.join(mine.robots[:5]) or 'none by name'}"


def _odd_reason(words: Statement) -> str:
    if len(words.reason) > MOST_REASON or not words.reason.isprintable():
        return f"their reason is not a line of at most {MOST_REASON} characters"
    return ""


def at(moment: float) -> str:
    """Return a moment as people read it, UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(0.0, min(moment, 4e10))))
