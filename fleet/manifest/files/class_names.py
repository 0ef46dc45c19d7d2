"""Names of classes from a file of one name a line, or from what an exporter wrote into an ONNX file."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.contract.printable import printable

METADATA = "metadata"
"""``labels: metadata``: the names that the exporter wrote down."""
KEYS = ("names", "class_names", "classes", "labels", "id2label")
"""Where exporters write them: Ultralytics in ``names``, Hugging Face in ``id2label``, others as they please."""
_MOST_BYTES = 4_000_000
_MOST = 100_000


class NoNames(ValueError):
    """There are no class names. The message continues a sentence that starts with the file's name."""


def names_in_file(path: Path) -> tuple[str, ...]:
    """Return the lines of a text file, each a class, the first one class 0. Raises NoNames, OSError."""
    if path.stat().st_size > _MOST_BYTES:
        raise NoNames(f"has more than {_MOST_BYTES} bytes")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoNames("is not UTF-8 text") from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]
    empty = next((number for number, line in enumerate(lines, start=1) if not line), 0)
    if empty:
        raise NoNames(f"has no name in line {empty}: every line is a class, the first one class 0")
    return _checked(lines)


def names_in_metadata(entries: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names that an ONNX file's ``metadata_props`` hold. Raises NoNames."""
    key = next((key for key in KEYS if entries.get(key, "").strip()), None)
    if key is None:
        raise NoNames(f"has no class names in its metadata ({', '.join(KEYS)})")
    text = entries[key]
    if len(text) > _MOST_BYTES:
        raise NoNames(f"has more than {_MOST_BYTES} characters of metadata in {key}")
    value = _literal(text)
    if isinstance(value, dict):
        numbered = {str(number): name for number, name in value.items()}
        missing = next((number for number in range(len(numbered)) if str(number) not in numbered), None)
        if missing is not None:
            raise NoNames(f"has no name for class {missing} in its metadata ({key})")
        value = [numbered[str(number)] for number in range(len(numbered))]
    elif not isinstance(value, (list, tuple)):
        value = [each.strip() for each in text.replace("\n", ",").split(",")]
    if not value or not all(isinstance(each, (str, int)) and str(each).strip() for each in value):
        raise NoNames(f"has something else than class names in its metadata ({key})")
    return _checked([str(each).strip() for each in value])


def _checked(names: list[str]) -> tuple[str, ...]:
    if len(names) > _MOST:
        raise NoNames(f"has {len(names)} class names, more than {_MOST}")
    for index, name in enumerate(names):
        if printable(name, 200) != name:
            raise NoNames(f"has a name of class {index} that is longer than 200 characters, or cannot be printed")
    return tuple(names)


def _literal(text: str) -> Any:
    """Return a JSON or Python literal, None for what is neither: words with commas between them."""
    found = _read(json.loads, text)
    return _read(ast.literal_eval, text) if found is None else found


def _read(how: Callable[[str], Any], text: str) -> Any:
    try:
        return how(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
