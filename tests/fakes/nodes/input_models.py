"""Tiny real engines fed by scans, images, other models: the tests of inputs see in their outputs what came in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.engines.golden.golden_data import Golden, save_golden
from tests.fakes.nodes.runtime_folder import KEY

_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


def write_sum_engine(folder: Path, inputs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """Write an engine whose output ``y`` is, for every input in turn, its first value and its largest: [1, 2 n].

    ``inputs``: name → (dtype, shape).
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = _model(inputs).SerializeToString()
    (folder / "engine.onnx").write_bytes(data)
    identity = EngineIdentity(
        KEY, folder.name, "onnxruntime", "fp32", "engine.onnx", hashlib.sha256(data).hexdigest(), len(data),
        DeviceFacts(platform="linux/amd64"),
        tuple(TensorSpec(name, shape, dtype) for name, (dtype, shape) in inputs.items()),
        (TensorSpec("y", (1, 2 * len(inputs))),),
        AccuracyGate(min_cosine=0.999),
    )  # fmt: skip
    (folder / "engine.json").write_bytes(canonical_json(identity))
    frames = {name: np.full(shape, 3, dtype)[None][0] for name, (dtype, shape) in inputs.items()}
    expected = np.full((1, 1, 2 * len(inputs)), 3, np.float32)
    save_golden(folder / "golden.npz", Golden(frames, {"y": expected}))


def _model(inputs: dict[str, tuple[str, tuple[int, ...]]]) -> onnx.ModelProto:
    nodes, parts = [], []
    for name in inputs:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", [f"{name}_f", "flat"], [f"{name}_v"]),
            helper.make_node("Slice", [f"{name}_v", "zero", "one", "one"], [f"{name}_first"]),
            helper.make_node("ReduceMax", [f"{name}_v"], [f"{name}_max"], axes=[1], keepdims=1),
        ]
        parts += [f"{name}_first", f"{name}_max"]
    nodes.append(helper.make_node("Concat", parts, ["y"], axis=1))
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [2], [1, -1]),
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    values = [helper.make_tensor_value_info(name, _TYPES[dtype], shape) for name, (dtype, shape) in inputs.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2 * len(inputs)])
    graph = helper.make_graph(nodes, "sum", values, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
