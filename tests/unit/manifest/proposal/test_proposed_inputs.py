"""What `fleet init` proposes for inputs: pictures in every layout, numbers, states, constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from fleet.cli import main
from fleet.manifest.load import load_manifest
from fleet.manifest.proposal.inspected import inspect_onnx
from fleet.manifest.proposal.vectors import constants_of, states_of
from fleet.manifest.schema.model_schema import Model
from tests.unit.manifest.proposal import detectors, others
from tests.unit.manifest.proposal.net import FLOAT, UINT8, Net, save


def proposed(made: ModelProto, folder: Path, name: str = "model") -> Model:
    assert main.run(["init", str(folder / "fleet"), "--model", str(save(made, folder, name))]) == 0
    (model,) = load_manifest(folder / "fleet").models.values()
    return model


def picture(shape: list[Any], element: int = FLOAT, first: tuple[str, float] | None = None) -> ModelProto:
    net = Net()
    value = net.input("x", shape, element)
    value = value if element == FLOAT else net.add("Cast", value, to=FLOAT)
    if len(shape) == 3:
        value = net.add("Unsqueeze", value, net.ints(0))
    if shape[-1] == 3:
        value = net.add("Transpose", value, perm=[0, 3, 1, 2])
    if first is not None:
        value = net.add(first[0], value, net.const(np.float32(first[1])))
    net.numbers(net.pooled(value), 1, 1000, name="logits")
    net.output("logits", [1, 1000])
    return net.model()


@pytest.mark.parametrize(
    ("shape", "layout", "found"),
    [
        ([1, 3, 32, 48], "nchw", (1, 3, 32, 48)),
        (["n", 32, 48, 3], "nhwc", (1, 32, 48, 3)),
        ([3, 32, 48], "chw", (3, 32, 48)),
        ([32, 48, 3], "hwc", (32, 48, 3)),
        ([1, "h", "w", 3], "nhwc", (1, 224, 224, 3)),
    ],
)
def test_a_picture_keeps_the_layout_that_the_model_has(
    shape: list[Any], layout: str, found: tuple[int, ...], tmp_path: Path
) -> None:
    (value,) = proposed(picture(shape), tmp_path).inputs
    assert (value.preprocess.layout, value.shape) == (layout, found)


@pytest.mark.parametrize(
    ("element", "first", "scale", "mean"),
    [
        (FLOAT, None, 1 / 255, 0.485),
        (UINT8, None, 1.0, 0.0),
        (3, None, 1.0, 128.0),  # int8
        (FLOAT, ("Mul", 1 / 255), 1.0, 0.0),
        (FLOAT, ("Div", 255.0), 1.0, 0.0),
        (FLOAT, ("Sub", 0.449), 1 / 255, 0.0),
        (FLOAT, ("Sub", 120.0), 1.0, 0.0),
        (FLOAT, ("Mul", 2.0), 1 / 255, 0.485),
    ],
)
def test_what_the_graph_does_to_pixels_itself_is_not_done_twice(
    element: int, first: tuple[str, float] | None, scale: float, mean: float, tmp_path: Path
) -> None:
    (value,) = proposed(picture([1, 3, 32, 32], element, first), tmp_path).inputs
    assert value.preprocess.scale == pytest.approx(scale)
    assert value.preprocess.mean[0] == pytest.approx(mean)


def test_families_say_how_pictures_were_resized(tmp_path: Path) -> None:
    (value,) = proposed(detectors.v8(), tmp_path).inputs
    assert (value.preprocess.resize, value.preprocess.color) == ("letterbox", "rgb")
    (tmp_path / "x").mkdir()
    (value,) = proposed(detectors.yolox(), tmp_path / "x").inputs
    assert (value.preprocess.resize, value.preprocess.color, value.preprocess.scale) == ("letterbox", "bgr", 1.0)


def test_states_are_found_by_the_recurrent_layer_by_names_and_by_shape(tmp_path: Path) -> None:
    graph = inspect_onnx(save(others.lstm_policy(), tmp_path))
    assert [(each.input, each.output) for each in states_of(graph, ("obs", "h_in", "c_in"))] == [
        ("h_in", "h_out"),
        ("c_in", "c_out"),
    ]
    (state,) = states_of(inspect_onnx(save(others.voice(), tmp_path)), ("input", "state"))
    assert (state.input, state.output, state.shape) == ("state", "stateN", [2, 1, 4])
    (state,) = states_of(inspect_onnx(save(others.voice(named=False), tmp_path)), ("input", "state"))
    assert state.output == "1234"
    assert states_of(inspect_onnx(save(others.policy(), tmp_path)), ("obs",)) == ()


def test_a_sampling_rate_is_a_constant(tmp_path: Path) -> None:
    (constant,) = constants_of(inspect_onnx(save(others.voice(), tmp_path)), ("input", "sr"), None)
    assert (constant.name, constant.value, constant.shape) == ("sr", 16000, None)


def test_numbers_come_from_a_message_and_go_to_one(tmp_path: Path) -> None:
    model = proposed(others.policy(), tmp_path)
    assert (model.inputs[0].type, model.inputs[0].shape) == ("std_msgs/msg/Float32MultiArray", (1, 48))
    assert model.outputs[0].decoder.options["message"] == "multiarray"


def test_a_quantized_model_runs_at_int8(tmp_path: Path) -> None:
    net = Net()
    image = net.input("x", [1, 3, 32, 32])
    step = (net.const(np.float32(0.02)), net.const(np.int8(0)))
    value = net.add("DequantizeLinear", net.add("QuantizeLinear", image, *step), *step)
    net.numbers(net.pooled(value), 1, 1000, name="logits")
    net.output("logits", [1, 1000])
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(save(net.model(), tmp_path))]) == 0
    loaded = load_manifest(folder)
    assert loaded.manifest.groups["first"].models[0].precision == "int8"
    (model,) = loaded.models.values()
    assert model.precisions.int8 is not None
    assert model.precisions.int8.calibration is None


@pytest.mark.parametrize("operator", ["QLinearConv", "DynamicQuantizeLinear", "MatMulInteger"])
def test_what_no_engine_is_built_from_is_said_at_once(
    operator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net()
    net.add(operator, net.input("x", [1, 3, 32, 32]), name="y")
    net.output("y", [1, 4])
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(save(net.model(), tmp_path))]) == 2
    assert f"own ({operator}): no engine is built from it" in " ".join(capsys.readouterr().err.split())


def test_a_voice_detector_keeps_its_state_and_knows_its_rate(tmp_path: Path) -> None:
    model = proposed(others.voice(), tmp_path, "silero_vad")
    assert [(each.tensor, each.constant) for each in model.inputs] == [("sr", (16000.0,)), ("input", None)]
    assert model.inputs[1].shape == (1, 576)
    assert [(each.input, each.output, each.shape) for each in model.state] == [("state", "stateN", (2, 1, 4))]
    assert [output.tensor for output in model.outputs] == ["output"]


def test_a_recurrent_policy_publishes_its_actions_alone(tmp_path: Path) -> None:
    model = proposed(others.lstm_policy(), tmp_path)
    assert [each.tensor for each in model.inputs] == ["obs"]
    assert [(each.input, each.output) for each in model.state] == [("h_in", "h_out"), ("c_in", "c_out")]
    assert [output.tensor for output in model.outputs] == ["actions"]
    golden = np.load(tmp_path / "fleet" / "models" / "golden" / "model.npz")
    assert golden["obs"].shape == (8, 48)  # a sequence


@pytest.mark.parametrize("element", [7, 6, 9, 11, 2, 10])  # int64, int32, bool, double, uint8, float16
def test_numbers_of_every_type_are_fed(element: int, tmp_path: Path) -> None:
    net = Net()
    for name in ("input.1", "input_1"):  # one topic for both would have two senders' numbers
        net.input(name, [2, 5], element)
    total = net.add("Add", *(net.add("Cast", name, to=FLOAT) for name in ("input.1", "input_1")))
    net.add("Relu", total, name="y")
    net.output("y", [2, 5])
    model = proposed(net.model(), tmp_path)
    assert len({each.topic for each in model.inputs}) == 2
    assert {each.shape for each in model.inputs} == {(2, 5)}


def test_a_model_that_nothing_feeds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    net.add("Relu", net.input("sr", [1]), name="y")
    net.output("y", [1])
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(save(net.model(), tmp_path))]) == 2
    assert "every input is a constant or a state" in " ".join(capsys.readouterr().err.split())


def test_an_input_that_holds_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    net.add("Relu", net.input("x", [1, 0]), name="y")
    net.output("y", [1, 0])
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(save(net.model(), tmp_path))]) == 2
    assert "input x has a dimension of 0: it holds nothing" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("into", "out"), [("x", "x_out"), ("noise_in", "noise_out"), ("obs", "obs_next"), ("h0", "h0")]
)
def test_an_input_is_no_state_because_an_output_is_called_like_it(into: str, out: str, tmp_path: Path) -> None:
    net = Net()
    net.add("Relu", net.input(into, [1, 8]), name="y")
    net.output("y", [1, 8])
    if out != into:
        net.add("Tanh", into, name=out)
    net.output(out, [1, 8])  # h0: the input itself, handed through
    model = proposed(net.model(), tmp_path)
    assert model.state == ()
    assert [each.tensor for each in model.inputs] == [into]
