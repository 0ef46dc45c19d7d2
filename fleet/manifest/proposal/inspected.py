"""What an ONNX file says that a head can be recognised by: tensors, metadata, and the nodes around the tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleet.errors import UsageError
from fleet.manifest.files.named_files import why_no_file
from fleet.manifest.files.onnx_graph import MAX_ONNX_BYTES, NotOnnx, Tensor, tensor_of
from runtime.contract.engine.onnx_tensors import external_files, why_not_beside

EXPORT = "give a file written by an ONNX exporter"
SHAPE_ONLY = frozenset(
    {
        "Identity",
        "Cast",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Transpose",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)
"""Operators after which a value means what it meant before."""
_CONSTANT_MOST = 65536
_EXTERNAL_MOST = 4096
"""Bytes of a constant in another file that is read: axes and sizes, no weights."""


@dataclass(frozen=True)
class Inspected:
    """A graph whose inputs have fixed shapes, as far as somebody has fixed them."""

    path: Path
    inputs: Mapping[str, Tensor]
    """Without the weights that old exporters list as inputs."""
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    producer: str
    files: tuple[str, ...]
    """Files beside it that hold weights, as it names them."""
    model: Any = field(repr=False)
    """onnx.ModelProto; weights of other files are not loaded."""

    @cached_property
    def makers(self) -> dict[str, Any]:
        """Tensor → the node that gives it."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def users(self) -> dict[str, list[Any]]:
        """Tensor → the nodes that take it."""
        found: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def operators(self) -> frozenset[str]:
        """Types of all nodes of the graph itself."""
        return frozenset(node.op_type for node in self.model.graph.node)

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return a constant of the graph, None for what is none, is large, or is in another file."""
        tensor = self._weights.get(name)
        if tensor is None:
            maker = self.makers.get(name)
            if maker is None or maker.op_type != "Constant":
                return None
            tensor = next((each.t for each in maker.attribute if each.name == "value"), None)
        if tensor is None or tensor.external_data or int(np.prod(tensor.dims, dtype=np.int64)) > _CONSTANT_MOST:
            return None
        from onnx import numpy_helper

        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError):  # a tensor whose bytes are not as many as its shape says
            return None

    def last(self, output: str) -> Any:
        """Return the last node before an output that does more than move values; None where there is none."""
        name, seen = output, 0
        while (node := self.makers.get(name)) is not None and seen < 64:
            if node.op_type not in SHAPE_ONLY or not node.input:
                return node
            name, seen = node.input[0], seen + 1
        return None

    def ends_in(self, output: str) -> str:
        """Return the operator of :meth:`last`, empty where there is none."""
        node = self.last(output)
        return str(node.op_type) if node is not None else ""

    def before(self, output: str, depth: int) -> frozenset[str]:
        """Return the operators of the nodes that lead to an output, at most ``depth`` steps back."""
        found: set[str] = set()
        names, seen = {output}, set[str]()
        for _ in range(depth):
            nodes = [self.makers[name] for name in names if name in self.makers]
            found |= {node.op_type for node in nodes}
            seen |= names
            names = {each for node in nodes for each in node.input if each} - seen
        return frozenset(found)

    def first(self, name: str) -> Any:
        """Return the first node after an input that does more than move values; None where several or none do."""
        for _ in range(16):
            nodes = self.users.get(name, [])
            if len(nodes) != 1 or nodes[0].op_type not in SHAPE_ONLY:
                return nodes[0] if len(nodes) == 1 else None
            name = nodes[0].output[0]
        return None

    def fixed(self, shapes: Mapping[str, Sequence[int]]) -> Inspected:
        """Return the graph with these shapes of inputs, and what follows for the outputs."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for value in model.graph.input:
            if value.name in shapes:
                value.CopyFrom(
                    onnx.helper.make_tensor_value_info(
                        value.name, value.type.tensor_type.elem_type, list(shapes[value.name])
                    )
                )
        for value in model.graph.output:  # a symbol is no size: only what follows from the inputs counts
            for dimension in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
                if dimension.dim_value <= 0:
                    dimension.Clear()
        del model.graph.value_info[:]
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:  # noqa: BLE001  (onnx raises types of its own; what cannot be inferred stays unknown)
            return Inspected(
                self.path, _inputs(model), self.outputs, self.metadata, self.producer, self.files, self.model
            )
        outputs = {value.name: tensor_of(value) for value in model.graph.output}
        return Inspected(self.path, _inputs(model), outputs, self.metadata, self.producer, self.files, self.model)


def inspect_onnx(path: Path) -> Inspected:
    """Read an ONNX file. Raises UsageError for what is none, and for weights that are not beside it."""
    try:
        model = _load(path)
    except NotOnnx as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from error
    files = external_files(model)
    for place in files:
        if why := why_not_beside(place) or why_no_file(path.parent / place):
            raise UsageError(
                f"{path}: keeps tensor {files[place][:80]!a} in {place[:80]!a}, which {why}",
                hint="put both files together, or save it as one: onnx.save_model(model, path)",
            )
    _load_small(model, path.parent)
    _drop_large(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    producer = " ".join(part for part in (model.producer_name, model.producer_version) if part)
    outputs = {value.name: tensor_of(value) for value in model.graph.output}
    return Inspected(path, _inputs(model), outputs, metadata, producer, tuple(files), model)


def _load(path: Path) -> Any:
    """Return the parsed file. Raises NotOnnx, whose message follows the file's name."""
    import onnx

    if why := why_no_file(path):
        raise NotOnnx(f"the model {why}", EXPORT)
    try:
        if path.stat().st_size > MAX_ONNX_BYTES:
            raise NotOnnx("is larger than 2 GB", "use a smaller model, or one with its weights in another file")
        model = onnx.load(str(path), load_external_data=False)
    except NotOnnx:
        raise
    except Exception as error:  # protobuf's types are not exported by every supported version
        raise NotOnnx(f"not an ONNX model: {error}", EXPORT) from error
    if not model.graph.node or not model.graph.output:
        raise NotOnnx("not an ONNX model: its graph is empty", EXPORT)
    return model


def _inputs(model: Any) -> dict[str, Tensor]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return {value.name: tensor_of(value) for value in model.graph.input if value.name not in weights}


def _drop_large(model: Any) -> None:
    """Forget the values of weights: the graph is copied and inferred, and nobody looks at them."""
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims, dtype=np.int64)) > _CONSTANT_MOST:
            for field_name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field_name)


def _load_small(model: Any, folder: Path) -> None:
    """Load what shapes depend on (axes, sizes) where it is in another file."""
    from onnx.external_data_helper import load_external_data_for_tensor

    for tensor in model.graph.initializer:
        if tensor.external_data and len(tensor.dims) < 2 and np.prod(tensor.dims, dtype=np.int64) * 8 <= _EXTERNAL_MOST:
            try:
                load_external_data_for_tensor(tensor, str(folder))
            except Exception:  # noqa: BLE001, S112  (a file that is too short: whoever builds says so)
                continue
            tensor.data_location = tensor.DEFAULT
            del tensor.external_data[:]
