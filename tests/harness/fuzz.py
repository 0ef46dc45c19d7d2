"""Inputs that nobody would write: good ones, bent by a seeded chance, for every decoder and socket of the robot.

A corpus of good inputs is bent many times a second: bytes are changed, cut, repeated, and replaced by what has broken
programs before. Same seed, same inputs. What counts as survived: only the errors that a decoder declares.
"""

from __future__ import annotations

import dataclasses
import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_type_hints

#: Bytes that have ended programs: depth, long numbers, halves of surrogate pairs, keys twice, escapes, wrong UTF-8.
POISON: tuple[bytes, ...] = (
    b"[" * 200, b'{"a":' * 100, b"]" * 40, b"1" + b"0" * 400, b"-9" * 50, b"1e999", b"0." + b"3" * 300, b"NaN",
    b"-Infinity", b"null", b"true", b"{}", b"[]", b'""', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"',
    b"\xed\xa0\x80", b"\xff\xfe", b"\x00", b"\x1b]52;c;eA==\x07", b"\x9b2J", b"\xe2\x80\xae", b'","schema":99,"',
    b'"robot":"a","robot":"b",', b"\r\n\r\n", b"\n", b"\\", b'"', b"%s%n", b"../../..", b"sha256:" + b"0" * 64,
    b"9" * 19, b"18446744073709551616", b"1e308", b"\xf0\x9f\x98\x80", b",", b":",
)  # fmt: skip
MAX_BYTES = 20_000
_PAGE = 4096


@dataclass(frozen=True)
class Target:
    """One decoder. ``call`` takes bytes, and raises only ``declared`` errors, whatever they are."""

    name: str
    corpus: Sequence[bytes]
    call: Callable[[bytes], object]
    declared: tuple[type[Exception], ...]
    share: float = 1.0
    """How many inputs it gets, against others: what writes files is slow."""


@dataclass(frozen=True)
class Survived:
    """What came of it."""

    name: str
    inputs: int
    taken: int
    """Inputs that the decoder took."""


def bent(corpus: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield inputs for ever: each a member of ``corpus``, changed in one to six places."""
    while True:
        made = bytearray(chance.choice(corpus))
        for _ in range(chance.randint(1, 6)):
            _bend(made, corpus, chance)
        yield bytes(made[:MAX_BYTES])


def _bend(made: bytearray, corpus: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(made) + 1)
    end = min(len(made), at + chance.choice((1, 1, 2, 4, 16, 64)))
    kind = chance.randrange(8)
    if kind == 0 and made:
        made[at % len(made)] ^= 1 << chance.randrange(8)
    elif kind == 1 and made:
        made[at % len(made)] = chance.randrange(256)
    elif kind == 2:
        del made[at:end]
    elif kind == 3:
        made[at:at] = made[at:end] * chance.choice((1, 2, 20))
    elif kind == 4:
        made[at:end] = chance.choice(POISON)
    elif kind == 5:
        made[at:at] = chance.choice(POISON)
    elif kind == 6:
        other = chance.choice(corpus)
        start = chance.randrange(len(other) + 1)
        made[at:end] = other[start : start + chance.randrange(200)]
    else:
        del made[at:]


def survive(target: Target, inputs: int, seed: int) -> Survived:
    """Give ``inputs`` bent inputs to a decoder. Raises AssertionError with the input that it did not survive."""
    taken = 0
    for count, given in enumerate(bent(target.corpus, random.Random(f"{target.name} {seed}"))):
        if count == inputs:
            return Survived(target.name, inputs, taken)
        try:
            target.call(given)
            taken += 1
        except target.declared:
            continue
        except BaseException as error:
            raise AssertionError(f"{target.name} did not survive {given!r}: {type(error).__name__}: {error}") from error
    raise AssertionError("inputs never end")


def memory() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


# ── good documents ───────────────────────────────────────────────────────────────────────────────────────────────


def document(kind: type[Any], chance: random.Random) -> Any:
    """Return some value of a contract's dataclass, every field filled."""
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(hints[field.name], chance) for field in dataclasses.fields(kind)})


def _value(hint: Any, chance: random.Random) -> Any:
    origin, arguments = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if dataclasses.is_dataclass(hint):
        return document(hint, chance)  # type: ignore[arg-type]
    if origin is Union or type(hint).__name__ == "UnionType":
        return _value(arguments[0], chance) if chance.random() < 0.8 else None
    if origin is tuple:
        return tuple(_value(arguments[0], chance) for _ in range(chance.randrange(3)))
    if origin is dict:
        return {_word(chance): _value(arguments[1], chance) for _ in range(chance.randrange(3))}
    made: dict[Any, Callable[[], Any]] = {
        str: lambda: _word(chance),
        int: lambda: 1,
        float: lambda: round(chance.uniform(-1e3, 1e9), 3),
        bool: lambda: chance.random() < 0.5,
        Any: lambda: {_word(chance): [1, _word(chance), None]},
    }
    return made[hint]()


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_letters + string.digits + "_-. é😀", k=chance.randrange(1, 12)))
