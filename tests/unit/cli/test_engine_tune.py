"""`fleet engine tune`: what is found, printed and written, from a manifest; real processes and ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.cli import main
from fleet.cli.commands.engine import tune
from fleet.errors import FleetError
from fleet.manifest.load import load_manifest
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from runtime.contract.engine.build import BuildOptions, Int8Options
from runtime.contract.engine.tuning import Mix
from tests.fakes.fleet_folder import write_fleet
from tests.unit.engines.models import dead_channel, frames

QUICK = ("--measure", "0.02")
FILE = """\
# The detector of hall 1.
name: detector
source: {{path: onnx/detector.onnx, sha256: {sha256}}}
inputs:
  - tensor: image          # as exported
    shape: [1, 3, 16, 20]
    topic: /camera/image_raw
    encoding: rgb8
    width: 32
    height: 24
    preprocess: {{color: bgr, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
outputs:
  - {{tensor: scores, topic: ~/detector/scores, decoder: {{name: tensor}}}}
precisions:
  int8:
    calibration: calibration       # 16 frames
    method: minmax                 # tried in March
    exclude_nodes: [conv1]
golden: {{data: golden/detector.npz}}
gates:
  accuracy: {{int8: {{min_cosine: {cosine}}}, fp16: {{min_cosine: {other}}}, fp32: {{min_cosine: 0.9}}}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fleet_folder(tmp_path: Path, *, cosine: float = 0.995, other: float = 0.9) -> Path:
    """A fleet whose model int8 ruins in one convolution."""
    folder = write_fleet(tmp_path / "manifests")
    content = dead_channel(3, weight=1e4).SerializeToString()
    models = folder / "models"
    (models / "onnx/detector.onnx").write_bytes(content)
    np.savez(models / "golden/detector.npz", image=frames(3))
    for old in (models / "calibration").iterdir():
        old.unlink()
    np.savez(models / "calibration/frames.npz", image=frames(16, seed=2))
    sha256 = hashlib.sha256(content).hexdigest()
    (models / "detector.yaml").write_text(FILE.format(sha256=sha256, cosine=cosine, other=other))
    return folder


def run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    ended = main.run(["engine", "tune", "detector", "-m", str(folder), *QUICK, *arguments, "--json"], as_json=True)
    printed = capsys.readouterr()
    assert ended == code, printed.out + printed.err
    return json.loads(printed.out)


def test_the_lines_make_the_engine_that_was_tried_and_keep_the_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fleet_folder(tmp_path)
    file = folder / "models/detector.yaml"
    before = file.read_text()
    found = run(capsys, folder)
    assert file.read_text() == before
    assert found["proposal"]["applied"] is False
    trials = {(each["mix"]["line"], each["mix"]["regions"]): each["verdict"] for each in found["state"]["trials"]}
    assert trials[("int8 minmax", 0)] == "accuracy"
    applied = run(capsys, folder, "--apply")
    assert applied["gone_on_with"] == len(found["state"]["trials"])  # nothing is tried twice
    assert applied["proposal"]["key"] == found["proposal"]["key"]
    after = file.read_text()
    for comment in ("# The detector of hall 1.", "# as exported", "# 16 frames"):
        assert comment in after
    precision = applied["proposal"]["precision"]
    path = folder / "fleet.yaml"
    path.write_text(path.read_text().replace("precision: fp32", f"precision: {precision}"))
    keys = {spec.key for spec in resolve(load_manifest(folder), recipe_for).engines.values()}
    assert applied["proposal"]["key"] in keys


def test_a_table_shows_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fleet_folder(tmp_path)
    assert main.run(["engine", "tune", "detector", "-m", str(folder), *QUICK]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "int8 minmax" in shown
    assert "is the fastest that passes; key" in shown
    assert "robots and groups take it with precision:" in shown


def test_nothing_that_passes_is_exit_4_with_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fleet_folder(tmp_path)
    file = folder / "models/detector.yaml"
    file.write_text(file.read_text().replace("accuracy: {", "latency_p99: {sim-x86: 0.00001ms}\n  accuracy: {"))
    before = file.read_text()
    found = run(capsys, folder, "--apply", code=4)
    assert "passes its gates" in found["error"]["message"]
    assert "latency" in {each["verdict"] for each in found["state"]["trials"]} <= {"latency", "accuracy"}
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--profile", "nowhere"), "no profile called nowhere"), (("-m", "/nowhere"), "1 problem in the manifest")],
)
def test_bad_input_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    found = run(capsys, fleet_folder(tmp_path), *arguments, code=2)
    assert said in found["error"]["message"]
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("tune-state.json"))


def test_a_bare_file_has_no_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["engine", "tune", str(tmp_path / "x.onnx"), "--json"], as_json=True) == 2
    assert "is a file" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_file_that_would_make_another_engine_is_put_back(tmp_path: Path) -> None:
    folder = fleet_folder(tmp_path)
    file = folder / "models/detector.yaml"
    before = file.read_bytes()
    loaded = load_manifest(folder)
    specs = tune.tune_specs(
        loaded, loaded.profiles["sim-x86"], loaded.models["detector"], recipe_for("builder", loaded.profiles["sim-x86"])
    )
    mix = Mix("int8", BuildOptions(int8=Int8Options("entropy", exclude_nodes=("conv3",))), "int8 entropy", 1)
    with pytest.raises(FleetError, match="which was tried"):
        tune.apply_keys(file, folder, ("detector", "sim-x86"), mix, specs["fp32"])
    assert file.read_bytes() == before
