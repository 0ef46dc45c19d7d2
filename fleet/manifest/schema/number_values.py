"""Numbers of the manifest that may be written in more than one way, each with one error that says how."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_NUMBER = {"type": "number"}
_LIST = {"type": "array", "items": _NUMBER, "minItems": 1}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(value: Any) -> Any:
    if _is_number(value):
        return (float(value),)
    if isinstance(value, (list, tuple)) and value and all(map(_is_number, value)):
        return tuple(float(each) for each in value)
    raise ValueError(f"{_shown(value)} is no number and no list of numbers: write 2.0, or [2.0, 0.25]")


def _constant(value: Any) -> Any:
    return (float(value),) if isinstance(value, bool) else _numbers(value)


def _by_name(value: Any) -> Any:
    if not isinstance(value, dict):
        return _numbers(value)
    wrong = [name for name, number in value.items() if not _is_number(number)]
    if wrong or not value:
        raise ValueError(f"{', '.join(map(str, wrong)) or 'nothing'} has no number: write a number after each name")
    return {str(name): float(number) for name, number in value.items()}


def _initial(value: Any) -> Any:
    if value == "zeros":
        return 0.0
    if _is_number(value):
        return float(value)
    raise ValueError(f"{_shown(value)} is no value to begin with: write zeros, or a number")


def _pair(check: Callable[[Any], bool], example: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(check, value)):
            return tuple(value)
        raise ValueError(f"{_shown(value)} is not two numbers: write {example}")

    return read


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bounds(value: Any) -> Any:
    first, last = _pair(_is_number, "[least, most]")(value)
    return (float(first), float(last))


def _shown(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)[:60]


Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers), WithJsonSchema({"anyOf": [_NUMBER, _LIST]})]
"""One number for all values, or one a value."""
Constant = Annotated[
    tuple[float, ...], BeforeValidator(_constant), WithJsonSchema({"anyOf": [_NUMBER, {"type": "boolean"}, _LIST]})
]
NumbersByName = Annotated[
    tuple[float, ...] | dict[str, float],
    BeforeValidator(_by_name),
    WithJsonSchema(
        {"anyOf": [_NUMBER, _LIST, {"type": "object", "additionalProperties": _NUMBER, "minProperties": 1}]}
    ),
]
Initial = Annotated[float, BeforeValidator(_initial), WithJsonSchema({"anyOf": [{"const": "zeros"}, _NUMBER]})]
Bounds = Annotated[
    tuple[float, ...],
    BeforeValidator(_bounds),
    WithJsonSchema({"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}),
]
"""Least and most."""
Span = Annotated[
    tuple[int, ...],
    BeforeValidator(_pair(_is_whole, "[first, end]")),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2}),
]
"""The first, and the first that is none of them."""
