"""What exporters write beside the graph: Ultralytics' names, task, stride and size; PaddleOCR's characters; others'."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.contract.printable import printable

_SIDE_MOST = 16384
_NAMES_MOST = 100_000
_TEXT_MOST = 4_000_000
_TASKS = ("detect", "segment", "pose", "obb", "classify")


@dataclass(frozen=True)
class Metadata:
    """What was understood; empty where nothing was written, or nothing that makes sense."""

    names: tuple[str, ...] = ()
    """Of the classes, by number."""
    task: str = ""
    """detect | segment | pose | obb | classify."""
    size: tuple[int, int] | None = None
    """Rows and columns of the network's input."""
    keypoints: tuple[int, int] | None = None
    """How many, and values of each."""
    end_to_end: bool = False
    """The export selects boxes by itself."""
    ultralytics: bool = False


def read_metadata(entries: Mapping[str, str]) -> Metadata:
    """Return what an ONNX file's ``metadata_props`` say. Never raises: a wrong entry counts as none."""
    task = entries.get("task", "").strip().lower()
    return Metadata(
        names=_names(entries),
        task=task if task in _TASKS else "",
        size=_size(_value(entries.get("imgsz", ""))),
        keypoints=_keypoints(_value(entries.get("kpt_shape", ""))),
        end_to_end=_flag(entries.get("end2end", "")) or _nms(_value(entries.get("args", ""))),
        ultralytics="ultralytics" in entries.get("author", "").lower() or {"stride", "names"} <= entries.keys(),
    )


def _names(entries: Mapping[str, str]) -> tuple[str, ...]:
    for key in ("names", "classes", "labels", "class_names", "id2label"):
        if key in entries and (found := _name_list(_value(entries[key]), entries[key])):
            return found
    return ()


def _name_list(value: Any, text: str) -> tuple[str, ...]:
    """Return names in the order of their numbers; none unless every number from 0 on has one."""
    if isinstance(value, dict):
        numbered = {_number(key): each for key, each in value.items()}
        if set(numbered) != set(range(len(numbered))) or len(numbered) > _NAMES_MOST:
            return ()
        value = [numbered[index] for index in range(len(numbered))]
    elif not isinstance(value, (list, tuple)):
        value = text.split(",") if "," in text and len(text) < _TEXT_MOST else []
    if not value or len(value) > _NAMES_MOST or not all(isinstance(each, (str, int)) for each in value):
        return ()
    named = tuple(printable(str(each), 200).strip() or f"class {index}" for index, each in enumerate(value))
    return named if len(set(named)) == len(named) else tuple(f"{name} ({i})" for i, name in enumerate(named))


def _number(key: Any) -> int:
    text = str(key)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else -1


def _value(text: str) -> Any:
    """Return a Python or JSON literal, None for what is neither."""
    if not text or len(text) > _TEXT_MOST:
        return None
    found = _read(ast.literal_eval, text)
    return _read(json.loads, text) if found is None else found


def _read(how: Callable[[str], Any], text: str) -> Any:
    try:
        return how(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _size(written: Any) -> tuple[int, int] | None:
    sides = (written, written) if isinstance(written, int) else written
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        return None
    fits = all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= _SIDE_MOST for side in sides)
    return (sides[0], sides[1]) if fits else None


def _keypoints(written: Any) -> tuple[int, int] | None:
    if not isinstance(written, (list, tuple)) or len(written) != 2 or not all(isinstance(n, int) for n in written):
        return None
    return (written[0], written[1]) if 0 < written[0] <= 1000 and written[1] in (2, 3) else None


def _flag(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes")


def _nms(arguments: Any) -> bool:
    return isinstance(arguments, dict) and arguments.get("nms") is True
