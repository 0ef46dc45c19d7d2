"""A small builder of graphs for models in exporters' layouts: weights are random, layouts are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

FLOAT, INT64, UINT8 = int(TensorProto.FLOAT), int(TensorProto.INT64), int(TensorProto.UINT8)


class Net:
    """Nodes one behind another; names are those that the caller gives, or counted."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(3)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.domains: tuple[str, ...] = ()
        """Besides ONNX's own."""

    def input(self, name: str, shape: list[Any], element: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def const(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, name: str = "", outputs: int = 1, domain: str = "", **more: Any) -> str:
        names = [name or f"t{len(self.nodes)}"] + [f"t{len(self.nodes)}_{index}" for index in range(1, outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, f"n{len(self.nodes)}", domain=domain, **more))
        return names[0]

    def conv(self, value: str, into: int, out: int, stride: int = 1, name: str = "") -> str:
        kernel = self.const(self.rng.normal(0, 0.3, (out, into, 3, 3)).astype(np.float32))
        return self.add("Conv", value, kernel, name=name, pads=[1] * 4, strides=[stride] * 2)

    def features(self, value: str, channels: int = 3) -> list[str]:
        """Return maps of eight channels at strides 8, 16 and 32."""
        eighth = self.add("Relu", self.conv(self.conv(self.conv(value, channels, 8, 2), 8, 8, 2), 8, 8, 2))
        sixteenth = self.add("Relu", self.conv(eighth, 8, 8, 2))
        return [eighth, sixteenth, self.add("Relu", self.conv(sixteenth, 8, 8, 2))]

    def pooled(self, value: str, channels: int = 3) -> str:
        return self.add("Flatten", self.add("GlobalAveragePool", self.conv(value, channels, 8, 2)))

    def numbers(self, pooled: str, *shape: int, name: str = "") -> str:
        """Return numbers of a shape, from eight pooled features."""
        kernel = self.const(self.rng.normal(0, 0.5, (8, int(np.prod(shape)))).astype(np.float32))
        return self.add("Reshape", self.add("MatMul", pooled, kernel), self.ints(*shape), name=name)

    def output(self, name: str, shape: list[Any], element: int = FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, element, shape))

    def model(self, producer: str = "", **metadata: str) -> ModelProto:
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, self.weights)
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(each, 1) for each in self.domains)]
        made = helper.make_model(graph, opset_imports=imports, producer_name=producer)
        made.ir_version = 8 if self.opset < 19 else 10
        for key, value in metadata.items():
            entry = made.metadata_props.add()
            entry.key, entry.value = key, value
        return made


def save(model: ModelProto, folder: Path, name: str = "model") -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    return path
