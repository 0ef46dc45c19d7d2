"""JSON for the documents that cross a boundary: strict about types, tolerant of keys it does not know.

Stdlib only and Python 3.8, because the robot's host side reads these documents with the Python it has. A reader
ignores unknown keys (an older updater must be able to read a newer release), but refuses a missing key, a wrong
type, or a document whose ``schema`` is newer than it understands.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import sys
from typing import Any, Callable, Dict, Optional, Type, TypeVar, Union, get_type_hints

from runtime.contract.json_decoder import DOCUMENT, ContractError, Limits, decode

__all__ = [
    "SCHEMA",
    "ContractError",
    "canonical_json",
    "digest_of",
    "digest_of_bytes",
    "from_dict",
    "from_json",
    "to_dict",
]

#: Version of every document below. Raised only when an older reader would misunderstand a newer document.
SCHEMA = 1

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """Return ``value`` (a contract dataclass, or a container of them) as plain JSON values."""
    if value is None or isinstance(value, (str, int, float)):  # most of a document; first, because this is asked often
        return value
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_dict(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for ``value``: sorted keys, no spaces, UTF-8, no NaN.

    Digests of documents are taken over this form, so it must never change for a given ``SCHEMA``.
    """
    text = json.dumps(to_dict(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest_of(value: Any) -> str:
    """Return ``sha256:<hex>`` over :func:`canonical_json` of ``value``."""
    return digest_of_bytes(canonical_json(value))


def digest_of_bytes(content: bytes) -> str:
    """Return ``sha256:<hex>`` over ``content``."""
    digest: str = _sha256()(content).hexdigest()
    return "sha256:" + digest


def _sha256() -> Any:
    """Return the interpreter's own SHA-256: hashlib loads OpenSSL, 4 MB of the 20 MB that an idle updater may take."""
    try:
        return importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:  # a Python that was built without it
        return importlib.import_module("hashlib").sha256


def from_json(
    cls: Type[T],
    text: Union[str, bytes],
    limits: Limits = DOCUMENT,
    clean: Optional[Callable[[str], str]] = None,
) -> T:
    """Parse a document. Raises :class:`ContractError` with the path of what is wrong.

    ``clean``: applied to every string, see :func:`runtime.contract.json_decoder.decode`.
    """
    return from_dict(cls, decode(text, cls.__name__, limits, clean=clean))


def from_dict(cls: Type[T], data: Any, path: str = "") -> T:
    """Build the dataclass ``cls`` from plain JSON values. Raises :class:`ContractError`."""
    where = path or cls.__name__
    if not isinstance(data, dict):
        raise ContractError("{}: expected an object, got {}".format(where, type(data).__name__))
    schema = data.get("schema")
    known = getattr(cls, "READS", SCHEMA)
    if not path and isinstance(schema, int) and schema > known:
        raise ContractError(
            "{}: schema {} is newer than this program understands ({}): update it".format(where, schema, known)
        )
    hints = _hints(cls)
    values: Dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in data:
            values[field.name] = _decode(hints[field.name], data[field.name], "{}.{}".format(where, field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError("{}.{}: missing".format(where, field.name))
    return cls(**values)


_HINTS: Dict[type, Dict[str, Any]] = {}


def _hints(cls: type) -> Dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls)
    return _HINTS[cls]


def _decode(hint: Any, value: Any, path: str) -> Any:
    if hint is Any:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value, path)
    origin: Any = getattr(hint, "__origin__", None)
    args: Any = getattr(hint, "__args__", ())
    if origin is Union or type(hint).__name__ == "UnionType":  # the second is ``X | None`` of Python 3.10
        if value is None and type(None) in args:
            return None
        return _decode(next(arg for arg in args if arg is not type(None)), value, path)
    if origin is tuple:
        return tuple(_decode(args[0], item, "{}[{}]".format(path, i)) for i, item in enumerate(_listed(value, path)))
    if origin is dict:
        if not isinstance(value, dict):
            raise ContractError("{}: expected an object, got {}".format(path, type(value).__name__))
        return {key: _decode(args[1], item, "{}.{}".format(path, key)) for key, item in value.items()}
    return _scalar(hint, value, path)


def _listed(value: Any, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ContractError("{}: expected a list, got {}".format(path, type(value).__name__))
    return value


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            finite = math.isfinite(value)
        except OverflowError:  # a whole number that no float holds
            finite = False
        if not finite:
            raise ContractError("{}: expected a finite number, got {}".format(path, value))
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ContractError("{}: expected {}, got {}".format(path, hint.__name__, type(value).__name__))
