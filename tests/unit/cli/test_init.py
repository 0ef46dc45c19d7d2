from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fleet.cli import main
from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import tiny_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "My Detector.onnx"
    path.write_bytes(tiny_onnx())
    return path


def test_what_init_writes_validates(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(model), "--fleet", "yard"]) == 0
    loaded = load_manifest(folder)
    assert loaded.manifest.fleet == "yard"
    assert loaded.models["my_detector"].inputs[0].tensor == "image"
    assert main.run(["validate", "-m", str(folder)]) == 0


def notes(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main.run(["validate", "-m", str(folder), "--json"], as_json=True) == 0
    found: list[str] = json.loads(capsys.readouterr().out)["notes"]
    return found


def test_validate_points_out_what_init_left_to_be_replaced(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fleet"
    main.run(["init", str(folder), "--model", str(model)])
    registry, robot, golden = notes(folder, capsys)
    assert registry.startswith("registry: registry.example:5000/my-fleet is a placeholder")
    assert robot.startswith("robots/0/host: robot-001.local is a placeholder")
    assert "models/my_detector: golden/my_detector.npz holds noise" in golden
    main.run(["validate", "-m", str(folder)])
    assert capsys.readouterr().out.count("note: ") == 3

    text = (folder / "fleet.yaml").read_text().replace("registry.example:5000", "10.0.0.2:5000")
    (folder / "fleet.yaml").write_text(text.replace("robot-001.local", "10.0.0.11"))
    assert notes(folder, capsys) == [golden]
    path = folder / "models" / "golden" / "my_detector.npz"
    with np.load(path) as arrays:
        frames = dict(arrays)
    np.savez_compressed(path, **frames)
    assert notes(folder, capsys) == []


def test_init_never_overwrites(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "fleet"
    main.run(["init", str(folder), "--model", str(model)])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main.run(["init", str(folder), "--model", str(model)]) == 2
    assert "exists" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_refuses_what_is_not_onnx_before_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "model.onnx"
    wrong.write_bytes(b"\x00not a model")
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(wrong)]) == 2
    assert "not an ONNX model" in capsys.readouterr().err
    assert not folder.exists()


def test_init_without_a_model_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["init", str(tmp_path / "fleet")]) == 2
    assert "--model" in capsys.readouterr().err


def detector(folder: Path, name: str = "model", tensor: str = "image", **changes: Any) -> Path:
    """A convolution over pictures, in a file and with an input that are called like this."""
    element, shape = changes.get("element", TensorProto.FLOAT), changes.get("shape", [1, 3, 32, 32])
    info, weights = helper.make_tensor_value_info, np.ones((2, 3, 3, 3), np.float32)
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", [tensor, "w"], ["scores"], "conv")],
            "g",
            [info(tensor, element, shape)],
            [info("scores", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(weights, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.metadata_props.extend(changes.get("metadata", []))
    path = folder / f"{name}.onnx"
    beside = changes.get("beside")
    onnx.save_model(made, str(path), save_as_external_data=beside is not None, location=beside, size_threshold=0)
    return path


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("320n", "model_320n"), ("0", "model_0"), ("yes", "model_yes"), ("_", "model"), ("Über Größe", "ber_gr_e"),
        ("a" * 90, "a" * 63), ("v1.2-best", "v1_2_best"),
    ],
)  # fmt: skip
def test_whatever_a_file_is_called_init_validates(name: str, called: str, tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(detector(tmp_path, name))]) == 0
    assert list(load_manifest(folder).models) == [called]


@pytest.mark.parametrize(
    "tensor", ["serving_default_input:0", "/model/in=put x:0", "file", "allow_pickle", "0o17", "12:30", "x #y", "../up"]
)
def test_whatever_an_input_is_called_init_validates(tensor: str, tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(detector(tmp_path, tensor=tensor))]) == 0
    (model,) = load_manifest(folder).models.values()
    assert model.inputs[0].tensor == tensor


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"element": TensorProto.STRING}, "is string: no message fills it"),
        ({"shape": None}, "does not say its shape"),
        ({"shape": [4, 3, 32, 32]}, "takes 4 frames at a time"),
        ({"tensor": "two\nlines"}, "no valid manifest can be made of it"),
    ],
)
def test_what_cannot_be_a_manifest_is_refused_before_writing(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(detector(tmp_path, **changes))]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not folder.exists()


def test_weights_beside_the_model_are_taken_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(detector(tmp_path, beside="model.onnx.data"))]) == 0
    (model,) = load_manifest(folder).models.values()
    assert list(model.source.data) == ["model.onnx.data"]
    data = folder / "models" / "onnx" / "model.onnx.data"
    data.write_bytes(data.read_bytes() + b"!")
    assert main.run(["validate", "-m", str(folder)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "which the ONNX file keeps weights in, has another sha256 than declared" in said
    assert "write source: {data: {model.onnx.data: " in said


def test_the_networks_size_comes_from_the_exporter_or_is_said_to_be_a_guess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = onnx.StringStringEntryProto(key="imgsz", value="[320, 640]")
    free = ["N", 3, "H", "W"]
    assert main.run(["init", str(tmp_path / "1"), "--model", str(detector(tmp_path, shape=free, metadata=[size]))]) == 0
    assert "the network's input is 640x320 (width x height): its metadata say so" in capsys.readouterr().err
    assert main.run(["init", str(tmp_path / "2"), "--model", str(detector(tmp_path, "b", shape=free))]) == 0
    assert "512x512 (width x height): the file does not say" in capsys.readouterr().err
