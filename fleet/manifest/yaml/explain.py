"""Say what pydantic found in words of the manifest: what is wrong, and what to do about it."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from fleet.manifest.yaml.yaml_text import KeyPath

DOCS = "`fleet docs manifest` explains every key"

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list", dict: "keys"}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "dataclass_type": "keys with values",
}
_PATTERN_HINTS = {
    "name": "use lower-case letters, digits, '.', '_' and '-', starting and ending with a letter or digit, at most 63",
    "version": "write three numbers, as in 1.4.0 (or 1.4.0-rc.1)",
    "sha256": "write the 64 lower-case hex digits that `sha256sum FILE` prints",
    "topic": "write a ROS 2 topic, as in /camera/image_raw or ~/sign_text/text",
    "type": "write a ROS message type, as in sensor_msgs/msg/LaserScan",
    "adapter": "write package:name, the installed package and its entry point",
    "address": "write host[:port]/repository in lower case, without http://, as in registry.example:5000/warehouse",
    "registry": "write host[:port]/repository in lower case, without http://, as in registry.example:5000/warehouse",
    "host": "write a host name or an address, without user and port (they are keys of their own)",
    "jump": "write [user@]host[:port], several with commas between them, or none",
    "endpoint": "write local, or ssh://user@host",
    "module": "write the module's part number, as in p3767-0003 (`fleet bootstrap` shows it)",
    "l4t": "write it as in 36.4.3, in quotes",
    "tensorrt": "write the full version, as in 10.3.0.30",
    "cuda": 'write it as in "12.6", in quotes',
    "url": "write an http:// or https:// address",
    "hub": "write https://host:port, as in https://hub.example:8443",
    "oci": "write registry/repository:tag or registry/repository@sha256:…",
    "base_image": "write an image reference, as in debian:bookworm",
    "builder_image": "write an image reference, as in nvcr.io/nvidia/l4t-jetpack:r36.4.0",
    "python": 'write it as in "3.10", in quotes',
    "ros_distro": "write the distribution's name in lower case, as in humble",
    "user": "write a Linux user's name",
    "labels": "use letters, digits and . _ / : - for labels: selectors are made of the rest",
    "modes": "write the mode's name as `nvpmodel -q` prints it, as in 15W or MAXN_SUPER",
    "variables": "name it with letters, digits and _; give it one line of text",
    "environment": "name it with letters, digits and _; give it one line of text",
}
_NAMES = {"fleet", "profile", "model", "group", "groups"}


def explain(error: Mapping[str, Any], root: type[BaseModel], text: str) -> tuple[str, str]:
    """Return message and hint for one of pydantic's error dictionaries.

    ``root`` is the type that was validated, ``text`` the value as written in the file (empty for lists and mappings).
    """
    kind = str(error["type"])
    loc: KeyPath = error["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(root, loc)
    if kind == "missing":
        return f"{loc[-1]} is missing", f"add it; {DOCS}"
    if kind in _WANTED:
        return _wrong_type(kind, error["input"], text)
    if handler := _HANDLERS.get(kind):
        return handler(error, loc)
    return str(error["msg"]), DOCS


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint: the nearest of the known names, or all of them."""
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean {near[0]}?"
    if not names:
        return "there are none"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known: {', '.join(names[:12])}{more}"


def _unknown_key(root: type[BaseModel], loc: KeyPath) -> tuple[str, str]:
    key = str(loc[-1])
    parent = _type_at(root, loc[:-1])
    fields = [field.alias or name for name, field in parent.model_fields.items()] if parent is not None else []
    hint = did_you_mean(key, fields)
    return f"unknown key {key}", hint if hint.endswith("?") else f"{hint}; {DOCS}"


def _wrong_type(kind: str, value: Any, text: str) -> tuple[str, str]:
    wanted = _WANTED[kind]
    got = "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)
    shown = f" ({text})" if text else ""
    message = f"{wanted} is expected here, not {got}{shown}"
    if wanted == "text" and isinstance(value, (int, float)):
        return message, f'YAML reads {text} as {got}: write it in quotes, "{text}"'
    if value is None:
        return message, "give it a value, or remove the key"
    if wanted == "a list" and not isinstance(value, dict):
        return message, f"write [{text}], or one entry a line, each after a dash" if text else "write a list: [a, b]"
    return message, f"write {wanted}; {DOCS}"


def _pattern(error: Mapping[str, Any], loc: KeyPath) -> tuple[str, str]:
    keys = [str(part) for part in loc if isinstance(part, str) and part != "[key]"]
    known = [key for key in reversed(keys) if key in _PATTERN_HINTS or key in _NAMES]
    subject = known[0] if known else (keys[-1] if keys else "value")
    hint = _PATTERN_HINTS["name" if subject in _NAMES else subject] if known else "write one line of text"
    return f"{error['input']!r} is not a valid {keys[-1] if keys else 'value'}", hint


def _literal(error: Mapping[str, Any], _loc: KeyPath) -> tuple[str, str]:
    expected = str(error["ctx"]["expected"]).replace("'", "")
    return f"{error['input']!r} is not possible here", f"write {expected}"


def _value_error(error: Mapping[str, Any], _loc: KeyPath) -> tuple[str, str]:
    message, separator, hint = str(error["ctx"]["error"]).rpartition(": ")
    return (message, hint) if separator else (hint, DOCS)


def _limit(error: Mapping[str, Any], _loc: KeyPath) -> tuple[str, str]:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    name, limit = next((name, error["ctx"][name]) for name in words if name in error["ctx"])
    return f"{error['input']} is out of range", f"write a number of {words[name]} {limit}"


def _too_short(_error: Mapping[str, Any], loc: KeyPath) -> tuple[str, str]:
    return f"{loc[-1]} is empty", f"give it at least one entry; {DOCS}"


_HANDLERS: dict[str, Callable[[Mapping[str, Any], KeyPath], tuple[str, str]]] = {
    "string_pattern_mismatch": _pattern,
    "literal_error": _literal,
    "value_error": _value_error,
    "greater_than": _limit,
    "greater_than_equal": _limit,
    "less_than": _limit,
    "less_than_equal": _limit,
    "too_short": _too_short,
    "string_too_short": _too_short,
}


def _type_at(root: type[BaseModel], loc: KeyPath) -> type[BaseModel] | None:
    """Return the model type that pydantic's location leads to, or None."""
    current: Any = root
    for part in loc:
        current = _model_in(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            named = {field.alias or name: field for name, field in current.model_fields.items()}
            field = named.get(str(part))
            current = field.annotation if field is not None else None
        else:
            arguments = [item for item in get_args(current) if item is not Ellipsis]
            current = arguments[-1] if arguments else None
    found = _model_in(current)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _model_in(annotation: Any) -> Any:
    """Take ``Annotated`` and ``| None`` off an annotation."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(item for item in get_args(annotation) if item is not type(None))
        else:
            return annotation
