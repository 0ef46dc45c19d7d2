"""When two statements about a device mean the same device: the one rule for builders, robots and `fleet`.

A profile writes ``36.4`` or ``12.6``, a device says ``36.4.3`` or ``12.6.68``. What engines and images are tied to is
the TensorRT version to its last known part, and the L4T *line*: 36.3, every 36 from 36.4 on, 39.2; images of one do not
run on another. A release that is not in the table is not guessed about: it equals itself alone.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, List, Optional, Tuple

from runtime.contract.engine.build import DeviceFacts

#: Line → the releases (major, minor) that belong to it.
L4T_LINES = {
    "36.3": ((36, 3),),
    "36.4": ((36, 4), (36, 5)),
    "39.2": ((39, 2),),
}


def version_parts(version: str) -> Tuple[int, ...]:
    """Return the numbers of ``R36.4.3`` or ``10.3.0.30``; empty when it is no version."""
    plain = version.lstrip("rR")
    return tuple(int(part) for part in plain.split(".")) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})*", plain) else ()


def l4t_line(l4t: Optional[str]) -> Optional[str]:
    """Return the line (``36.3``, ``36.4``, ``39.2``) of an L4T release, or None when it is in none that is known."""
    release = version_parts(l4t or "")[:2]
    for line, members in L4T_LINES.items():
        if release in members:
            return line
    return None


def same_fact(name: str, wanted: Any, found: Any) -> bool:
    """Say whether ``found`` is what ``wanted`` of the :class:`DeviceFacts` field ``name`` means. Neither is None."""
    if name == "l4t":
        line = l4t_line(wanted)
        return version_parts(wanted) == version_parts(found) if line is None else line == l4t_line(found)
    if name == "tensorrt":
        return _agree(wanted, found, least=3, most=4)
    if name == "cuda":
        return _agree(wanted, found, least=2, most=2)
    return bool(wanted == found)


def differing_facts(claimed: DeviceFacts, found: DeviceFacts) -> List[Tuple[str, Any, Any]]:
    """Return (field, claimed, found) of every claim that is not met; a claim of None is no claim."""
    wrong = []
    for item in fields(DeviceFacts):
        wanted, here = getattr(claimed, item.name), getattr(found, item.name)
        if wanted is not None and (here is None or not same_fact(item.name, wanted, here)):
            wrong.append((item.name, wanted, here))
    return wrong


def _agree(wanted: str, found: str, *, least: int, most: int) -> bool:
    """Compare the parts that both give, at least ``least`` of them: 10.3.0 is met by 10.3.0.30."""
    left, right = version_parts(wanted), version_parts(found)
    count = min(len(left), len(right), most)
    return count >= least and left[:count] == right[:count]
