"""`fleet init --frames`: golden frames and calibration of the camera's own pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleet.cli import main
from fleet.manifest.load import load_manifest
from tests.unit.manifest.proposal import detectors, others
from tests.unit.manifest.proposal.net import save


def pictures(folder: Path, count: int, size: tuple[int, int] = (40, 30)) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        picture = Image.new("RGB", size, (index, 100, 200))
        picture.putpixel((0, 1), (9, 8, 7))
        picture.save(folder / f"{size[0]}-{index:02}.png")
    return folder


@pytest.mark.parametrize(("count", "int8"), [(3, False), (8, True), (12, True)])
def test_pictures_become_golden_frames_and_calibration(count: int, int8: bool, tmp_path: Path) -> None:
    frames, folder = pictures(tmp_path / "frames", count), tmp_path / "fleet"
    path = save(detectors.v8(), tmp_path)
    assert main.run(["init", str(folder), "--model", str(path), "--frames", str(frames)]) == 0
    (model,) = load_manifest(folder).models.values()
    assert (model.inputs[0].width, model.inputs[0].height) == (40, 30)
    golden = np.load(folder / "models" / "golden" / "model.npz")["images"]
    assert golden.shape == (min(count, 8), 30, 40, 3)
    assert golden[1, 0, 0].tolist() == [1, 100, 200]
    assert golden[1, 1, 0].tolist() == [9, 8, 7]
    calibration = model.precisions.int8.calibration if model.precisions.int8 else None
    assert calibration == ("calibration/frames" if int8 else None)
    assert main.run(["validate", "-m", str(folder)]) == 0


def test_what_are_no_frames_of_one_camera_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save(detectors.v8(), tmp_path))
    empty, broken, mixed = tmp_path / "empty", tmp_path / "broken", pictures(tmp_path / "mixed", 1)
    empty.mkdir()
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no picture")
    pictures(mixed, 1, (50, 30))
    for frames, said in (
        (tmp_path / "none", "no folder of pictures"),
        (empty, "no picture in it"),
        (broken, "a.png: no picture"),
        (mixed, "pictures of several sizes: 40x30 (40-00.png) and 50x30 (50-00.png)"),
    ):
        assert main.run(["init", str(tmp_path / "fleet"), "--model", model, "--frames", str(frames)]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    policy = str(save(others.policy(), tmp_path, "policy"))
    frames = pictures(tmp_path / "good", 2)
    assert main.run(["init", str(tmp_path / "fleet"), "--model", policy, "--frames", str(frames)]) == 2
    assert "has other inputs than one picture" in capsys.readouterr().err
    assert not (tmp_path / "fleet").exists()
