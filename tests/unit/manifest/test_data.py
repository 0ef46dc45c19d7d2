"""Files that a model names: each kind of wrong content is a problem with a file, a line and a hint."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import HEIGHT, WIDTH, frames, npz, tiny_onnx, write_fleet
from tests.unit.manifest.texts import MODEL, SHA, line_of, problems_of

GOLDEN: dict[str, tuple[Any, str]] = {
    "no frames for the input": ({"picture": frames(2)}, "no frames for input image"),
    "unknown array": ({"image": frames(2), "boxes": np.zeros((2, 1), np.float32)}, "boxes, which is no tensor"),
    "floats": ({"image": frames(2).astype(np.float32)}, "float32 of shape"),
    "other size": ({"image": np.zeros((2, HEIGHT + 1, WIDTH, 3), np.uint8)}, "uint8 of shape [2, 13, 16, 3]"),
    "no sample": ({"image": np.zeros((0, HEIGHT, WIDTH, 3), np.uint8)}, "uint8 of shape [0, 12, 16, 3]"),
    "one frame without N": ({"image": frames(1)[0]}, "uint8 of shape [12, 16, 3]"),
    "other number of answers": ({"image": frames(2), "scores": np.zeros((3, 4), np.float32)}, "first dimension"),
    "objects": (None, "not plain numbers"),
    "random bytes": (b"\x00" * 100, "not an .npz file"),
    "empty": (b"", "not an .npz file"),
    "cut off": (npz({"image": frames(2)})[:-40], "not an .npz file"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_data(name: str, tmp_path: Path) -> None:
    data, says = GOLDEN[name]
    if name == "objects":
        buffer = BytesIO()
        np.savez(buffer, image=np.array([{"a": 1}], dtype=object))
        data = buffer.getvalue()
    problems = problems_of(tmp_path, golden=data)
    assert any(says in problem.message for problem in problems), "\n".join(map(str, problems))
    assert all(problem.path == "golden/data" and problem.hint for problem in problems)
    assert {problem.line for problem in problems} == {line_of(MODEL, "golden:")}


@pytest.mark.parametrize("content", [b"", b"hello, I am not ONNX", b"\x08\x08", b"\xff" * 64, tiny_onnx()[:200]])
def test_onnx_that_is_not_onnx(content: bytes, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, onnx=content)
    assert any(p.path == "source/path" and "not an ONNX file" in p.message and p.hint for p in problems)


def test_onnx_with_weights_elsewhere(tmp_path: Path) -> None:
    from onnx import ModelProto, TensorProto

    model = ModelProto.FromString(tiny_onnx())
    weights = model.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.ClearField("raw_data")
    weights.external_data.add(key="location", value="weights.bin")
    problems = problems_of(tmp_path, onnx=model.SerializeToString())
    assert any("weights.bin, which the ONNX file keeps weights in, does not exist" in p.message for p in problems)
    weights.external_data[0].value = "../weights.bin"
    problems = problems_of(tmp_path / "outside", onnx=model.SerializeToString())
    assert any("is not the name of a file next to the model" in p.message for p in problems)
    assert any("save_as_external_data" in p.hint for p in problems)


def test_onnx_that_wants_other_inputs(tmp_path: Path) -> None:
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto.FromString(tiny_onnx())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    model.graph.input.append(helper.make_tensor_value_info("threshold", TensorProto.FLOAT, [1]))
    problems = problems_of(tmp_path, onnx=model.SerializeToString())
    assert any(p.path == "inputs/0/tensor" and "bool, not float32" in p.message for p in problems)
    assert any(p.path == "inputs/0/shape" and "[1, 3, 32, ?]" in p.message for p in problems)
    assert any(p.path == "inputs" and "threshold" in p.message for p in problems)


def test_too_few_calibration_samples(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, calibration=3)
    assert problem.path == "precisions/int8/calibration"
    assert problem.message.endswith("has 3 samples, int8 needs at least 8")
    assert "hundreds are better" in problem.hint


LEFT_OUT = [
    ("int8: {calibration: calibration, exclude_ops: [Convolution]}", "int8/exclude_ops/0", "Conv"),
    ("int8: {calibration: calibration, exclude_nodes: [Relu_1, relu_1]}", "int8/exclude_nodes/1", ""),
    ("fp16: {keep_fp32_ops: [Softmax]}", "fp16/keep_fp32_ops/0", "known: Conv, Flatten, GlobalAveragePool, Relu"),
    ("fp16: {keep_fp32_nodes: [Softmax_3]}", "fp16/keep_fp32_nodes/0", ""),
]


@pytest.mark.parametrize(("written", "path", "hint"), LEFT_OUT)
def test_what_is_left_in_float_must_be_in_the_file(written: str, path: str, hint: str, tmp_path: Path) -> None:
    text = MODEL.replace("int8: {calibration: calibration}", written)
    assert text != MODEL
    (problem,) = problems_of(tmp_path, model=text)
    assert problem.path == f"precisions/{path}"
    assert problem.message.startswith("the ONNX file has no ")
    assert hint in problem.hint


def test_a_misspelt_node_is_answered_with_the_near_one(tmp_path: Path) -> None:
    from onnx import ModelProto

    model = ModelProto.FromString(tiny_onnx())
    for node, name in zip(model.graph.node, ("head/conv", "head/act", "pool", "flat"), strict=True):
        node.name = name
    content = model.SerializeToString()
    text = MODEL.replace(SHA, hashlib.sha256(content).hexdigest())
    names = "exclude_nodes: [head/conv, head/conv/fused, head/cnov, Conv_0]"
    text = text.replace("{calibration: calibration}", "{calibration: calibration, " + names + "}")
    wrong, number = problems_of(tmp_path, model=text, onnx=content)
    assert (wrong.path, wrong.hint) == ("precisions/int8/exclude_nodes/2", "did you mean head/conv?")
    assert number.path == "precisions/int8/exclude_nodes/3"


def test_the_calibrator_takes_no_names(tmp_path: Path) -> None:
    options = "{calibration: calibration, method: calibrator, exclude_ops: [Relu]}"
    (problem,) = problems_of(tmp_path, model=MODEL.replace("{calibration: calibration}", options))
    assert problem.path == "precisions/int8/exclude_ops"
    assert "does not support exclusions" in problem.message
    assert "minmax" in problem.hint


def test_calibration_archive_for_another_model(tmp_path: Path) -> None:
    write_fleet(tmp_path)
    (tmp_path / "models" / "calibration" / "000.npz").write_bytes(npz({"other": frames(1)}))
    (problem,) = problems_of(tmp_path, calibration=0)
    assert "every input" in problem.message


def test_calibration_in_one_archive(tmp_path: Path) -> None:
    path = write_fleet(tmp_path, model={"precisions": {"int8": {"calibration": "all.npz"}}})
    (path / "models" / "all.npz").write_bytes(npz({"image": frames(9)}))
    assert load_manifest(path).models["detector"].precisions.int8 is not None


def test_a_source_elsewhere_needs_no_file_and_no_network(tmp_path: Path) -> None:
    source = {"path": None, "url": "https://models.test/detector.onnx", "sha256": SHA}
    path = write_fleet(tmp_path, model={"source": source})
    (path / "models" / "onnx" / "detector.onnx").unlink()
    assert load_manifest(path).models["detector"].source.url == source["url"]


def test_data_behind_a_symbolic_link(tmp_path: Path) -> None:
    path = write_fleet(tmp_path / "fleet")
    (path / "models" / "calibration").rename(tmp_path / "elsewhere")
    (path / "models" / "calibration").symlink_to(tmp_path / "elsewhere")
    load_manifest(path)


def test_a_hash_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    path = write_fleet(tmp_path)
    load_manifest(path)
    onnx = path / "models" / "onnx" / "detector.onnx"
    onnx.write_bytes(tiny_onnx(seed=7))
    problems = problems_of(tmp_path, onnx=tiny_onnx(seed=7))
    assert [problem.path for problem in problems] == ["source/sha256"]
