"""When two statements about a device mean the same device: the one rule for builders, robots and `fleet`.

A profile writes ``36.4`` or ``12.6``, a device says ``36.4.3`` or ``12.6.68``. What engines and images are tied to is
the TensorRT version to its last known part, and the L4T *line* (`runtime.contract.jetson`): images of one line do not
run on another. A release that is in no known line matches exactly the same release only.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, List, Tuple

from runtime.contract.engine.facts import DeviceFacts
from runtime.contract.jetson import line_of, version_parts


def same_fact(name: str, wanted: Any, found: Any) -> bool:
    """Say whether ``found`` is what ``wanted`` of the :class:`DeviceFacts` field ``name`` means. Neither is None."""
    if name == "l4t":
        line = line_of(wanted)
        return version_parts(wanted) == version_parts(found) if line is None else line == line_of(found)
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
