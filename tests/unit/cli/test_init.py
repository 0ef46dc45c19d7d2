from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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
