"""Make a badly retrained model out of a good one: same inputs and outputs, valid, runs, answers wrongly. ::

    python manifests/models/spoil_model.py onnx/sign_text.onnx onnx/sign_text_retrained.onnx

The demo's release 1.2.0 ships one, to show that a robot's self-test says no. Deterministic: the same model and seed
give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

SEED = 20
STRENGTH = 0.08
"""Share of every convolution kernel that is exchanged for noise of the same size."""
MIN_ELEMENTS = 512
"""Smaller tensors (biases, scales, shapes) stay: the model must stay valid and its values in range."""


def spoil(model: onnx.ModelProto, *, seed: int = SEED, strength: float = STRENGTH) -> onnx.ModelProto:
    """Return a copy of ``model`` whose kernels are mixed with noise of their own mean and deviation."""
    spoiled = onnx.ModelProto()
    spoiled.CopyFrom(model)
    generator = np.random.default_rng(seed)
    for tensor in _kernels(spoiled.graph):
        weights = numpy_helper.to_array(tensor)
        noise = generator.normal(weights.mean(), weights.std(), weights.shape)
        mixed = ((1.0 - strength) * weights + strength * noise).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    return spoiled


def _kernels(graph: onnx.GraphProto) -> list[TensorProto]:
    """Every float32 tensor of at least two dimensions and MIN_ELEMENTS values, in the graph's order."""
    tensors = list(graph.initializer)
    for node in graph.node:
        tensors += [item.t for item in node.attribute if node.op_type == "Constant" and item.name == "value"]
    return [
        item
        for item in tensors
        if item.data_type == TensorProto.FLOAT and len(item.dims) >= 2 and np.prod(item.dims) >= MIN_ELEMENTS
    ]


def spoil_file(source: Path, target: Path, *, seed: int = SEED, strength: float = STRENGTH) -> str:
    """Write the spoiled model of ``source`` to ``target``; return its sha256, for the manifest."""
    content = spoil(onnx.load(str(source)), seed=seed, strength=strength).SerializeToString(deterministic=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--strength", type=float, default=STRENGTH)
    options = parser.parse_args()
    digest = spoil_file(options.source, options.target, seed=options.seed, strength=options.strength)
    print(f"{options.target}: sha256 {digest}")
