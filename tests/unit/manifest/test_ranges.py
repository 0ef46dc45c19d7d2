"""Ranges of shapes: what may have one, what it must be, what it comes to in a job, and what `fleet validate` says."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleet.cli import main
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Model
from fleet.resolve.documents.build_job import _input as tensor_spec
from fleet.resolve.documents.runtime_config import _input as input_binding
from runtime.contract.engine.build import TensorSpec
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, JETSON, MODEL, PROFILE, line_of, problems_of

RANGE = "    shape_range: {min: [1, 4], max: [1, 16]}\n"
FED = f"""\
inputs:
  - tensor: scan
    shape: [1, 8]
{RANGE}    topic: /scan
    type: sensor_msgs/msg/LaserScan
"""


def scan_onnx(length: int | str = "length") -> bytes:
    """A model of one vector, whose length is open."""
    scan = helper.make_tensor_value_info("scan", TensorProto.FLOAT, [1, length])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1])
    nodes = [helper.make_node("ReduceMean", ["scan"], ["scores"], axes=[1], keepdims=1)]
    graph = helper.make_graph(nodes, "scan", [scan], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def model_text(fed: str = FED, length: int | str = "length") -> str:
    text = re.sub(r"inputs:\n.*?(?=outputs:)", lambda _: fed, MODEL, flags=re.DOTALL)
    text = text.replace("precisions:\n  int8: {calibration: calibration}\n", "")
    return re.sub(r"sha256: \w+", f"sha256: {hashlib.sha256(scan_onnx(length)).hexdigest()}", text)


def golden(length: int = 8) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, scan=np.ones((2, length), np.float32))
    return stream.getvalue()


def folder_of(path: Path, text: str, profile: str = PROFILE) -> Path:
    files = {"fleet_text": FLEET, "profile_text": profile, "model_text": text}
    return write_fleet(path, **files, onnx=scan_onnx(), golden=golden())


def loaded(path: Path, text: str) -> Model:
    return load_manifest(folder_of(path, text)).models["detector"]


def test_a_range_is_the_job_s_and_the_robot_runs_at_shape(tmp_path: Path) -> None:
    [scan] = loaded(tmp_path, model_text()).inputs
    assert tensor_spec(scan) == TensorSpec("scan", (1, 8), min_shape=(1, 4), max_shape=(1, 16))
    assert input_binding(scan).shape == (1, 8)


def test_without_a_range_the_job_has_none(tmp_path: Path) -> None:
    [scan] = loaded(tmp_path, model_text(FED.replace(RANGE, ""))).inputs
    assert tensor_spec(scan) == TensorSpec("scan", (1, 8))


CASES = [
    # old, new, key, message, hint
    ("min: [1, 4]", "min: [1, 9]", "/min", "[1, 9] is larger than shape [1, 8]", "min <= shape <= max"),
    ("max: [1, 16]", "max: [1, 7]", "/max", "[1, 7] is smaller than shape [1, 8]", "min <= shape <= max"),
    ("min: [1, 4]", "min: [4]", "/min", "[4] has 1 dimensions, but shape 2", "write 2"),
    ("min: [1, 4]", "min: []", "/min", "[] has 0 dimensions, but shape 2", "write 2"),
    ("max: [1, 16]", "max: [2, 16]", "/max", "[2, 16] does not begin with a batch of 1", "write [1, 16]"),
    ("min: [1, 4], max: [1, 16]", "min: [1, 8], max: [1, 8]", "", "there is no range", "remove shape_range"),
    (", max: [1, 16]", "", "/max", "missing", ""),
    ("min: [1, 4]", "min: [1, 0]", "/min/1", "out of range", "at least 1"),
    ("min: [1, 4]", "min: [1, 4], opt: [1, 8]", "/opt", "unknown key", ""),
]


@pytest.mark.parametrize(("old", "new", "key", "says", "hint"), CASES)
def test_what_is_no_range_has_its_line(tmp_path: Path, old: str, new: str, key: str, says: str, hint: str) -> None:
    assert old in RANGE
    text = model_text(FED.replace(old, new, 1))
    [problem] = problems_of(tmp_path, model=text, onnx=scan_onnx(), golden=golden())
    assert problem.path == f"inputs/0/shape_range{key}"
    assert says in problem.message
    assert hint in problem.hint
    assert problem.line == line_of(text, "shape_range")


def test_an_image_has_no_range(tmp_path: Path) -> None:
    ranged = "    shape_range: {min: [1, 3, 8, 8], max: [1, 3, 16, 16]}\n"
    text = MODEL.replace("    topic: /camera", ranged + "    topic: /camera", 1)
    [problem] = problems_of(tmp_path, model=text)
    assert (problem.path, problem.line) == ("inputs/0/shape_range", line_of(text, "shape_range"))
    assert "an image input has one shape" in problem.message
    assert "remove shape_range" in problem.hint


def test_the_onnx_file_must_leave_the_dimension_open(tmp_path: Path) -> None:
    text = model_text(length=8)
    [problem] = problems_of(tmp_path, model=text, onnx=scan_onnx(8), golden=golden())
    assert (problem.path, problem.line) == ("inputs/0/shape_range", line_of(text, "shape_range"))
    assert problem.message == "a range in dimension 1, but the ONNX file's [1, 8] fixes it"
    assert "dynamic axes" in problem.hint


def test_a_message_fills_both_ends(tmp_path: Path) -> None:
    text = model_text(FED.replace("LaserScan", "Imu").replace("[1, 8]", "[1, 10]"))
    problems = problems_of(tmp_path, model=text, onnx=scan_onnx(), golden=golden(10))
    assert [problem.path for problem in problems] == ["inputs/0/shape_range/min", "inputs/0/shape_range/max"]
    assert problems[0].message == "[1, 4] takes 4 values, but sensor_msgs/msg/Imu gives 10 or 6"


def test_golden_data_is_of_the_shape_that_the_robot_runs_at(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, model=model_text(), onnx=scan_onnx(), golden=golden(16))
    assert (problem.path, problem.hint) == (
        "golden/data",
        "write values as the model takes them: float32 of shape [N, 8]",
    )


def test_the_dla_takes_one_shape(tmp_path: Path) -> None:
    fleet = FLEET.replace("precision: fp32}", "precision: fp16, dla_core: 0}", 1)
    profile = JETSON.replace("p3767-0003", "p3767-0000")
    data = {"onnx": scan_onnx(), "golden": golden()}
    [problem] = problems_of(tmp_path, fleet=fleet, profile=profile, model=model_text(), **data)
    assert problem.message == "detector has a shape_range (scan), and the DLA supports one shape only"
    assert (problem.path, problem.line) == ("groups/amr/models/0/dla_core", line_of(fleet, "dla_core"))


@pytest.mark.parametrize(("profile", "notes"), [(PROFILE, 2), (JETSON, 0)], ids=["onnxruntime", "tensorrt"])
def test_validate_notes_engines_that_have_one_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str, notes: int
) -> None:
    folder = folder_of(tmp_path, model_text(), profile)
    assert main.run(["validate", "-m", str(folder), "--json"], as_json=True) == 0
    found = json.loads(capsys.readouterr().out)["notes"]
    assert len(found) == notes
    assert all("on sim-x86 takes scan as [1, 8] alone: shape_range is for TensorRT" in note for note in found)
    assert main.run(["validate", "-m", str(folder)]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("takes scan as [1, 8] alone") == notes
