"""Rules of a robot's power settings: modes that its profile has, with the SMs of its engines, slowest first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fleet.manifest.inherit import Effective
from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.yaml_text import KeyPath

Add = Callable[[KeyPath, str, str], None]
"""Notes (path, message, hint), once for each path."""


@dataclass(frozen=True)
class _Case:
    at: KeyPath
    """Where ``power`` is written."""
    settings: Effective
    profile: Profile
    add: Add


def check_power(at: KeyPath, settings: Effective, profile: Profile, add: Add) -> None:
    """Note what does not fit in a robot's ``power``, which is written at ``at``."""
    if settings.power is None:
        return
    case = _Case(at, settings, profile, add)
    modes = settings.power.modes
    for index, mode in enumerate(modes):
        _check_mode(case, index, mode)
    if modes:
        _check_rest(case, modes)
        _check_order(case, modes)
    _check_essential(case, settings.power.essential)
    _check_lighter(case, settings.power.lighter, settings.power.essential)


def _check_mode(case: _Case, index: int, mode: str) -> None:
    path, profile = (*case.at, "modes", index), case.profile
    left = profile.sm_count_by_mode.get(mode, profile.sm_count)
    if mode not in profile.power_modes:
        hint = did_you_mean(mode, profile.power_modes) if profile.power_modes else "remove it: the profile has none"
        case.add(path, f"profile {profile.name} has no power mode {mode}", hint)
    elif left != profile.sm_count:
        fitting = [name for name, count in profile.sm_count_by_mode.items() if count == profile.sm_count]
        text = f"power mode {mode} leaves {left} SMs, but engines of profile {profile.name} are for {profile.sm_count}"
        case.add(
            path,
            text,
            f"choose among {', '.join(fitting)}: an engine runs only on the number of SMs that it was built for",
        )


def _check_rest(case: _Case, modes: tuple[str, ...]) -> None:
    rest = case.settings.power_mode
    if rest is None:
        hint = f"add power_mode: {modes[0]}, the mode of an idle robot"
        case.add((*case.at, "modes"), "power/modes without power_mode", hint)
    elif rest not in modes:
        case.add(
            (*case.at, "modes"), f"power_mode {rest} is not among power/modes", f"add {rest}, or change power_mode"
        )


def _check_order(case: _Case, modes: tuple[str, ...]) -> None:
    if len(set(modes)) != len(modes):
        case.add((*case.at, "modes"), "a power mode is named twice", "name each once")
        return
    known = [mode for mode in modes if _watts(mode) is not None]
    ordered = sorted(known, key=lambda mode: _watts(mode) or 0.0)
    if known != ordered:
        hint = f"write [{', '.join(ordered)}]"
        case.add((*case.at, "modes"), f"power/modes are not slowest first: {', '.join(modes)}", hint)


def _watts(mode: str) -> float | None:
    """Return what a mode's name says of its power: 15W → 15, MAXN_SUPER → no limit; None when it says nothing."""
    match = re.match(r"([0-9]{1,9})W", mode)
    return float(match[1]) if match else (float("inf") if mode.startswith("MAXN") else None)


def _check_essential(case: _Case, essential: tuple[str, ...]) -> None:
    runs = [use.model for use in case.settings.models]
    for index, model in enumerate(essential):
        if model not in runs:
            case.add((*case.at, "essential", index), f"no model called {model} runs there", did_you_mean(model, runs))


def _check_lighter(case: _Case, lighter: tuple[str, ...], essential: tuple[str, ...]) -> None:
    uses = {use.model: use for use in case.settings.models}
    for index, model in enumerate(lighter):
        path = (*case.at, "lighter", index)
        if model not in uses:
            case.add(path, f"no model called {model} runs there", did_you_mean(model, uses))
            continue
        there = uses[model].fallback
        if there is None or there.precision is None:
            hint = "add fallback: {precision: …} (or {model: …, precision: …}) to its use, or remove it here"
            case.add(path, f"{model} has no fallback engine that could be lighter", hint)
        elif model in essential:
            case.add(path, f"{model} is essential too: it is never changed because of heat", "name it in one of them")
