"""Tensors of an ONNX file whose bytes are in another file, wherever in the model they are.

Works on any parsed ``onnx.ModelProto`` by what every protobuf message has, and imports none of it.
"""

from __future__ import annotations

from typing import Any, Iterator

_TENSOR = "onnx.TensorProto"


def external_tensors(model: Any) -> Iterator[str]:
    """Yield the name of each tensor that names another file, or where it is when it has none.

    Walks the whole message: initializers (sparse ones too), attributes of nodes, the graphs inside If, Loop and Scan,
    the bodies of functions, and training information. A list of places to look in would miss the next one.
    """
    stack = [("model", model)]
    while stack:
        where, message = stack.pop()
        if message.DESCRIPTOR.full_name == _TENSOR:
            if message.data_location == message.EXTERNAL or message.external_data:
                yield message.name or where
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
