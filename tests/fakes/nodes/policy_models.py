"""Policies in the shapes that Isaac Lab and rsl_rl export, with small random weights, and what NumPy makes of them.

Names of inputs and outputs are those of rsl_rl's exporter: ``obs``, ``h_in``, ``c_in`` → ``actions``, ``h_out``,
``c_out``. A multi-layer perceptron has its normaliser in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OBSERVATIONS, ACTIONS = 48, 12

Array = npt.NDArray[Any]


def mlp_policy(seed: int = 3, hidden: int = 16) -> ModelProto:
    """Normaliser, two layers with Elu: ``obs`` [1, 48] → ``actions`` [1, 12]."""
    weights = mlp_weights(seed, hidden)
    nodes = [
        helper.make_node("Sub", ["obs", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("Gemm", ["normal", "w1", "b1"], ["first"], name="first_layer"),
        helper.make_node("Elu", ["first"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["actions"], name="last_layer"),
    ]
    return model_of(nodes, {"obs": (1, OBSERVATIONS)}, {"actions": (1, ACTIONS)}, weights)


def mlp_weights(seed: int = 3, hidden: int = 16) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "mean": rng.normal(0, 0.2, (1, OBSERVATIONS)).astype(np.float32),
        "std": rng.uniform(0.5, 2.0, (1, OBSERVATIONS)).astype(np.float32),
        "w1": rng.normal(0, 0.3, (OBSERVATIONS, hidden)).astype(np.float32),
        "b1": rng.normal(0, 0.1, (hidden,)).astype(np.float32),
        "w2": rng.normal(0, 0.3, (hidden, ACTIONS)).astype(np.float32),
        "b2": rng.normal(0, 0.1, (ACTIONS,)).astype(np.float32),
    }


def mlp_answer(observation: Array, weights: dict[str, Array]) -> Array:
    """What the policy answers, in float64."""
    normal = (observation.reshape(1, -1).astype(np.float64) - weights["mean"]) / weights["std"]
    first = normal @ weights["w1"] + weights["b1"]
    hidden = np.where(first > 0, first, np.expm1(np.minimum(first, 0)))
    answer: Array = hidden @ weights["w2"] + weights["b2"]
    return answer


def lstm_policy(seed: int = 5, size: int = 8, inputs: int = 6, outputs: int = 3) -> ModelProto:
    """``obs`` [1, inputs], ``h_in``, ``c_in`` [1, 1, size] → ``actions`` [1, outputs], ``h_out``, ``c_out``."""
    weights = recurrent_weights(4, seed, size, inputs, outputs)
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "zero"], ["sequence"]),
        helper.make_node(
            "LSTM", ["sequence", "W", "R", "B", "", "h_in", "c_in"], ["all", "h_out", "c_out"],
            hidden_size=size, name="memory",
        ),
        helper.make_node("Squeeze", ["h_out", "zero"], ["last"]),
        helper.make_node("Gemm", ["last", "w", "b"], ["actions"], name="actor"),
    ]  # fmt: skip
    state = dict.fromkeys(("h_in", "c_in"), (1, 1, size))
    kept = dict.fromkeys(("h_out", "c_out"), (1, 1, size))
    return model_of(nodes, {"obs": (1, inputs), **state}, {"actions": (1, outputs), **kept}, weights)


def gru_policy(seed: int = 6, size: int = 8, inputs: int = 6, outputs: int = 3) -> ModelProto:
    """``obs``, ``h_in`` → ``actions``, ``h_out``."""
    weights = recurrent_weights(3, seed, size, inputs, outputs)
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "zero"], ["sequence"]),
        helper.make_node(
            "GRU", ["sequence", "W", "R", "B", "", "h_in"], ["all", "h_out"], hidden_size=size, name="memory",
            linear_before_reset=1,
        ),
        helper.make_node("Squeeze", ["h_out", "zero"], ["last"]),
        helper.make_node("Gemm", ["last", "w", "b"], ["actions"], name="actor"),
    ]  # fmt: skip
    inside, outside = {"obs": (1, inputs), "h_in": (1, 1, size)}, {"actions": (1, outputs), "h_out": (1, 1, size)}
    return model_of(nodes, inside, outside, weights)


def recurrent_weights(gates: int, seed: int, size: int, inputs: int, outputs: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "W": rng.normal(0, 0.5, (1, gates * size, inputs)).astype(np.float32),
        "R": rng.normal(0, 0.5, (1, gates * size, size)).astype(np.float32),
        "B": rng.normal(0, 0.1, (1, 2 * gates * size)).astype(np.float32),
        "w": rng.normal(0, 1.0, (size, outputs)).astype(np.float32),
        "b": rng.normal(0, 0.1, (outputs,)).astype(np.float32),
        "zero": np.array([0], np.int64),
    }


def lstm_answers(observations: Array, seed: int = 5, size: int = 8, outputs: int = 3) -> Array:
    """What the LSTM policy answers to a sequence, in float64, by the operator's definition (gates i, o, f, c)."""
    weights = recurrent_weights(4, seed, size, observations.shape[1], outputs)
    bias = weights["B"][0, : 4 * size] + weights["B"][0, 4 * size :]
    hidden, cell = np.zeros(size), np.zeros(size)
    answers = []
    for observation in observations.astype(np.float64):
        gates = weights["W"][0] @ observation + weights["R"][0] @ hidden + bias
        inside, out, forget = (1 / (1 + np.exp(-gates[index * size : (index + 1) * size])) for index in range(3))
        cell = forget * cell + inside * np.tanh(gates[3 * size :])
        hidden = out * np.tanh(cell)
        answers.append(hidden @ weights["w"] + weights["b"])
    return np.array(answers)


def accumulator(inputs: int = 2) -> ModelProto:
    """``x`` and ``sum_in`` → ``sum_out``, their sum, and ``y``, twice that: every frame is seen in the next ones."""
    nodes = [
        helper.make_node("Add", ["x", "sum_in"], ["sum_out"]),
        helper.make_node("Add", ["sum_out", "sum_out"], ["y"]),
    ]
    shape = (1, inputs)
    return model_of(nodes, {"x": shape, "sum_in": shape}, {"y": shape, "sum_out": shape}, {})


def model_of(
    nodes: Iterable[NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, tuple[int, ...]],
    weights: dict[str, Array],
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "policy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
