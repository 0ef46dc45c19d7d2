"""Inputs that take a picture: layout, size, and what was done to pictures when the model was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fleet.errors import UsageError
from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.proposal.inspected import Inspected
from fleet.manifest.proposal.proposal import Preprocessing
from runtime.contract.engine.image_layout import AXES, IMAGE_DTYPES

FRAME = (480, 640)
"""Height and width written for the camera; the user sets their own."""
SIDE = 224
"""Of the network's input, where neither the graph nor its metadata nor the family say."""
PROBE = 640
"""Of the network's input while nothing is known of it: a multiple of every usual stride."""
_CHANNELS = (1, 3)
_LEAST = 4
"""Pixels of a side: less is a list of numbers."""


@dataclass(frozen=True)
class Image:
    """An input that takes one picture."""

    name: str
    dtype: str
    layout: str
    """nchw, nhwc, chw, hwc."""
    channels: int
    rows: int | None
    """None where the file leaves it open."""
    columns: int | None

    def shape(self, size: tuple[int, int]) -> list[int]:
        """Return the tensor's shape for a picture of rows and columns; what the file fixes stays."""
        rows, columns = self.rows or size[0], self.columns or size[1]
        sizes = {"n": 1, "c": self.channels, "h": rows, "w": columns}
        return [sizes[axis] for axis in self.layout]


def images_of(graph: Inspected) -> tuple[Image, ...]:
    """Return the inputs that take a picture. Raises UsageError for one that takes several at a time."""
    found = (_image(name, tensor, graph) for name, tensor in graph.inputs.items())
    return tuple(each for each in found if each is not None)


def _image(name: str, tensor: Tensor, graph: Inspected) -> Image | None:
    shape = tensor.shape
    if shape is None or len(shape) not in (3, 4) or tensor.dtype not in IMAGE_DTYPES:
        return None
    for layout in _layouts(name, len(shape), graph):
        axes = dict(zip(layout, shape, strict=True))
        channels = axes["c"] or _channels(name, graph, layout)
        sides = (axes["h"], axes["w"])
        if channels not in _CHANNELS or any(side is not None and side < _LEAST for side in sides):
            continue
        if (batch := axes.get("n") or 1) != 1:
            raise UsageError(
                f"{graph.path}: input {name} takes {batch} frames at a time", hint="export with batch 1, or a free one"
            )
        return Image(name, tensor.dtype, layout, channels, *sides)
    return None


def _layouts(name: str, rank: int, graph: Inspected) -> Sequence[str]:
    """Return layouts of that rank, the likelier one first."""
    known = [layout for layout in AXES if len(layout) == rank]
    users = graph.users.get(name, [])
    turned = next((node for node in users if node.op_type in ("Transpose", "Cast")), None)
    if turned is not None and turned.op_type == "Cast":
        users = graph.users.get(turned.output[0], [])
        turned = next((node for node in users if node.op_type == "Transpose"), None)
    last = turned is not None and list(next((a.ints for a in turned.attribute if a.name == "perm"), [])) in (
        [0, 3, 1, 2],
        [2, 0, 1],
    )
    return known[::-1] if last else known


def _channels(name: str, graph: Inspected, layout: str) -> int:
    """Return how many channels an input has whose file leaves that open: what its convolution takes; 3 by custom."""
    if layout[-1] == "c":
        return 0
    node = graph.first(name)
    weights = next((each for each in graph.model.graph.initializer if node and each.name in node.input), None)
    if node is not None and node.op_type == "Conv" and weights is not None and len(weights.dims) == 4:
        return int(weights.dims[1])
    return 3


def adjusted(wanted: Preprocessing, image: Image, graph: Inspected) -> Preprocessing:
    """Return a family's preprocessing as this graph takes it: of bytes, and of graphs that normalise by themselves."""
    plain = replace(wanted, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if image.dtype == "int8":
        return replace(plain, mean=(128.0,) * 3, why=f"{wanted.why}; the input is int8: 0 to 255 becomes -128 to 127")
    if not image.dtype.startswith("float"):
        return replace(plain, why=f"{wanted.why}; the input is {image.dtype}: it takes the bytes as they are")
    found = _in_graph(graph, image.name)
    if found == 255:
        return replace(plain, why=f"{wanted.why}; the graph itself divides by 255, or subtracts means of bytes")
    if found == 1:
        return replace(
            plain, scale=1.0 / 255.0, why=f"{wanted.why}; the graph itself subtracts means of values from 0 to 1"
        )
    return wanted


def _in_graph(graph: Inspected, name: str) -> int:
    """Return 255 or 1 where the graph's first step is a normalisation of pixels with that maximum, else 0."""
    node: Any = graph.first(name)
    if node is None or node.op_type not in ("Mul", "Div", "Sub", "Add") or len(node.input) != 2:
        return 0
    constants = [value for each in node.input if (value := graph.constant(each)) is not None]
    if len(constants) != 1 or not constants[0].size or constants[0].size > max(_CHANNELS):
        return 0
    size = float(np.max(np.abs(constants[0].astype(np.float64))))
    if node.op_type in ("Mul", "Div"):
        factor = size if node.op_type == "Mul" else 1.0 / size if size else 1.0
        return 255 if factor < 0.05 else 0
    return 255 if size > 50.0 else 1 if 0.05 < size < 1.0 else 0


def declared(image: Image, size: tuple[int, int], wanted: Preprocessing, frame: tuple[int, int]) -> Mapping[str, Any]:
    """Return the image's entry of ``inputs``, without its topic; ``frame``: rows and columns of the camera's frames."""
    colour = image.channels == 3
    preprocess: dict[str, Any] = {"color": wanted.color if colour else "gray", "resize": wanted.resize}
    if image.layout != "nchw":
        preprocess["layout"] = image.layout
    preprocess["scale"] = wanted.scale
    preprocess["mean"] = list(wanted.mean if colour else _one(wanted.mean))
    preprocess["std"] = list(wanted.std if colour else _one(wanted.std))
    preprocess.update(wanted.extra if colour else ())
    return {
        "shape": image.shape(size),
        "encoding": "rgb8" if colour else "mono8",
        "width": frame[1],
        "height": frame[0],
        "preprocess": preprocess,
    }


def _one(values: tuple[float, ...]) -> list[float]:
    """Return a grey model's number for a family's three: their mean."""
    return [round(float(np.mean(values)), 6)]
