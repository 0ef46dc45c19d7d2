"""Inputs and outputs of an ONNX file, read once for each content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from runtime.contract.engine.onnx_tensors import external_files, why_not_beside

MAX_ONNX_BYTES = 2**31 - 1
"""Protobuf reads no more in one message."""


class NotOnnx(ValueError):
    """Not a usable ONNX file. The message continues a sentence that starts with the file's name."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. Free dimensions are None; ``shape`` is None when the graph does not say."""

    shape: tuple[int | None, ...] | None
    dtype: str

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Say whether a fixed shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            free is None or free == size for free, size in zip(self.shape, shape, strict=True)
        )

    @property
    def fixed(self) -> tuple[int, ...] | None:
        """The shape where no dimension is free."""
        sizes = tuple(size for size in self.shape or () if size is not None)
        return None if self.shape is None or len(sizes) != len(self.shape) else sizes

    @property
    def shown(self) -> str:
        """``[1, 3, ?, ?]``."""
        return "[" + ", ".join("?" if size is None else str(size) for size in self.shape or ()) + "]"


@dataclass(frozen=True, slots=True)
class Graph:
    """What a manifest can name of an ONNX graph."""

    inputs: Mapping[str, Tensor]
    """Without the weights that old exporters list as inputs."""
    outputs: Mapping[str, Tensor]
    operators: tuple[str, ...] = ()
    """Types of the operators, each once."""
    nodes: tuple[str, ...] = ()
    """Names of the nodes that have one."""
    nameless: bool = False
    """Some nodes have no name: the builder calls them ``<operator>_<index>``."""
    files: tuple[str, ...] = ()
    """Files beside it that hold weights, as it names them."""
    quantized: bool = False
    """It carries scales of its own (Q/DQ pairs)."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What its exporter wrote down (metadata_props)."""


@lru_cache(maxsize=64)
def read_graph(path: Path, _sha256: str) -> Graph:
    """Return the graph of ``path``, whose content has this hash. Raises NotOnnx, OSError."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if path.stat().st_size > MAX_ONNX_BYTES:
        raise NotOnnx("is larger than 2 GB", "use a smaller model: no parser reads more in one graph")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError, TypeError) as error:
        raise NotOnnx("is not an ONNX file", "give a file written by an ONNX exporter") from error
    if not model.graph.node or model.ir_version < 1:
        raise NotOnnx("is not an ONNX file: it has no graph", "give a file written by an ONNX exporter")
    files = external_files(model)
    for place in files:
        if why := why_not_beside(place):
            hint = "save it as one file: onnx.save_model(model, path, save_as_external_data=False)"
            raise NotOnnx(f"keeps tensor {files[place][:80]!a} in {place[:80]!a}, which {why}", hint)
    weights = {weight.name for weight in model.graph.initializer}
    return Graph(
        inputs={value.name: tensor_of(value) for value in model.graph.input if value.name not in weights},
        outputs={value.name: tensor_of(value) for value in model.graph.output},
        operators=tuple(dict.fromkeys(node.op_type for node in model.graph.node)),
        nodes=tuple(node.name for node in model.graph.node if node.name),
        nameless=any(not node.name for node in model.graph.node),
        files=tuple(files),
        quantized=any(node.op_type == "QuantizeLinear" for node in model.graph.node),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def tensor_of(value: Any) -> Tensor:
    """Return type and shape of an input or output (onnx.ValueInfoProto)."""
    import onnx

    kind = value.type.tensor_type
    dtype = str(onnx.TensorProto.DataType.Name(kind.elem_type)).lower()
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if not kind.HasField("shape"):
        return Tensor(None, dtype)
    return Tensor(tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim), dtype)
