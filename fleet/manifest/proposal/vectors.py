"""Inputs that take no picture: constants, states that the model hands to itself, and lists of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from fleet.errors import UsageError
from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.proposal.inspected import SHAPE_ONLY, Inspected
from fleet.manifest.schema.model_schema import InputType
from runtime.contract.node.inputs import FLOAT32_ARRAY, FLOAT64_ARRAY

SAMPLES = 512
"""Of one step of Silero VAD at 16 kHz."""
_RATE = 16000
FED_DTYPES: tuple[str, ...] = get_args(InputType)
"""Element types of inputs that messages and constants fill."""
_FLOATS = ("float32", "float16", "float64")
_RATES = frozenset({"sr", "sample_rate", "samplerate", "sampling_rate"})
_SIZES = frozenset({"orig_target_sizes", "im_shape", "image_shape", "original_image_size", "orig_size"})
_ONES = frozenset({"scale_factor", "pixel_mask"})
_PLACES = frozenset(
    {"in", "out", "input", "output", "n", "new", "next", "prev", "previous", "old", "past", "present", "last", "t"}
    | {"cur", "current", "initial", "init", "0", "1", "i", "o"}
)
"""Words of a name that say before or after."""
_STATES = frozenset(
    {"h", "c", "hx", "cx", "hidden", "cell", "state", "states", "rnn", "lstm", "gru", "memory", "mem", "cache", "ctx"}
    | {"context", "carry"}
)
_RECURRENT = {"LSTM": ((5, 1), (6, 2)), "GRU": ((5, 1),), "RNN": ((5, 1),)}
"""Operator → which inputs are the states of which outputs."""


@dataclass(frozen=True)
class State:
    """An input that takes what an output gave at the frame before."""

    input: str
    output: str
    shape: list[int] | None
    """Where the file leaves it open."""
    why: str


@dataclass(frozen=True)
class Constant:
    """An input with one value for good."""

    name: str
    value: Any
    shape: list[int] | None
    why: str


@dataclass(frozen=True)
class Vector:
    """An input of numbers that a message brings."""

    name: str
    dtype: str
    shape: list[int]
    why: str

    @property
    def message(self) -> str:
        """Return the ROS message type that feeds it."""
        if self.dtype.startswith(("int", "uint")) or self.dtype == "bool":
            return "std_msgs/msg/Int32MultiArray"
        return FLOAT64_ARRAY if self.dtype == "float64" else FLOAT32_ARRAY


def sized(tensor: Tensor, free: int = 1) -> list[int] | None:
    """Return the shape with open dimensions set to ``free``; None where the rank is unknown."""
    return None if tensor.shape is None else [free if size is None else size for size in tensor.shape]


def constants_of(graph: Inspected, names: tuple[str, ...], image: tuple[int, int] | None) -> tuple[Constant, ...]:
    """Return the inputs whose value follows from their name. ``image``: rows and columns of the network's picture."""
    found = []
    for name in names:
        tensor, low = graph.inputs[name], name.lower()
        shape = sized(tensor)
        count = None if shape is None else int(np.prod(shape, dtype=np.int64))
        opened = shape if tensor.shape is None or None in tensor.shape else None
        if tensor.dtype not in FED_DTYPES:
            continue
        if low in _RATES and count == 1 and tensor.dtype != "bool":
            found.append(Constant(name, _RATE, opened, f"a sampling rate: {_RATE} Hz; 8000 where the sound has that"))
        elif low in _SIZES and image is not None and count == 2:
            why = "the size that boxes are given for: the network's own, so that they are in its pixels"
            found.append(Constant(name, _typed(tensor, list(image)), opened, why))
        elif low in _ONES and image is not None and count is not None:
            found.append(
                Constant(name, _typed(tensor, 1), _mask_shape(tensor, image), "1: nothing is padded or scaled")
            )
    return tuple(found)


def _typed(tensor: Tensor, value: Any) -> Any:
    if not tensor.dtype.startswith("float"):
        return value
    return [float(each) for each in value] if isinstance(value, list) else float(value)


def _mask_shape(tensor: Tensor, image: tuple[int, int]) -> list[int] | None:
    shape = tensor.shape or ()
    if None not in shape:
        return None
    sides = [*[1] * (len(shape) - 2), *image] if len(shape) > 2 else [1] * len(shape)
    return [side if size is None else size for size, side in zip(shape, sides, strict=True)]


def states_of(graph: Inspected, names: tuple[str, ...]) -> tuple[State, ...]:
    """Return the inputs that an output feeds: by a recurrent node between them, else by names and shapes."""
    taken: set[str] = set()
    found = []
    by_node = _by_nodes(graph)
    for name in names:
        tensor = graph.inputs[name]
        if tensor.dtype not in _FLOATS or tensor.shape is None:
            continue
        output, why = _partner(graph, name, by_node, taken)
        if output is None:
            continue
        taken.add(output)
        # Free sizes of a state are batches, but for one that nobody named: 1 each way, and whoever builds checks it.
        shape = sized(tensor) if None in tensor.shape else None
        found.append(State(name, output, shape, why))
    return tuple(found)


def _partner(graph: Inspected, name: str, by_node: Mapping[str, str], taken: set[str]) -> tuple[str | None, str]:
    if (output := by_node.get(name)) is not None and output not in taken and _alike(graph, name, output):
        return output, f"{output} is what the recurrent layer makes of it"
    low, words = _words(name)
    if not words & _STATES:  # an input that is fed back by mistake is never fed: nobody would see that
        return None, ""
    named = [
        output
        for output in graph.outputs
        if output not in taken and _alike(graph, name, output) and _words(output)[0] == low
    ]
    if len(named) == 1 and low:
        return named[0], f"{named[0]} has its name and shape"
    same = [
        output
        for output in graph.outputs
        if output not in taken
        and _alike(graph, name, output)
        and graph.outputs[output].shape == graph.inputs[name].shape
        and len(graph.inputs[name].shape or ()) > 1
    ]
    return (same[0], f"{same[0]} has its shape") if len(same) == 1 else (None, "")


def _alike(graph: Inspected, name: str, output: str) -> bool:
    """Say whether an output could be fed back: same type, and no dimension that is another one."""
    one, two = graph.inputs[name], graph.outputs[output]
    if output in graph.inputs or one.dtype != two.dtype:
        return False
    if one.shape is None or two.shape is None:
        return True
    return len(one.shape) == len(two.shape) and all(
        a is None or b is None or a == b for a, b in zip(one.shape, two.shape, strict=True)
    )


def _words(name: str) -> tuple[str, frozenset[str]]:
    """Return a name without what says before or after, and its words: ``stateN`` and ``state`` are ``state``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    spaced = re.sub(r"(?<=[A-Za-z])(?=[0-9])", " ", spaced).lower()
    words = [word for word in re.split(r"[^a-z0-9]+", spaced) if word]
    words = [word[0] if re.fullmatch(r"[hc]n", word) else word for word in words]
    words = [re.sub(r"(in|out)$", "", word) if re.fullmatch(r"[hc](in|out)", word) else word for word in words]
    kept = [word for word in words if word not in _PLACES]
    return " ".join(kept), frozenset(words)


def _by_nodes(graph: Inspected) -> dict[str, str]:
    """Return input → output where a recurrent node takes the one as its state and gives the other."""
    found: dict[str, str] = {}
    for node in graph.model.graph.node:
        for into, out in _RECURRENT.get(node.op_type, ()):
            if len(node.input) <= into or len(node.output) <= out or not node.input[into] or not node.output[out]:
                continue
            source, target = _back(graph, node.input[into]), _forth(graph, node.output[out])
            if source in graph.inputs and target is not None:
                found.setdefault(source, target)
    return found


def _back(graph: Inspected, name: str) -> str:
    for _ in range(8):
        node = graph.makers.get(name)
        if node is None or node.op_type not in SHAPE_ONLY:
            break
        name = node.input[0]
    return name


def _forth(graph: Inspected, name: str) -> str | None:
    for _ in range(8):
        if name in graph.outputs:
            return name
        nodes = [node for node in graph.users.get(name, []) if node.op_type in SHAPE_ONLY]
        if len(nodes) != 1:
            return None
        name = nodes[0].output[0]
    return None


def vector_of(graph: Inspected, name: str) -> Vector:
    """Return an input of numbers. Raises UsageError for one that no message can fill."""
    tensor = graph.inputs[name]
    at = f"{graph.path}: input {name}"
    if tensor.dtype not in FED_DTYPES:
        what = "no tensor" if tensor.dtype == "undefined" else tensor.dtype
        raise UsageError(f"{at} is {what}: no message fills it", hint=f"export it as one of {', '.join(FED_DTYPES)}")
    if tensor.shape is None:
        raise UsageError(
            f"{at} does not say its shape", hint="export the model with shapes: dynamic axes are fine, no rank is not"
        )
    why = f"{tensor.dtype} {tensor.shown}: no picture, so its numbers come from a message"
    if None not in tensor.shape:
        return Vector(name, tensor.dtype, sized(tensor) or [], why)
    shape, said = _opened(graph, name, tensor)
    return Vector(name, tensor.dtype, shape, f"{why}; {said}")


def _opened(graph: Inspected, name: str, tensor: Tensor) -> tuple[list[int], str]:
    """Return a shape for open dimensions: what the first matrix product takes, samples of sound, else 1."""
    sizes = list(tensor.shape or ())
    shape = [1 if size is None else size for size in sizes]
    audio = any(each.lower() in _RATES for each in graph.inputs) or "silero" in graph.path.stem.lower()
    if sizes[-1] is None and audio:
        shape[-1] = SAMPLES + 64
        return shape, f"{SAMPLES} samples of sound and the 64 before them, as Silero VAD takes at 16 kHz"
    width = _matrix_rows(graph, name) if sizes[-1] is None else None
    if width is not None:
        shape[-1] = width
        return shape, f"{width} values, as the first matrix product takes"
    return shape, "open sizes are set to 1: correct them"


def _matrix_rows(graph: Inspected, name: str) -> int | None:
    node = graph.first(name)
    if node is None or node.op_type not in ("MatMul", "Gemm"):
        return None
    weights = next((each for each in graph.model.graph.initializer if each.name == node.input[1]), None)
    if weights is None or len(weights.dims) != 2:
        return None
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    return int(weights.dims[1 if turned else 0])
