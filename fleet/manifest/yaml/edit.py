"""Change keys of a manifest's file in place: comments, order and everything else stay as somebody wrote them.

Text is replaced by the places that PyYAML gives for its nodes. What comes out is read again and held against what was
meant, so a file that this module does not understand is refused and not damaged.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from fleet.errors import UsageError
from fleet.manifest.yaml.ambiguity import ambiguity
from fleet.manifest.yaml.yaml_text import parse_document

_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.+-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_WIDTH = 120
_STEP = 2
_HINT = "write the lines into the file by hand"


@dataclass(frozen=True)
class _Edit:
    """Text from ``start`` to ``end`` becomes ``text``."""

    start: int
    end: int
    text: str


def set_keys(content: bytes, path: Sequence[str], values: Mapping[str, Any]) -> bytes:
    """Return the file with the keys of the mapping at ``path`` set; a value of None takes its key away.

    Mappings on the way that are not there are made. Values are texts, whole numbers, booleans and lists of texts.
    Raises UsageError when the file cannot be changed that way.
    """
    before = parse_document(content)
    if before.flaws or not isinstance(before.value, dict):
        raise UsageError("the file cannot be changed in place: it is not valid YAML", hint="run fleet validate")
    text = content.decode("utf-8")
    for key, value in values.items():
        text = _with_key(text, [*path, key], value)
    wanted = _changed(before.value, path, values)
    result = text.encode("utf-8")
    after = parse_document(result)
    if after.flaws or after.value != wanted:
        raise UsageError("the file cannot be changed in place: its layout is not understood", hint=_HINT)
    return result


def _changed(document: dict[str, Any], path: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    wanted = copy.deepcopy(document)
    there = wanted
    if all(value is None for value in values.values()) and _at(document, path) is None:
        return wanted
    for name in path:
        if there.get(name) is None:
            there[name] = {}
        there = there[name]
        if not isinstance(there, dict):
            raise UsageError(f"the file cannot be changed in place: {name} is no mapping", hint=_HINT)
    for key, value in values.items():
        if value is None:
            there.pop(key, None)
        else:
            there[key] = tuple(value) if isinstance(value, list) else value
    return wanted


def _at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _with_key(text: str, path: Sequence[str], value: Any) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, MappingNode):
        raise UsageError("the file cannot be changed in place: it is not a mapping", hint=_HINT)
    node, depth = root, 0
    while depth < len(path) - 1:  # down to the innermost mapping that is there
        below = _value(node, path[depth])
        if not isinstance(below, MappingNode):
            break
        node, depth = below, depth + 1
    rest = path[depth:]
    if value is None:
        edit = _removal(text, node, rest[0]) if len(rest) == 1 else None
    elif (pair := _pair(node, rest[0])) is not None:
        edit = _replacement(text, node, pair, rest, value)
    else:
        edit = _addition(text, node, rest, value)
    return text if edit is None else text[: edit.start] + edit.text + text[edit.end :]


def _pair(node: MappingNode, key: str) -> tuple[Node, Node] | None:
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _value(node: MappingNode, key: str) -> Node | None:
    pair = _pair(node, key)
    return pair[1] if pair else None


def _end(node: Node) -> int:
    """Return where a node's own text ends. A block's end mark stands behind the comments that follow it."""
    if not isinstance(node, MappingNode | SequenceNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, MappingNode) else last)


def _replacement(text: str, node: MappingNode, pair: tuple[Node, Node], rest: Sequence[str], value: Any) -> _Edit:
    key, old = pair
    column = int(key.start_mark.column)
    start, end = int(key.end_mark.index), max(_end(old), int(key.end_mark.index))
    if node.flow_style:
        return _Edit(start, end, ": " + _flow(rest[1:], value))
    line = text.rfind("\n", 0, int(key.start_mark.index)) + 1
    above = "".join(f"{' ' * column}{comment}{_newline(text)}" for comment in _comments(text, start, old))
    name = text[line : int(key.end_mark.index)]
    return _Edit(line, end, above + name + _after_key(rest[1:], value, column, len(name), _newline(text)))


def _comments(text: str, start: int, old: Node) -> list[str]:
    """Return the comments between the key and the end of its value, which would be lost with it."""
    found, at = [], start
    leaves = sorted(_leaves(old), key=lambda leaf: leaf.start_mark.index)
    for leaf in [*leaves, None]:
        gap = text[at : int(leaf.start_mark.index) if leaf is not None else _end(old)]
        found += re.findall(r"(?:^|(?<=\s))#[^\r\n]*", gap)
        at = int(leaf.end_mark.index) if leaf is not None else at
    return found


def _leaves(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [leaf for pair in node.value for each in pair for leaf in _leaves(each)]
    return [leaf for each in node.value for leaf in _leaves(each)] if isinstance(node, SequenceNode) else [node]


def _addition(text: str, node: MappingNode, rest: Sequence[str], value: Any) -> _Edit:
    if node.flow_style:
        at = _end(node) - 1
        while at > 0 and text[at - 1] in " \t\r\n,":
            at -= 1
        comma = ", " if node.value else ""
        return _Edit(at, _end(node) - 1, f"{comma}{_scalar(rest[0])}: {_flow(rest[1:], value)}")
    column = int(node.value[0][0].start_mark.column)
    name, newline = " " * column + _scalar(rest[0]), _newline(text)
    line_end = text.find("\n", _end(node))
    at = len(text) if line_end < 0 else line_end + 1
    first = "" if at == 0 or text[at - 1] == "\n" else newline
    return _Edit(at, at, first + name + _after_key(rest[1:], value, column, len(name), newline) + newline)


def _removal(text: str, node: MappingNode, key: str) -> _Edit | None:
    pair = _pair(node, key)
    if pair is None:
        return None
    name, value = pair
    if node.flow_style:
        start, end = int(name.start_mark.index), max(_end(value), int(name.end_mark.index) + 1)
        before = text[:start].rstrip()
        if before.endswith(","):
            return _Edit(len(before) - 1, end, "")
        rest = re.match(r"\s*,\s*", text[end:])
        return _Edit(start, end + (rest.end() if rest else 0), "")
    only = " " * int(name.start_mark.column) + "{}" + _newline(text) if len(node.value) == 1 else ""
    line = text.rfind("\n", 0, int(name.start_mark.index)) + 1
    line_end = text.find("\n", max(_end(value), int(name.end_mark.index)))
    return _Edit(line, len(text) if line_end < 0 else line_end + 1, only)


def _after_key(names: Sequence[str], value: Any, column: int, width: int, newline: str) -> str:
    """Return what follows a key in a block: the value, or mappings down to it, each on a line of its own."""
    if names:
        column += _STEP
        name = " " * column + _scalar(names[0])
        return ":" + newline + name + _after_key(names[1:], value, column, len(name), newline)
    if not isinstance(value, (list, tuple)):
        return f": {_scalar(value)}"
    words, lines, line = [_scalar(item) for item in value], [], ": ["
    indent = width + len(line)
    used = indent
    for index, word in enumerate(words):
        piece = word + ("," if index < len(words) - 1 else "]")
        if used + len(piece) > _WIDTH and line.strip(" ") not in ("", ": ["):
            lines.append(line.rstrip())
            line, used = " " * indent, indent
        line, used = f"{line}{piece} ", used + len(piece) + 1
    return newline.join([*lines, line.rstrip() if words else ": []"])


def _flow(names: Sequence[str], value: Any) -> str:
    if names:
        return f"{{{_scalar(names[0])}: {_flow(names[1:], value)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_scalar, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not ambiguity(text) and not _numberish(text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _numberish(text: str) -> bool:
    return text[0] == "." or not any(sign.isalpha() or sign == "/" for sign in text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def lines_for(path: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return the lines that a person would write for ``values`` at ``path`` (block style, keys with None left out)."""
    found, column = [], 0
    for name in path:
        found.append(f"{' ' * column}{_scalar(name)}:")
        column += _STEP
    for key, value in values.items():
        if value is not None:
            name = " " * column + _scalar(key)
            found.append(name + _after_key((), value, column, len(name), "\n"))
    return "\n".join(found)
