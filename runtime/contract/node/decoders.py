"""The decoders that are built in, and every option of each: one table for the manifest's check and for the runtime.

A decoder of somebody's own is written ``package:name`` and knows its options itself. Stdlib only, Python 3.8.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from runtime.contract.node.box_options import BOX_OPTIONS, head_problems, with_head
from runtime.contract.node.option_spec import OptionProblem, OptionSpec

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s)")
_PLUGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?:[A-Za-z_][A-Za-z0-9_.-]*")


class OptionError(ValueError):
    """A decoder cannot be made from its options. The message names the option and what it takes."""


_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")

GUARD_OPTIONS: Tuple[OptionSpec, ...] = (
    OptionSpec("max_linear", "number", None, 0.0, 50.0, unit="m/s"),
    OptionSpec("max_angular", "number", None, 0.0, 50.0, unit="rad/s"),
    OptionSpec("max_linear_acceleration", "number", None, 0.001, 100.0, unit="m/s²"),
    OptionSpec("max_angular_acceleration", "number", None, 0.001, 100.0, unit="rad/s²"),
    OptionSpec("deadline", "duration", 0.5, 0.01, 10.0),
    OptionSpec("on_failure", "choice", "zero", choices=("zero", "hold")),
    OptionSpec("hold_for", "duration", 0.2, 0.0, 5.0),
    OptionSpec("rate", "number", 20.0, 1.0, 200.0, unit="Hz"),
    OptionSpec("message", "choice", "TwistStamped", choices=("TwistStamped", "Twist")),
    OptionSpec("frame_id", "word", "base_link"),
    OptionSpec("stamp", "choice", "now", choices=("now", "input")),
    OptionSpec("other_publishers", "choice", "refuse", choices=("refuse", "warn", "allow")),
)
"""What bounds a velocity on its way to the robot, whichever decoder it comes from."""

DECODER_OPTIONS: Dict[str, Tuple[OptionSpec, ...]] = {
    **BOX_OPTIONS,
    "classification": (
        OptionSpec("top_k", "whole", 5, 1, 1000),
        OptionSpec("softmax", "flag", False),
        OptionSpec("labels", "words", ()),
    ),
    "depth": (
        OptionSpec("unit", "choice", "m", choices=("m", "mm")),
        OptionSpec("scale", "number", 1.0, -1e6, 1e6),
        OptionSpec("offset", "number", 0.0, -1e6, 1e6),
        OptionSpec("inverse", "flag", False),
        OptionSpec("min", "number", 0.0, 0.0, 1000.0, unit="m"),
        OptionSpec("max", "number", 1000.0, 0.0, 1000.0, unit="m"),
        OptionSpec("size", "choice", "model", choices=("model", "camera")),
    ),
    "mask": (
        OptionSpec("threshold", "number", 0.5, 0.0, 1.0),
        OptionSpec("size", "choice", "model", choices=("model", "camera")),
        OptionSpec("labels", "words", ()),
    ),
    "tensor": (
        OptionSpec("name", "word", ""),
        OptionSpec("max_elements", "whole", 4096, 1, 65536),
        OptionSpec("message", "choice", "json", choices=("json", "multiarray")),
    ),
    "text_boxes": (
        OptionSpec("threshold", "number", 0.3, 0.0, 1.0),
        OptionSpec("box_threshold", "number", 0.6, 0.0, 1.0),
        OptionSpec("unclip", "number", 1.5, 0.0, 10.0),
        OptionSpec("min_size", "whole", 3, 1, 1000),
        OptionSpec("max_boxes", "whole", 100, 1, 1000),
    ),
    "velocity": (
        OptionSpec("axes", "words", ("linear.x", "angular.z"), choices=_AXES),
        OptionSpec("scale", "numbers", (), -100.0, 100.0),
        *GUARD_OPTIONS,
    ),
}


def is_plugin(name: str) -> bool:
    """Say whether ``name`` has the form ``package:name`` of somebody's own decoder."""
    return _PLUGIN.fullmatch(name) is not None


def unknown_decoder(name: str) -> OptionError:
    """Return the error for a decoder's name that is neither built in nor a plugin's."""
    known = ", ".join(sorted(DECODER_OPTIONS))
    return OptionError("there is no decoder {!r}: it is one of {}, or package:name".format(name, known))


def option_problems(decoder: str, options: Mapping[str, Any]) -> List[OptionProblem]:
    """Return everything that is wrong with the options of a built-in decoder. Raises KeyError for another name."""
    return _read(DECODER_OPTIONS[decoder], options)[1]


def problems_with(specs: Tuple[OptionSpec, ...], options: Mapping[str, Any]) -> List[OptionProblem]:
    """Return everything that is wrong with options that ``specs`` describe."""
    return _read(specs, options)[1]


def read_options(decoder: str, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return every option of a built-in decoder with its value: durations in seconds, defaults where none is given.

    Raises OptionError for an unknown decoder, and for the first option that is wrong.
    """
    if decoder not in DECODER_OPTIONS:
        raise unknown_decoder(decoder)
    return read_with(decoder, DECODER_OPTIONS[decoder], options)


def read_with(decoder: str, specs: Tuple[OptionSpec, ...], options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the value of every option in ``specs``. Raises OptionError for the first that is wrong."""
    values, problems = _read(specs, options)
    for problem in problems:
        if problem.unknown:
            raise OptionError("{} has no option {!r}".format(decoder, problem.option))
        name = decoder if problem.option is None else "{}.{}".format(decoder, problem.option)
        raise OptionError("{} {}: {}".format(name, problem.message, problem.hint))
    return with_head(values, options) if "head" in values else values


def _read(specs: Tuple[OptionSpec, ...], options: Mapping[str, Any]) -> Tuple[Dict[str, Any], List[OptionProblem]]:
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
    return values, problems or _cross(values, options)


def _cross(values: Dict[str, Any], given: Mapping[str, Any]) -> List[OptionProblem]:
    """Rules between options. They need valid values."""
    found: List[OptionProblem] = head_problems(values, given) if "head" in values else []
    axes, scale = values.get("axes"), values.get("scale")
    if axes is not None and (not axes or len(set(axes)) != len(axes)):
        found.append(OptionProblem("axes", "names no axis, or one twice", "give one axis for each output value"))
    if axes and scale and len(scale) != len(axes):
        hint = "give {} numbers, one for each axis".format(len(axes))
        found.append(OptionProblem("scale", "has {} numbers".format(len(scale)), hint))
    if "deadline" in values and values["deadline"] * values["rate"] < 1.0:
        hint = "raise it above one period, or the rate above {:g} Hz".format(1.0 / values["deadline"])
        message = "is {:g} s, shorter than a period of {:g} Hz".format(values["deadline"], values["rate"])
        found.append(OptionProblem("deadline", message, hint))
    if "inverse" in values and not values["min"] < values["max"]:
        message = "is {:g} m, and min is {:g} m".format(values["max"], values["min"])
        found.append(OptionProblem("max", message, "give a largest depth above the smallest"))
    if "inverse" in values and not values["scale"]:
        found.append(OptionProblem("scale", "is 0", "give another number: every pixel would have the same depth"))
    return found


def _value(spec: OptionSpec, value: Any) -> Any:
    """Return the option's value as the runtime uses it, or None when it is not one."""
    if spec.kind in ("number", "whole", "duration"):
        number: Any = _seconds(value) if spec.kind == "duration" else value
        if not _is_number(number) or not spec.low <= number <= spec.high:
            return None
        if spec.kind == "whole":
            return int(number) if number == int(number) else None
        return float(number)
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
    if not isinstance(value, (list, tuple)) or (spec.kind == "names" and not value):
        return None
    if spec.kind == "wholes":
        fits = all(_is_number(item) and spec.low <= item <= spec.high and item == int(item) for item in value)
        return tuple(int(item) for item in value) if fits else None
    if spec.kind == "numbers":
        fits = all(_is_number(item) and spec.low <= item <= spec.high for item in value)
        return tuple(float(item) for item in value) if fits else None
    if spec.kind == "names" and len(set(map(str, value))) != len(value):
        return None
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
    }[spec.kind]
