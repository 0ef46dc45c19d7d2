"""Tensors of an ONNX file whose bytes are in another file, wherever in the model they are.

Works on any parsed ``onnx.ModelProto`` by what every protobuf message has, and imports none of it.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Tuple

_TENSOR = "onnx.TensorProto"
_RESERVED = frozenset({"job.json", "model.onnx", "golden.npz", "timing.cache", "calibration", "timing"})
"""What a build job's folder holds beside the model."""


def external_tensors(model: Any) -> Iterator[str]:
    """Yield the name of each tensor that names another file, or where it is when it has none.

    Walks the whole message: initializers (sparse ones too), attributes of nodes, the graphs inside If, Loop and Scan,
    the bodies of functions, and training information. A list of places to look in would miss the next one.
    """
    for where, tensor in _external(model):
        yield tensor.name or where


def external_files(model: Any) -> Dict[str, str]:
    """Return the files that hold a model's weights, as it names them (relative to its own), each with one tensor in it.

    A tensor that does not say where its bytes are is in the file called by an empty name.
    """
    found: Dict[str, str] = {}
    for where, tensor in _external(model):
        place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        found.setdefault(place, tensor.name or where)
    return dict(sorted(found.items()))


def why_not_beside(location: str) -> str:
    """Return why a model's data file cannot be taken along under this name, to follow it; empty when it can.

    It lies beside the model or below: whoever is given a model opens no other file of the machine because of it.
    """
    parts = location.split("/")
    if not location or location.startswith("/") or "\\" in location or "\0" in location or ":" in parts[0]:
        return "is not the name of a file next to the model"
    if any(part in ("", ".", "..") for part in parts):
        return "is not the name of a file next to the model"
    if parts[0] in _RESERVED:
        return "is a name that build jobs use themselves"
    return ""


def _external(model: Any) -> Iterator[Tuple[str, Any]]:
    stack = [("model", model)]
    while stack:
        where, message = stack.pop()
        if message.DESCRIPTOR.full_name == _TENSOR:
            if message.data_location == message.EXTERNAL or message.external_data:
                yield where, message
            continue
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            inside = "{} {}".format(where, field.name)
            stack += [(inside, each) for each in _messages(value)]


def _messages(value: Any) -> Iterator[Any]:
    """Yield the messages of a field's value: one, or those of a list."""
    if hasattr(value, "DESCRIPTOR"):
        yield value
    else:
        yield from value
