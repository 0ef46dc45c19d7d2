"""Inputs of every kind, triggers, joins and chains: what fits loads, and what does not has its line."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.resolve.documents.build_job import _input as tensor_spec
from fleet.resolve.documents.runtime_config import _input as input_binding
from fleet.resolve.documents.runtime_config import _join, _trigger
from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.inputs import IMU, JOINT_STATE, LASER_SCAN, POINT_CLOUD
from runtime.contract.node.runtime_config import InputBinding, JoinRule, Trigger
from runtime.engines.graph.preprocess import engine_input
from runtime.executor.inputs.adapters import tensor_of
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, MODEL, line_of, problems_of

SCAN = """\
  - tensor: scan
    shape: [1, 4]
    topic: /scan
    type: sensor_msgs/msg/LaserScan
    options: {invalid: zero}
"""
TWO = MODEL.replace("outputs:", SCAN + "outputs:", 1).replace("precisions:\n  int8: {calibration: calibration}\n", "")
TIMING = "trigger: {input: image}\njoin: {tolerance: 50ms, max_age: 500ms}\n"


def two_input_onnx() -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    scan = helper.make_tensor_value_info("scan", TensorProto.FLOAT, [1, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Concat", ["mean", "scan"], ["all"], axis=1),
        helper.make_node("ReduceMean", ["all"], ["scores"], axes=[1], keepdims=1),
    ]
    graph = helper.make_graph(nodes, "two", [image, scan], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def golden(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def data(scan: np.ndarray | None = None) -> dict[str, Any]:
    ranges = np.ones((2, 4), np.float32) if scan is None else scan
    return {
        "onnx": two_input_onnx(),
        "golden": golden(image=np.ones((2, 12, 16, 3), np.uint8), scan=ranges),
    }


def with_sha(text: str) -> str:
    digest = hashlib.sha256(two_input_onnx()).hexdigest()
    return re.sub(r"sha256: \w+", f"sha256: {digest}", text)


def test_a_model_of_a_camera_and_a_scan_loads_and_resolves(tmp_path: Path) -> None:
    folder = write_fleet(tmp_path, fleet_text=FLEET, model_text=with_sha(TWO + TIMING), **data())
    model = load_manifest(folder).models["detector"]
    image, scan = model.inputs
    assert input_binding(scan) == InputBinding("scan", "/scan", LASER_SCAN, shape=(1, 4), options={"invalid": "zero"})
    assert input_binding(image).encoding == "rgb8"
    assert tensor_spec(scan).preprocess is None
    assert (tensor_spec(scan).shape, tensor_spec(scan).dtype) == ((1, 4), "float32")
    assert tensor_spec(image).preprocess is not None
    assert _trigger(model) == Trigger(input="image")
    assert _join(model) == JoinRule(0.05, 0.5, 1.0)


def test_joining_is_declared(tmp_path: Path) -> None:
    text = TWO.replace("    options: {invalid: zero}\n", "    options: {invalid: zero}\n    offset: -20ms\n") + TIMING
    text = text.replace("tolerance: 50ms", "tolerance: 50ms, queue: 5, match: nearest")
    model = load_manifest(write_fleet(tmp_path, fleet_text=FLEET, model_text=with_sha(text), **data())).models[
        "detector"
    ]
    assert _join(model) == JoinRule(0.05, 0.5, 1.0, 5, "nearest")
    assert [input_binding(value).offset_s for value in model.inputs] == [0.0, -0.02]


def test_an_input_may_be_stamped_by_arrival(tmp_path: Path) -> None:
    text = TWO.replace("    encoding: rgb8\n", "    encoding: rgb8\n    stamp: arrival\n").replace(
        "    options: {invalid: zero}\n", "    options: {invalid: zero}\n    stamp: arrival\n"
    )
    folder = write_fleet(tmp_path, fleet_text=FLEET, model_text=with_sha(text + TIMING), **data())
    inputs = load_manifest(folder).models["detector"].inputs
    assert [input_binding(value).stamp for value in inputs] == ["arrival", "arrival"]


def test_a_mono_camera_feeds_a_colour_model(tmp_path: Path) -> None:
    text = with_sha(TWO.replace("encoding: rgb8", "encoding: mono8") + TIMING)
    files = {**data(), "golden": golden(image=np.ones((2, 12, 16, 1), np.uint8), scan=np.ones((2, 4), np.float32))}
    folder = write_fleet(tmp_path, fleet_text=FLEET, model_text=text, **files)
    image = load_manifest(folder).models["detector"].inputs[0]
    assert input_binding(image).encoding == "mono8"
    spec = tensor_spec(image)
    assert spec.preprocess is not None
    assert (spec.preprocess.encoding, spec.preprocess.color) == ("mono8", "bgr")


def test_golden_data_of_a_scan_are_its_values(tmp_path: Path) -> None:
    text = with_sha(TWO)
    [problem] = problems_of(tmp_path, model=text, **data(np.ones((2, 4), np.float64)))
    assert problem.path == "golden/data"
    assert "scan of" in problem.message
    assert problem.hint == "write values as the model takes them: float32 of shape [N, 4]"


CASES = [
    # old, new, key, message, hint, text of the line
    ("    options: {invalid: zero}", "    width: 3", "inputs/1/width", "width is for images", "remove it", ""),
    ("    options: {invalid: zero}", "    encoding: mono8", "inputs/1/encoding", "is for images", "remove it", ""),
    ("    options: {invalid: zero}", "    preprocess: {}", "inputs/1/preprocess", "is for images", "remove it", ""),
    ("invalid: zero", "invalid: none", "inputs/1/options/invalid", "invalid is 'none'", "max or zero or drop", ""),
    ("invalid: zero", "invlid: zero", "inputs/1/options/invlid", "has no option invlid", "did you mean invalid?", ""),
    ("[1, 4]", "[4]", "inputs/1/shape", "[4] does not begin with a batch of 1", "write [1, …]", ""),
    ("sensor_msgs/msg/LaserScan", "sensor_msgs/msg/LaserScam", "inputs/1/type", "no input takes", "did you mean", ""),
    ("sensor_msgs/msg/LaserScan", "LaserScan", "inputs/1/type", "not a valid type", "sensor_msgs/msg/LaserScan", ""),
    ("sensor_msgs/msg/LaserScan", "sensor_msgs/msg/Range", "inputs/1/type", "no input takes", "package:name", ""),
    ("options: {invalid: zero}", "stamp: never", "inputs/1/stamp", "not possible", "arrival", ""),
    ("    topic: /scan\n", "", "inputs/1", "has one source", "or from (another", "tensor: scan"),
    ("/scan\n", "/camera/image_raw\n", "inputs/1/type", "/camera/image_raw is sensor_msgs/msg/Image for another input",
     "one type", "type: sensor"),
    ("    width: 16\n", "", "inputs/0", "width is missing", "in pixels", "tensor: image"),
    ("options: {invalid: zero}", "adapter: scans", "inputs/1/adapter", "not a valid adapter", "package:name", ""),
    ("sensor_msgs/msg/LaserScan", "sensor_msgs/msg/Imu", "inputs/1/options/invalid", "has no option invalid", "known",
     "options:"),
    ("trigger: {input: image}", "trigger: {input: imag}", "trigger/input", "no input imag", "did you mean image?", ""),
    ("trigger: {input: image}", "trigger: {input: image, rate: 5}", "trigger/rate", "not on both", "or rate", ""),
    ("trigger: {input: image}", "trigger: {unchanged: repeat}", "trigger/unchanged", "for models that run by time",
     "add rate", ""),
    ("trigger: {input: image}\njoin: {tolerance: 50ms, max_age: 500ms}", "trigger: {rate: 5, unchanged: repeat}",
     "trigger/unchanged", "would be repeated without a limit", "max_age", ""),
    ("tolerance: 50ms, ", "clock_back: 2s, ", "join/clock_back", "no effect without tolerance", "add tolerance", ""),
    ("tolerance: 50ms, ", "match: nearest, ", "join/match", "no effect without tolerance", "add tolerance", ""),
    ("trigger: {input: image}\njoin: {tolerance: 50ms, max_age: 500ms}",
     "trigger: {rate: 5}\njoin: {tolerance: 50ms, match: nearest}", "join/match", "run on frames", "remove it",
     "join: {tolerance: 50ms, match"),
    ("tolerance: 50ms", "tolerance: 50ms, queue: 1", "join/queue", "", "", ""),
    ("options: {invalid: zero}", "offset: 20m", "inputs/1/offset", "", "", ""),
    ("options: {invalid: zero}", "options: {resample: nearest}", "inputs/1/shape", "needs the angles", "angles:",
     "shape: [1, 4]"),
    ("tolerance: 50ms", "tolerance: 50", "join/tolerance", "not a duration", "200ms", ""),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "says", "hint", "line"), CASES)
def test_what_does_not_fit_has_its_line(
    tmp_path: Path, old: str, new: str, key: str, says: str, hint: str, line: str
) -> None:
    text = with_sha(TWO + TIMING)
    assert old in text
    broken = text.replace(old, new, 1)
    found = [problem for problem in problems_of(tmp_path, model=broken, **data()) if problem.path == key]
    assert found, problems_of(tmp_path, model=broken, **data())
    assert says in found[0].message
    assert hint in found[0].hint
    assert found[0].line == line_of(broken, line or new.strip().split("\n", maxsplit=1)[0])


def test_a_tolerance_for_one_input_says_so(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, model=MODEL + "join: {tolerance: 50ms}\n")
    assert (problem.path, problem.message) == ("join/tolerance", "there is only one input: nothing to join")


@pytest.mark.parametrize(
    ("kind", "shape", "says"),
    [
        (IMU, "[1, 7]", "takes 7 values, but sensor_msgs/msg/Imu gives 10 or 6"),
        (POINT_CLOUD, "[1, 4]", "does not hold points of 3 fields"),
    ],
)
def test_a_shape_that_a_message_cannot_fill(tmp_path: Path, kind: str, shape: str, says: str) -> None:
    text = with_sha(TWO.replace(LASER_SCAN, kind).replace("    options: {invalid: zero}\n", ""))
    problems = problems_of(tmp_path, model=text.replace("[1, 4]", shape), **data())
    assert any(problem.path == "inputs/1/shape" and says in problem.message for problem in problems)


def test_an_adapter_takes_any_type_and_its_own_options(tmp_path: Path) -> None:
    text = TWO.replace(LASER_SCAN, "sensor_msgs/msg/Range").replace(
        "options: {invalid: zero}", "options: {anything: 1}\n    adapter: my-inputs:sonar"
    )
    folder = write_fleet(tmp_path, fleet_text=FLEET, model_text=with_sha(text), **data())
    binding = input_binding(load_manifest(folder).models["detector"].inputs[1])
    assert (binding.adapter, binding.options, binding.shape) == ("my-inputs:sonar", {"anything": 1}, (1, 4))


def test_pictures_do_not_calibrate_a_model_of_two_inputs(tmp_path: Path) -> None:
    text = with_sha(MODEL.replace("outputs:", SCAN + "outputs:", 1))
    write_fleet(tmp_path, fleet_text=FLEET, model_text=text, **data())
    folder = tmp_path / "models" / "calibration"
    for file in folder.iterdir():
        file.unlink()
    (folder / "frame.png").write_bytes(b"")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    [problem] = caught.value.problems
    assert "pictures calibrate a model of one image input alone" in problem.message


# ── chains ──

FED = MODEL.replace("name: detector", "name: planner").replace("~/detector", "~/planner")
for _line in ("encoding: rgb8", "width: 16", "height: 12", "topic: /camera/image_raw"):
    FED = FED.replace(f"    {_line}\n", "")
FED = FED[: FED.index("    preprocess:")] + FED[FED.index("outputs:") :]
FED = FED.replace("precisions:\n  int8: {calibration: calibration}\n", "")
FROM = "    from: {model: detector, tensor: scores}\n"
FED = FED.replace("    shape: [1, 3, 8, 8]\n", "    shape: [1, 3, 8, 8]\n" + FROM)
BOTH = FLEET.replace("  - models/detector.yaml", "  - models/detector.yaml\n  - models/planner.yaml").replace(
    "  scout: {models: [{model: detector, precision: fp16}]}",
    "  scout: {models: [{model: detector, precision: fp16}, {model: planner, precision: fp32}]}",
)


def chain(folder: Path, planner: str = FED, fleet: str = BOTH, detector: str = MODEL) -> Path:
    write_fleet(folder, fleet_text=fleet, model_text=detector)
    (folder / "models" / "planner.yaml").write_text(planner.replace("golden/detector", "golden/planner"))
    (folder / "models" / "golden" / "planner.npz").write_bytes(golden(image=np.ones((2, 3, 8, 8), np.float32)))
    return folder


def chain_problems(folder: Path, **texts: str) -> dict[str, str]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(chain(folder, **texts))
    return {problem.path: f"{problem.message} → {problem.hint}" for problem in caught.value.problems}


def test_a_model_fed_by_another_loads_and_resolves(tmp_path: Path) -> None:
    fed = load_manifest(chain(tmp_path)).models["planner"].inputs[0]
    binding = input_binding(fed)
    assert (binding.source, binding.topic, binding.type, binding.shape) == ("detector/scores", "", "", (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("{model: detector,", "{model: detecter,", "inputs/0/from/model", "no model is called detecter → did you mean"),
        ("tensor: scores}", "tensor: score}", "inputs/0/from/tensor", "detector has no output score → did you mean"),
        (FROM, FROM + "    topic: /x\n", "inputs/0", "has one source"),
        (FROM, FROM + "    width: 3\n", "inputs/0/width", "width is for topics, but this input comes from detector"),
        ("{model: detector", "{modle: detector", "inputs/0/from/modle", "unknown key modle → did you mean model?"),
    ],
)  # fmt: skip
def test_a_chain_that_does_not_fit(tmp_path: Path, old: str, new: str, key: str, says: str) -> None:
    assert old in FED
    assert says in chain_problems(tmp_path, planner=FED.replace(old, new, 1))[key]


def test_models_that_wait_for_each_other(tmp_path: Path) -> None:
    detector = FED.replace("name: planner", "name: detector").replace("~/planner", "~/detector")
    detector = detector.replace("{model: detector,", "{model: planner,")
    problems = chain_problems(tmp_path, detector=detector)
    assert "depends on itself: " in problems["inputs/0/from/model"]


def test_a_robot_runs_what_feeds_its_models(tmp_path: Path) -> None:
    fleet = BOTH.replace("[{model: detector, precision: fp16}, ", "[")
    [problem] = chain_problems(tmp_path, fleet=fleet).values()
    assert problem.startswith(
        "planner takes an output of detector, which scout-001 does not run → add detector to the models"
    )


def test_a_topic_has_one_type_on_a_robot(tmp_path: Path) -> None:
    planner = FED.replace(FROM, "    topic: /camera/image_raw\n    type: sensor_msgs/msg/LaserScan\n")
    [problem] = chain_problems(tmp_path, planner=planner).values()
    assert "planner takes /camera/image_raw as sensor_msgs/msg/LaserScan, detector as sensor_msgs/msg/Image" in problem


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_a_camera_of_every_encoding_feeds_a_model(tmp_path: Path, encoding: str) -> None:
    one = ENCODINGS[encoding]
    text = with_sha(TWO.replace("encoding: rgb8", f"encoding: {encoding}") + TIMING)
    pixels = np.ones((2, *one.shape(12, 16)[1:]), one.dtype)
    files = {**data(), "golden": golden(image=pixels, scan=np.ones((2, 4), np.float32))}
    image = (
        load_manifest(write_fleet(tmp_path, fleet_text=FLEET, model_text=text, **files)).models["detector"].inputs[0]
    )
    assert tensor_of(input_binding(image)) == (one.dtype, one.shape(12, 16))
    assert engine_input(tensor_spec(image)).shape == one.shape(12, 16)


@pytest.mark.parametrize(
    ("new", "key", "says"),
    [
        ("encoding: yuyv", "encoding", "it is yuv422_yuy2"),
        ("encoding: rgb16", "encoding", "write rgb8, bgr8, rgba8"),
        ("encoding: bgra8\n    type: sensor_msgs/msg/CompressedImage", "encoding", "not decoded to bgra8"),
        ("encoding: rgb8\n    options: {max_range: 5}", "options", "are for distances"),
        ("encoding: 16UC1\n    options: {invalid: max}", "options", "needs max_range"),
        ("encoding: rgb8\n    options: {exif: true}", "options/exif", "has no option exif"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(tmp_path: Path, new: str, key: str, says: str) -> None:
    broken = with_sha(TWO.replace("encoding: rgb8", new) + TIMING)
    found = [one for one in problems_of(tmp_path, model=broken, **data()) if one.path == f"inputs/0/{key}"]
    assert found, problems_of(tmp_path, model=broken, **data())
    assert says in f"{found[0].message} {found[0].hint}"


def test_a_camera_on_its_side_is_turned(tmp_path: Path) -> None:
    text = with_sha(TWO.replace("      color: bgr\n", "      color: bgr\n      rotate: 90\n      flip: vertical\n"))
    image = (
        load_manifest(write_fleet(tmp_path, fleet_text=FLEET, model_text=text, **data())).models["detector"].inputs[0]
    )
    pre = tensor_spec(image).preprocess
    assert pre is not None
    assert (pre.rotate, pre.flip, pre.upright) == (90, "vertical", (16, 12))


def test_a_policy_observes_its_joints_by_name(tmp_path: Path) -> None:
    options = "{joints: [hip, knee], fields: [position, velocity], missing: zero}"
    text = TWO.replace(LASER_SCAN, JOINT_STATE).replace("options: {invalid: zero}", f"options: {options}")
    folder = write_fleet(tmp_path / "a", fleet_text=FLEET, model_text=with_sha(text + TIMING), **data())
    joints = input_binding(load_manifest(folder).models["detector"].inputs[1])
    assert (joints.type, joints.options["joints"]) == (JOINT_STATE, ("hip", "knee"))
    three = with_sha(text.replace("[hip, knee]", "[hip, knee, ankle]") + TIMING)
    [problem] = problems_of(tmp_path / "b", model=three, **data())
    assert problem.path == "inputs/1/shape"
    assert "2 fields of 3 joints are 6" in problem.message
