"""Options of a decoder or an input: what each takes, and what is wrong with those that were given.

One way to read them for the manifest's check and for the runtime. Stdlib only, Python 3.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s)")


class OptionError(ValueError):
    """A decoder cannot be made from its options. The message names the option and what it takes."""


@dataclass(frozen=True)
class OptionSpec:
    """One option. ``low`` and ``high`` bound numbers (inclusive), durations in seconds."""

    name: str
    kind: str
    """number | whole | flag | word | choice | duration | words | numbers | each (a number, or a list of them) |
    wholes | names (a list of different words, or how many there are)."""
    default: Any = None
    """``None``: it must be given."""
    low: float = 0.0
    high: float = 0.0
    choices: Tuple[str, ...] = ()
    """Of a choice; of words, what each may be."""
    unit: str = ""


@dataclass(frozen=True)
class OptionProblem:
    """What is wrong with the options of one decoder."""

    option: Optional[str]
    """``None``: an option that must be given is not there."""
    message: str
    """Without the option's name: ``is 2``."""
    hint: str
    unknown: bool = False
    """The decoder has no option of this name."""


Rules = Callable[[Dict[str, Any]], List[OptionProblem]]
"""Rules between options, of which each alone is valid."""


def no_rules(values: Dict[str, Any]) -> List[OptionProblem]:
    """Find nothing wrong between options."""
    del values
    return []


def problems_with(
    specs: Tuple[OptionSpec, ...], options: Mapping[str, Any], rules: Rules = no_rules
) -> List[OptionProblem]:
    """Return everything that is wrong with options that ``specs`` describe."""
    return _read(specs, options, rules)[1]


def read_with(
    decoder: str, specs: Tuple[OptionSpec, ...], options: Mapping[str, Any], rules: Rules = no_rules
) -> Dict[str, Any]:
    """Return the value of every option in ``specs``. Raises OptionError for the first that is wrong."""
    values, problems = _read(specs, options, rules)
    for problem in problems:
        if problem.unknown:
            raise OptionError("{} has no option {!r}".format(decoder, problem.option))
        name = decoder if problem.option is None else "{}.{}".format(decoder, problem.option)
        raise OptionError("{} {}: {}".format(name, problem.message, problem.hint))
    return values


def _read(
    specs: Tuple[OptionSpec, ...], options: Mapping[str, Any], rules: Rules
) -> Tuple[Dict[str, Any], List[OptionProblem]]:
    values: Dict[str, Any] = {}
    known = sorted(spec.name for spec in specs)
    hint = "known: " + ", ".join(known)
    problems = [OptionProblem(name, "is unknown", hint, unknown=True) for name in options if name not in known]
    for spec in specs:
        if spec.name in options:
            value = _value(spec, options[spec.name])
            if value is None:
                problems.append(OptionProblem(spec.name, "is {!r}".format(options[spec.name]), "give " + _wanted(spec)))
            values[spec.name] = value
        elif spec.default is None:
            problems.append(OptionProblem(None, "needs {}".format(spec.name), "give " + _wanted(spec)))
        else:
            values[spec.name] = spec.default
    return values, problems or rules(values)


def _value(spec: OptionSpec, value: Any) -> Any:
    """Return the option's value as the runtime uses it, or None when it is not one."""
    if spec.kind in ("number", "whole", "duration"):
        number: Any = _seconds(value) if spec.kind == "duration" else value
        if not _is_number(number) or not spec.low <= number <= spec.high:
            return None
        if spec.kind == "whole":
            return int(number) if number == int(number) else None
        return float(number)
    if spec.kind == "each" and not isinstance(value, (list, tuple)):
        return float(value) if _is_number(value) and spec.low <= value <= spec.high else None
    if spec.kind == "flag":
        return value if isinstance(value, bool) else None
    if spec.kind in ("word", "choice"):
        return value if _is_word(spec, value) else None
    return _list_value(spec, value)


def _list_value(spec: OptionSpec, value: Any) -> Any:
    """As :func:`_value`, for options that are lists."""
    if spec.kind == "names" and _is_number(value):
        fits = spec.low <= value <= spec.high and value == int(value)
        return tuple(str(number) for number in range(int(value))) if fits else None
    if not isinstance(value, (list, tuple)):
        return None
    if spec.kind == "wholes":
        fits = all(_is_number(item) and spec.low <= item <= spec.high and item == int(item) for item in value)
        return tuple(int(item) for item in value) if fits else None
    if spec.kind == "names" and (not value or len(set(map(str, value))) != len(value)):
        return None
    if spec.kind in ("numbers", "each"):
        if spec.kind == "each" and not value:
            return None
        fits = all(_is_number(item) and spec.low <= item <= spec.high for item in value)
        return tuple(float(item) for item in value) if fits else None
    return tuple(value) if all(_is_word(spec, item) for item in value) else None


def _seconds(value: Any) -> Optional[float]:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else float(match.group(1)) * (0.001 if match.group(2) == "ms" else 1.0)


def _is_word(spec: OptionSpec, value: Any) -> bool:
    return isinstance(value, str) and (not spec.choices or value in spec.choices)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wanted(spec: OptionSpec) -> str:
    """What the option takes, for a person."""
    unit = " " + spec.unit if spec.unit else ""
    bounds = "from {:g} to {:g}{}".format(spec.low, spec.high, unit)
    if spec.kind == "choice":
        return " or ".join(spec.choices)
    if spec.kind == "words" and spec.choices:
        return "a list of " + ", ".join(spec.choices)
    return {
        "number": "a number " + bounds,
        "whole": "a whole number " + bounds,
        "flag": "true or false",
        "word": "a string",
        "duration": "a duration such as 300ms or 1s, {}".format(bounds + " s"),
        "words": "a list of strings",
        "numbers": "a list of numbers " + bounds,
        "wholes": "a list of whole numbers " + bounds,
        "names": "a list of different names, or how many there are, {}".format(bounds),
        "each": "a number {}, or a list of them, one for each".format(bounds),
    }[spec.kind]
