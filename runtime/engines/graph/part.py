"""Nodes that are put in front of a model, under a prefix that no model uses for its own tensors."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper


class Part:
    """Collects the nodes and constants of one input's preprocessing."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.output = f"{prefix}/tensor"
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._names: set[str] = set()

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add a constant; return its name."""
        full = self._free(f"{self.prefix}/{name}")
        self.initializers.append(numpy_helper.from_array(array, full))
        return full

    def add(self, operator: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node; return its output's name."""
        name = self._free(f"{self.prefix}/{operator}")
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{name}_node", **attributes))
        return output

    def _free(self, name: str) -> str:
        """The first of a name has it as it is: graphs that need each operator once keep their bytes."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found
