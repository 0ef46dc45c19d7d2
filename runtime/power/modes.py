"""Which of the manifest's power modes this machine can take now, by name.

A mode is left out, never guessed about, when this machine has none of that name, when it leaves another number of SMs
than the engines were built for, or when only a reboot leads there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.robot.power import MODE_TABLE, PowerMode, PowerPolicy, mode_named, needs_reboot, parse_modes


@dataclass(frozen=True)
class Choice:
    """What the governor may choose from."""

    modes: tuple[str, ...] = ()
    """Slowest first, in the manifest's order."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(mode, why) of the others."""


def usable_modes(
    policy: PowerPolicy, table: tuple[PowerMode, ...], here: str | None, blocked: Iterable[str] = ()
) -> Choice:
    """Return the modes of ``policy`` that can be set on a machine with ``table`` that runs in mode ``here``.

    ``blocked``: modes that the host found to need a reboot.
    """
    now, refused = mode_named(table, here), frozenset(blocked)
    why = {name: _obstacle(mode_named(table, name), policy.sm_count, now, name in refused) for name in policy.modes}
    return Choice(
        tuple(name for name in policy.modes if not why[name]),
        tuple((name, why[name]) for name in policy.modes if why[name]),
    )


def read_table(root: Path = Path("/")) -> tuple[PowerMode, ...]:
    """Return the modes of the machine whose root is ``root``; none where it has no such table, or none to read."""
    try:
        return parse_modes((root / MODE_TABLE).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()


def _obstacle(mode: PowerMode | None, sm_count: int | None, now: PowerMode | None, blocked: bool) -> str:
    if mode is None:
        return "this machine has no such mode"
    if sm_count is not None and mode.sm_count != sm_count:
        left = "an unknown number of" if mode.sm_count is None else str(mode.sm_count)
        return f"it leaves {left} SMs, the engines were built for {sm_count}"
    if blocked or (now is not None and needs_reboot(now, mode)):
        return "it needs a reboot"
    return ""
