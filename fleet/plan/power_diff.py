"""A changed power policy as words: the release carries it as one JSON text, which nobody should have to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.contract.codec import ContractError, from_json, to_dict
from runtime.contract.robot.power import ENV_POWER, PowerPolicy

_NOT_SHOWN = ("schema",)


def power_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Return one phrase for each value of the policy that differs between two environments."""
    before, after = _facts(old.get(ENV_POWER, "")), _facts(new.get(ENV_POWER, ""))
    names = sorted({*before, *after})
    return tuple(
        f"power {name} {before.get(name, 'unset')} → {after.get(name, 'unset')}"
        for name in names
        if before.get(name) != after.get(name)
    )


def _facts(text: str) -> dict[str, str]:
    """Return what a policy says, by dotted name; what cannot be read is one fact, as it is."""
    if not text:
        return {}
    try:
        policy = from_json(PowerPolicy, text)
    except ContractError:
        return {"policy": text}
    return dict(_flat(to_dict(policy), ""))


def _flat(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        elif item not in (None, []) and key not in _NOT_SHOWN:
            yield prefix + key, ", ".join(map(_word, item)) if isinstance(item, list) else _word(item)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
