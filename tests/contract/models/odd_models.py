"""Random models of every type, rank and name that ONNX allows: `fleet init` writes what validates, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fleet.cli import main
from tests.contract.models.model_road import built_from

FLOAT = int(TensorProto.FLOAT)
INTO_FLOAT = (
    TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32,
    TensorProto.INT64, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.UINT16,
)  # fmt: skip
OUT_OF_FLOAT = (*INTO_FLOAT, TensorProto.BFLOAT16, TensorProto.STRING)
NAMES = (
    "images", "x", "0", "serving_default_input:0", "/model/in=put", "yes", "größe", "入力", "a b", "h0", "c_in", "sr",
    "12:30", "{a: b}", "- x", "#1", "state", "obs", "'q'", '"dq"', "null", "x" * 80, "../../etc", "file", "pixel_mask",
    "tab\there", "orig_target_sizes", "\\", "%s", "{{ robot.name }}", "input.1", "~", "!tag", "&a", "*a", "|", "@",
)  # fmt: skip
OUTPUTS = (
    "output0", "boxes", "scores", "labels", "num_dets", "logits", "hn", "c_out", "stateN", "depth", "mask", "probs",
    "출력", "1", "Identity:0", "a: b", "on", "# no", "detection_boxes", "detection_scores", "detection_classes",
)  # fmt: skip
FILES = (
    "model",
    "0",
    "320n",
    "on",
    "My Model (v2)",
    "ümlaut",
    "a.b-c",
    "_",
    "模型",
    "yolo11n-seg",
    "x" * 90,
    "-f",
    "ch_det",
)
METADATA: tuple[dict[str, str], ...] = (
    {}, {}, {"names": "{0: 'a', 1: 'b'}", "task": "detect", "stride": "32", "imgsz": "[64, 64]"},
    {"task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'person'}"}, {"names": "{0: 'yes', 1: '\\x00'}"},
    {"task": "obb", "names": "['a', 'b']", "imgsz": "[0, -4]"}, {"task": "segment", "imgsz": "64"},
    {"names": "[" * 300},
    {"end2end": "True", "names": "{}"}, {"task": "classify", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"},
)  # fmt: skip


class _Odd:
    """One random model."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.integers(11, 25))
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.named: set[str] = set()

    def pick(self, values: Any) -> Any:
        return values[int(self.rng.integers(0, len(values)))]

    def free(self, names: Any) -> str:
        name = str(self.pick(names))
        while name in self.named:
            name += "_"
        self.named.add(name)
        return name

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        name = "" if self.rng.random() < 0.3 else f"n/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        return output

    def shape(self) -> list[Any]:
        """Return the shape of an input: pictures of several layouts, lists, and whatever else has a rank up to five."""
        side = int(self.pick((8, 32, 33, 64)))
        usual: list[list[Any]] = [
            [1, 3, side, side], ["n", 3, "h", "w"], [1, side, side, 3], ["n", "h", "w", 3], [3, side, side],
            [1, 1, side, side], [1, 4, side, side], [2, 3, side, side], [1, 48], ["n", 12],
            [2, 1, 16], [1, 1, 8], [], [1], [4], [1, 0],
        ]  # fmt: skip
        if self.rng.random() < 0.7:
            return list(self.pick(usual))
        sizes = [1, 2, 3, 5, 8, "s", "t", -1]
        return [self.pick(sizes) for _ in range(int(self.rng.integers(0, 6)))]

    def model(self) -> ModelProto:
        inputs, values = [], []
        for _ in range(int(self.pick((1, 1, 1, 2, 3)))):
            kind, name = self.pick(INTO_FLOAT), self.free(NAMES)
            if self.rng.random() < 0.04:
                kind = TensorProto.STRING
            shape: Any = self.shape() if self.rng.random() > 0.04 else None
            inputs.append(helper.make_tensor_value_info(name, kind, shape))
            if kind != TensorProto.STRING and self.rng.random() > 0.05:  # else nothing reads it
                flat = self.node("Flatten", [self.node("Cast", [name], to=FLOAT)], axis=0) if self.opset > 12 else ""
                values.append(flat or self.node("Reshape", [self.node("Cast", [name], to=FLOAT), self._ints(1, -1)]))
        if not values:
            values.append(self._number())
        total = self.node("ReduceMean" if self.opset < 18 else "ReduceSum", [values[0]], keepdims=0)
        outputs = [self._output(total, inputs) for _ in range(int(self.pick((1, 1, 2, 3, 4))))]
        graph = helper.make_graph(self.nodes, "odd", inputs, outputs, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        made.ir_version = 7 if self.opset < 15 else 8 if self.opset < 19 else 9 if self.opset < 21 else 10
        made.producer_name = str(self.pick(("pytorch", "tf2onnx", "PaddlePaddle", "")))
        for key, value in self.pick(METADATA).items():
            entry = made.metadata_props.add()
            entry.key, entry.value = key, value
        return made

    def _ints(self, *values: int) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def _number(self) -> str:
        self.weights.append(numpy_helper.from_array(np.ones((1, 4), np.float32), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def _output(self, total: str, inputs: list[Any]) -> Any:
        """Return an output of a shape that a head could have, made of one number; sometimes one that is none."""
        name = self.free(OUTPUTS)
        chance = self.rng.random()
        if chance < 0.04:
            return helper.make_tensor_value_info(inputs[0].name, inputs[0].type.tensor_type.elem_type, None)
        if chance < 0.07:
            self.node("SequenceConstruct", [total], name)
            return helper.make_tensor_sequence_value_info(name, FLOAT, None)
        sizes = self.pick((
            [1, 6, 84], [1, 84, 6], [1, 300, 6], [1, 56, 84], [1, 20, 4], [1, 20], [1, 20, 5], [1], [], [1, 1000],
            [1, 7], [1, 2, 8, 8], [1, 1, 32, 32], [1, 32, 32], [1, 1, 8], [2, 1, 16], [20, 4], [20], [1, 32, 16, 16],
            [0], [1, 12], [3, 3, 2, 1, 2],
        ))  # fmt: skip
        value = self.node("Expand", [total, self._ints(*sizes)])
        if (ending := self.pick(("", "Sigmoid", "Relu", "Softmax", "Exp", "ArgMax"))) and (
            ending not in ("Softmax", "ArgMax") or sizes
        ):
            axis: dict[str, Any] = {"axis": -1} if ending in ("Softmax", "ArgMax") else {}
            value = self.node(ending, [value], **axis)
        kind = self.pick(OUT_OF_FLOAT) if self.rng.random() < 0.4 else TensorProto.FLOAT
        if kind == TensorProto.BFLOAT16 and self.opset < 13:
            kind = TensorProto.FLOAT
        self.node("Cast", [value], name, to=int(kind))
        written: Any = sizes if ending != "ArgMax" else [*sizes[:-1], 1] if sizes else []
        if self.rng.random() < 0.2:
            written = None if self.rng.random() < 0.3 else [f"d{i}" for i in range(len(written))]
        return helper.make_tensor_value_info(name, int(kind), written)


def odd_model(seed: int) -> tuple[ModelProto, str, bool]:
    """Return a model, its file's name, and whether its weights are in another file."""
    odd = _Odd(seed)
    made = odd.model()
    return made, str(odd.pick(FILES)), bool(odd.rng.random() < 0.2) and bool(made.graph.initializer)


def proposed(seed: int, folder: Path, said: Any, *, build: bool = False) -> str:
    """Take one model through init and validate, and through build, run and decode; return how it ended.

    ``said()`` gives what was printed on stderr. AssertionError for whatever is not an answer or a sentence.
    """
    made, name, external = odd_model(seed)
    path = folder / f"{name}.onnx"
    where = "weights.bin" if external else None
    onnx.save_model(made, str(path), save_as_external_data=external, location=where, size_threshold=0)
    fleet = folder / "fleet"
    said()
    code = main.run(["init", str(fleet), "--model", str(path)])
    text = said()
    assert code in (0, 2), f"seed {seed}: fleet init ended with {code}: {text}"
    if code:
        assert not fleet.exists(), f"seed {seed}: nothing is written where init refuses"
        assert text.count("error ") == 1, f"seed {seed}: one sentence, not {text}"
        return "refused"
    assert main.run(["validate", "-m", str(fleet)]) == 0, f"seed {seed}: what init writes validates: {said()}"
    return built_from(fleet, "fp32") if build else "valid"
