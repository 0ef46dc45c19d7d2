"""State, constants, element types and observations in a model's file: resolved, or refused with the line."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from fleet.manifest.load import load_manifest
from fleet.resolve.documents.build_job import _job
from fleet.resolve.documents.engine_key import engine_key
from fleet.resolve.documents.model_front import constants, observations, state, state_rules
from fleet.resolve.documents.runtime_config import _input
from runtime.contract.engine.model_front import ConstantSpec, ObservationPart, StateSpec
from runtime.contract.node.runtime_config import StateRule
from tests.fakes.fleet_folder import write_fleet
from tests.fakes.nodes.policy_models import accumulator, lstm_policy, mlp_policy
from tests.unit.manifest.texts import FLEET, PROFILE, problems_of

LSTM = """\
name: detector
source: {path: onnx/detector.onnx, sha256: SHA}
inputs:
  - {tensor: obs, shape: [1, 6], topic: /obs, type: std_msgs/msg/Float32MultiArray}
state:
  - {input: h_in, output: h_out}
  - {input: c_in, output: c_out, initial: 0.5, reset: on_gap, gap: 200ms, failed_frame: keep}
outputs:
  - {tensor: actions, topic: ~/actions, decoder: {name: tensor}}
golden: {data: golden/detector.npz}
"""
LEGGED = """\
name: detector
source: {path: onnx/detector.onnx, sha256: SHA}
inputs:
  - {tensor: odometry, shape: [1, 13], topic: /odom, type: nav_msgs/msg/Odometry}
  - {tensor: imu, shape: [1, 10], topic: /imu, type: sensor_msgs/msg/Imu}
  - {tensor: command, shape: [1, 6], topic: /cmd, type: geometry_msgs/msg/Twist}
  - tensor: joints
    shape: [1, 4]
    topic: /joint_states
    type: sensor_msgs/msg/JointState
    options: {joints: [left, right]}
  - {tensor: extra, shape: [1, 40], topic: /extra, type: std_msgs/msg/Float64MultiArray}
state:
  - {input: previous, output: actions, shape: [1, 12]}
observations:
  - tensor: obs
    shape: [1, 48]
    clip: [-100, 100]
    parts:
      - {input: odometry, fields: [twist.linear.x, twist.linear.y, twist.linear.z], scale: 2.0}
      - {input: imu, fields: [angular_velocity.z], scale: 0.25}
      - {input: imu, projected_gravity: true}
      - {input: command, fields: [linear.x, angular.z], scale: [2.0, 0.25]}
      - {input: joints, joints: [right, left], fields: [position], subtract: {left: 0.1, right: -0.2}}
      - {input: joints, fields: [velocity], scale: 0.05, clip: [-5, 5]}
      - {input: previous}
      - {input: extra, slice: [2, 24]}
      - {constant: 1.0}
outputs:
  - {tensor: actions, topic: ~/actions, decoder: {name: tensor}}
golden: {data: golden/detector.npz}
"""


def files(model: ModelProto, text: str, **arrays: Any) -> dict[str, Any]:
    content = model.SerializeToString()
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    sha = hashlib.sha256(content).hexdigest()
    return {"onnx": content, "model_text": text.replace("SHA", sha), "golden": stream.getvalue()}


def obs(count: int = 8) -> dict[str, Any]:
    return {"obs": np.ones((count, 6), np.float32)}


def legged(count: int = 8) -> dict[str, Any]:
    sizes = {"odometry": 13, "imu": 10, "command": 6, "joints": 4, "extra": 40}
    return {name: np.ones((count, size), np.float32) for name, size in sizes.items()}


def load(folder: Path, given: dict[str, Any]) -> Any:
    return load_manifest(write_fleet(folder, fleet_text=FLEET_FP32, **given))


FLEET_FP32 = FLEET.replace("precision: fp16", "precision: fp32")


def test_state_resolves_for_builder_and_robot(tmp_path: Path) -> None:
    model = load(tmp_path, files(lstm_policy(), LSTM, **obs())).models["detector"]
    assert state(model) == (StateSpec("h_in", "h_out"), StateSpec("c_in", "c_out", initial=0.5))
    assert state_rules(model) == (StateRule("h_in"), StateRule("c_in", "on_gap", 0.2, "keep"))


def test_never_keeps_through_failed_frames_too(tmp_path: Path) -> None:
    text = LSTM.replace("output: h_out", "output: h_out, reset: never")
    model = load(tmp_path, files(lstm_policy(), text, **obs())).models["detector"]
    assert state_rules(model)[0] == StateRule("h_in", "never", 1.0, "keep")


def test_a_legged_robots_observation_resolves_every_name_to_a_place(tmp_path: Path) -> None:
    model = load(tmp_path, files(mlp_policy(), LEGGED, **legged())).models["detector"]
    [found] = observations(model)
    assert found.clip == (-100.0, 100.0)
    assert found.parts == (
        ObservationPart("odometry", (7, 8, 9), scale=(2.0,)),
        ObservationPart("imu", (6,), scale=(0.25,)),
        ObservationPart("imu", (0, 1, 2, 3), projected_gravity=True),
        ObservationPart("command", (0, 5), scale=(2.0, 0.25)),
        ObservationPart("joints", (1, 0), subtract=(-0.2, 0.1)),
        ObservationPart("joints", (2, 3), clip=(-5.0, 5.0), scale=(0.05,)),
        ObservationPart("previous"),
        ObservationPart("extra", tuple(range(2, 24))),
        ObservationPart(constant=(1.0,)),
    )


def test_constants_and_element_types(tmp_path: Path) -> None:
    model = accumulator()
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    text = LSTM.partition("state:")[0] + LSTM[LSTM.index("outputs:") :]
    text = text.replace("obs, shape: [1, 6]", "x, shape: [1, 2], dtype: float64").replace("actions", "y")
    text = text.replace("outputs:", "  - {tensor: sum_in, constant: 3}\noutputs:")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    loaded = load(tmp_path, files(model, text, x=np.ones((1, 2)))).models["detector"]
    assert constants(loaded) == (ConstantSpec("sum_in", (3.0,)),)
    assert [_input(value).dtype for value in loaded.fed] == ["float64"]


def test_they_are_in_the_engines_key(tmp_path: Path) -> None:
    given = files(lstm_policy(), LSTM, **obs())
    keys = set()
    for index, (old, new) in enumerate([("", ""), ("initial: 0.5", "initial: 0.6"), ("gap: 200ms", "gap: 300ms")]):
        loaded = load(tmp_path / str(index), {**given, "model_text": given["model_text"].replace(old, new)})
        job = _job(loaded.profiles["sim-x86"], loaded.models["detector"], "fp32", None)
        keys.add(engine_key(job, calibration_digest=None, golden_digest="g", builder_recipe_digest="r"))
    assert len(keys) == 2, "when a sequence ends is the robot's matter"


LSTM_CASES = [
    ("h_in, output: h_out", "h, output: h_out", "state/0/input", "the ONNX file has no input h", "known: c_in"),
    ("output: h_out", "output: h", "state/0/output", "the ONNX file has no output h", "known:"),
    ("output: h_out", "output: actions", "state/0/output", "but actions is float32 [1, 3]", "taken as it is kept"),
    ("output: h_out", "shape: [1, 1, 8]", "state/0", "exactly one of output and tail_of", "tail_of"),
    ("output: h_out", "output: h_out, shape: [1, 8]", "state/0/shape", "not fit the ONNX file's [1, 1, 8]", "as it"),
    ("output: h_out", "output: h_out, reset: never, gap: 1s", "state/0/gap", "no effect with reset: never", "remove"),
    ("outputs:", "trigger: {rate: 2}\noutputs:", "state/1/gap", "shorter than a period of 2 Hz", "above 0.5 s"),
    ("output: h_out", "output: h_out, initial: random", "state/0/initial", "random is no value", "write zeros"),
    ("output: h_out", "output: h_out, reset: always", "state/0/reset", "not possible", "never"),
    ("input: c_in", "input: h_in", "state/1/input", "h_in is named twice", "from one output"),
    ("input: h_in, output: h_out", "input: h_in, tail_of: o, shape: [1, 8]", "state/0/tail_of", "no observation o", ""),
    ("input: h_in, output: h_out", "input: h_in, tail_of: obs", "state/0", "shape is missing", "[1, 64]"),
    (", topic: /obs", ", dtype: int64, topic: /obs", "inputs/0/dtype", "cannot fill int64", "Int32MultiArray"),
    (", topic: /obs, type: std_msgs/msg/Float32MultiArray", ", constant: 1", "inputs", "inputs are constant", "topic"),
    ("shape: [1, 6], ", "", "inputs/0", "shape is missing", "[] for a single value"),
    ("topic: /obs, ", "topic: /obs, constant: 1, ", "inputs/0", "exactly one of topic, from and constant", "state"),
    ("state:", "  - {tensor: h_in, shape: [1, 1, 8], topic: /h, type: std_msgs/msg/Float32MultiArray}\nstate:",
     "state/0/input", "h_in is an input and a state", "remove it from inputs"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "says", "hint"), LSTM_CASES)
def test_a_wrong_state_has_its_line(tmp_path: Path, old: str, new: str, key: str, says: str, hint: str) -> None:
    _check(tmp_path, lstm_policy(), LSTM, obs(), (old, new, key, says, hint))


LEGGED_CASES = [
    ("input: previous}", "input: prevous}", "observations/0/parts/6/input", "no input or state prevous", "previous?"),
    ("joints: [right, left]", "joints: [rihgt]", "observations/0/parts/4/joints", "no joint rihgt", "mean right?"),
    ("{left: 0.1, right: -0.2}", "{left: 0.1}", "observations/0/parts/4/subtract", "no number for right", "0 where"),
    ("{left: 0.1, right: -0.2}", "{left: 0.1, right: 0, up: 1}", "observations/0/parts/4/subtract", "no joint up", ""),
    ("twist.linear.y", "twist.linear.w", "observations/0/parts/0/fields", "no field twist.linear.w", "did you mean"),
    ("fields: [velocity]", "fields: [effort]", "observations/0/parts/5/fields", "no field effort", "position"),
    ("slice: [2, 24]", "slice: [2, 41]", "observations/0/parts/7/slice", "2 to 41 are not values", "at most 40"),
    ("slice: [2, 24]", "slice: [2, 23]", "observations/0/shape", "its parts are 47: 3 (odometry)", "correct the parts"),
    ("scale: [2.0, 0.25]", "scale: [2.0, 0.25, 1]", "observations/0/parts/3/scale", "3 numbers for 2 values", "or 2"),
    ("{constant: 1.0}", "{constant: 1.0, scale: 2}", "observations/0/parts/8/scale", "this part is constant", "remove"),
    ("{constant: 1.0}", "{scale: 2}", "observations/0/parts/8", "a part is of an input or constant", "exactly one"),
    ("clip: [-5, 5]", "clip: [5, -5]", "observations/0/parts/5/clip", "from 5 to -5 is nothing", "least, most"),
    ("scale: 2.0", "scale: fast", "observations/0/parts/0/scale", "fast is no number", "write 2.0"),
    ("{left: 0.1, right: -0.2}", "{left: no, right: 1}", "observations/0/parts/4/subtract", "left has no", ""),
    ("slice: [2, 24]", "slice: [2, 2.5]", "observations/0/parts/7/slice", "not two numbers", "[first, end]"),
    ("clip: [-100, 100]", "clip: [-100]", "observations/0/clip", "[-100] is not two numbers", "[least, most]"),
    ("{input: imu, projected_gravity: true}", "{input: joints, projected_gravity: true, slice: [0, 3]}",
     "observations/0/parts/2/projected_gravity", "needs a quaternion, 3 values are chosen", "x, y, z, w"),
    ("{input: extra, slice: [2, 24]}", "{input: extra, fields: [a]}",
     "observations/0/parts/7/fields", "have no names", "slice"),
    ("  - tensor: obs\n", "  - tensor: observation\n",
     "observations/0/tensor", "has no input observation", "known: obs"),
    ("  - tensor: obs\n    shape: [1, 48]", "  - tensor: obs\n    shape: [1, 47]",
     "observations/0/shape", "takes 47 values", ""),
    ("tensor: extra", "tensor: obs", "observations/0/tensor", "obs is an input and an observation", "another name"),
    ("{input: previous, output: actions, shape: [1, 12]}", "{input: previous, output: actions, shape: [1, 11]}",
     "state/0/shape", "does not fit the ONNX file's [1, 12]", "as it is kept"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "says", "hint"), LEGGED_CASES)
def test_a_wrong_part_has_its_line(tmp_path: Path, old: str, new: str, key: str, says: str, hint: str) -> None:
    _check(tmp_path, mlp_policy(), LEGGED, legged(), (old, new, key, says, hint))


def _check(folder: Path, model: ModelProto, text: str, arrays: dict[str, Any], case: tuple[str, ...]) -> None:
    old, new, key, says, hint = case
    assert old in text
    given = files(model, text.replace(old, new, 1), **arrays)
    problems = problems_of(folder, fleet=FLEET_FP32, profile=PROFILE, model=given.pop("model_text"), **given)
    found = [problem for problem in problems if problem.path == key]
    assert found, problems
    assert says in found[0].message
    assert hint in found[0].hint
    assert found[0].line


def test_golden_data_of_a_state_are_a_sequence_without_it(tmp_path: Path) -> None:
    short = files(lstm_policy(), LSTM, **obs(7))
    [problem] = problems_of(tmp_path / "short", fleet=FLEET_FP32, model=short.pop("model_text"), **short)
    assert (problem.path, "has 7 frames, and the model keeps state" in problem.message) == ("golden/data", True)
    whole = files(lstm_policy(), LSTM, **obs(), h_in=np.zeros((8, 1, 1, 8), np.float32))
    [problem] = problems_of(tmp_path / "whole", fleet=FLEET_FP32, model=whole.pop("model_text"), **whole)
    assert "has h_in, which is no tensor of the model" in problem.message


def test_a_model_that_waits_for_itself_is_told_of_state(tmp_path: Path) -> None:
    text = LSTM.replace("topic: /obs, type: std_msgs/msg/Float32MultiArray", "from: {model: detector, tensor: actions}")
    given = files(lstm_policy(), text, **obs())
    problems = problems_of(tmp_path, fleet=FLEET_FP32, model=given.pop("model_text"), **given)
    assert any("is its state" in problem.hint for problem in problems)
