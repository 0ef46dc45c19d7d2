"""Files that a model names: each kind of wrong content is a problem with a file, a line and a hint."""

from __future__ import annotations

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
    assert any("weights in other files" in p.message and "save_as_external_data" in p.hint for p in problems)


def test_onnx_that_wants_other_inputs(tmp_path: Path) -> None:
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto.FromString(tiny_onnx())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    model.graph.input.append(helper.make_tensor_value_info("threshold", TensorProto.FLOAT, [1]))
    problems = problems_of(tmp_path, onnx=model.SerializeToString())
    assert any(p.path == "inputs/0/tensor" and "float16, not float32" in p.message for p in problems)
    assert any(p.path == "inputs/0/shape" and "[1, 3, 32, ?]" in p.message for p in problems)
    assert any(p.path == "inputs" and "threshold" in p.message for p in problems)


def test_too_few_calibration_samples(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, calibration=3)
    assert problem.path == "precisions/int8/calibration"
    assert "3 samples" in problem.message
    assert "at least 8" in problem.hint


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
