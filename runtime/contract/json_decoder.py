"""The one decoder of JSON that somebody else wrote: bounded in size, depth, count and numbers, strict about the rest.

Python's own decoder takes a document that is nested too deep for its stack, numbers of any length, NaN, the same key
twice and half a surrogate pair. Each of these ends a program later, far from the place where it could say no. Here all
of them are a :class:`ContractError`.

Stdlib only and Python 3.8.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple, Union


class ContractError(ValueError):
    """A document does not fit its contract. The message starts with the path of the offending value."""


@dataclass(frozen=True)
class Limits:
    """How much of a document is looked at. A larger one is refused before it is decoded."""

    size: int = 64 * 1024 * 1024
    """Bytes, or characters of a text."""
    depth: int = 64
    """Objects and lists inside one another."""
    values: int = 4000000
    """Values and keys together, roughly: counted by commas and brackets."""
    text: int = 64 * 1024 * 1024
    """Characters of one string."""


#: Documents of the registry, of Docker and of the robot's own disk.
DOCUMENT = Limits()
#: What another process says: requests and answers on sockets, reports of a container, files that it writes.
WORDS = Limits(size=8 * 1024 * 1024, depth=32, values=400000, text=8 * 1024 * 1024)

#: No whole number that Docker, a kernel or we write is longer: 64 bits and a sign.
_MAX_INTEGER = 20
_MAX_FLOAT = 64
_STRUCTURE = re.compile(r"[^\[\]{}]+")
_HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
#: So much of what is wrong is shown.
_SHOWN = 40


def decode(
    text: Union[str, bytes, bytearray],
    what: str = "document",
    limits: Limits = DOCUMENT,
    *,
    clean: Optional[Callable[[str], str]] = None,
    strict: bool = True,
) -> Any:
    """Return the JSON values of ``text``, which messages call ``what``. Raises :class:`ContractError`, nothing else.

    ``clean``: applied to every string and key, which then may hold halves of surrogate pairs; without it those are
    refused. ``strict``: refuse control characters inside strings.
    """
    plain = _text(text, what, limits)
    if clean is None and isinstance(text, str) and _HALF.search(text):
        raise ContractError("{}: half a surrogate pair, which is not text".format(what))
    _check_structure(plain, what, limits)
    hooks = _Hooks(what)
    try:
        value = json.loads(
            plain,
            strict=strict,
            parse_int=hooks.integer,
            parse_float=hooks.number,
            parse_constant=hooks.constant,
            object_pairs_hook=hooks.pairs,
        )
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContractError("{}: not JSON: {}".format(what, error)) from error
    if clean is not None:
        return _mapped(value, clean)
    if _HALF_ESCAPED.search(plain) and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ContractError("{}: half a surrogate pair, which is not text".format(what))
    return value


def decode_object(
    text: Union[str, bytes, bytearray],
    what: str = "document",
    limits: Limits = DOCUMENT,
    *,
    clean: Optional[Callable[[str], str]] = None,
) -> Dict[str, Any]:
    """As :func:`decode`, for what must be an object."""
    value = decode(text, what, limits, clean=clean)
    if not isinstance(value, dict):
        raise ContractError("{}: expected an object, got {}".format(what, type(value).__name__))
    return value


def _text(text: Union[str, bytes, bytearray], what: str, limits: Limits) -> str:
    if len(text) > limits.size:
        raise ContractError("{}: {} bytes, at most {} are read".format(what, len(text), limits.size))
    if isinstance(text, str):
        return text
    try:
        return bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractError("{}: not UTF-8: {}".format(what, error)) from error


def _check_structure(text: str, what: str, limits: Limits) -> None:
    """Refuse what is too deep or too much, before a decoder's stack or memory is spent on it."""
    opened = text.count("[") + text.count("{")
    few = opened + text.count(",") + text.count(":") < limits.values
    if opened <= limits.depth and few and len(text) <= limits.text:
        return
    # Without its escapes, every second piece between quotes is outside of strings.
    pieces = text.replace("\\\\", "").replace('\\"', "").split('"')
    outside = "".join(pieces[::2])
    if len(text) > limits.text and max(map(len, pieces[1::2]), default=0) > limits.text:
        raise ContractError("{}: a text of more than {} characters".format(what, limits.text))
    if sum(map(outside.count, ",:[{")) >= limits.values:
        raise ContractError("{}: more than {} values".format(what, limits.values))
    depth = 0
    for bracket in _STRUCTURE.sub("", outside):
        depth += 1 if bracket in "[{" else -1
        if depth > limits.depth:
            raise ContractError("{}: nested deeper than {}".format(what, limits.depth))


class _Hooks:
    """What Python's decoder asks for numbers, constants and objects."""

    def __init__(self, what: str) -> None:
        self._what = what

    def integer(self, digits: str) -> int:
        if len(digits) > _MAX_INTEGER:
            raise ContractError("{}: the number {}… has {} digits".format(self._what, digits[:10], len(digits)))
        return int(digits)

    def number(self, digits: str) -> float:
        value = float(digits) if len(digits) <= _MAX_FLOAT else math.inf
        if not math.isfinite(value):
            raise ContractError("{}: the number {} is too large or too long".format(self._what, digits[:_SHOWN]))
        return value

    def constant(self, name: str) -> Any:
        raise ContractError("{}: {} is not a JSON number".format(self._what, name))

    def pairs(self, pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ContractError("{}: the key {!a} is given twice".format(self._what, twice[:_SHOWN]))
        return found


def _mapped(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_mapped(item, clean) for item in value]
    if isinstance(value, dict):
        return {clean(key): _mapped(item, clean) for key, item in value.items()}
    return value
