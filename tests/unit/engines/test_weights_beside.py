"""Weights in other files than the model's: taken along by job and tool, pinned each, and no other file is opened."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from runtime.contract.codec import from_json
from runtime.contract.engine.build import FAILURE_FILE, BuildFailure, BuildOptions
from runtime.contract.engine.engine_tool import BuildRequest
from runtime.contract.engine.onnx_tensors import external_files, why_not_beside
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, run
from runtime.engines.errors import EngineError
from runtime.engines.store import sha256_of
from runtime.engines.tool import build_onnx
from tests.unit.engines.models import TENSOR, conv_net, make_job


def split(folder: Path, place: str = "weights/model.bin") -> Path:
    """Write the tiny network in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save_model(conv_net(), str(path), save_as_external_data=True, location=place, size_threshold=0)
    return path


def job(folder: Path, **changes: object) -> Path:
    model = split(folder / "job")
    pinned = {"weights/model.bin": sha256_of(model.parent / "weights/model.bin")}
    make_job(folder / "job", model=model.read_bytes(), **{"external": pinned, **changes})  # type: ignore[arg-type]
    return folder / "job"


def failure(folder: Path) -> BuildFailure:
    return from_json(BuildFailure, (folder / "out" / FAILURE_FILE).read_bytes())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_job_builds_from_both_files(precision: str, tmp_path: Path) -> None:
    assert run(job(tmp_path, precision=precision), tmp_path / "out") == EXIT_BUILT
    made = onnx.load(str(tmp_path / "out" / "engine.onnx"), load_external_data=False)
    assert external_files(made) == {}, "an engine is one file"


def test_changed_missing_and_unpinned_weights_are_refused(tmp_path: Path) -> None:
    changed = job(tmp_path / "1")
    data = changed / "weights/model.bin"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    assert run(changed, tmp_path / "1" / "out") == EXIT_FAILED
    assert "weights/model.bin has sha256" in failure(tmp_path / "1").message
    missing = job(tmp_path / "2")
    (missing / "weights/model.bin").unlink()
    assert run(missing, tmp_path / "2" / "out") == EXIT_FAILED
    assert "has no file 'weights/model.bin'" in failure(tmp_path / "2").message
    assert run(job(tmp_path / "3", external={}), tmp_path / "3" / "out") == EXIT_FAILED
    assert "which the job does not pin" in failure(tmp_path / "3").message


def test_the_tool_takes_them_along(tmp_path: Path) -> None:
    path = split(tmp_path / "exported")
    (tmp_path / "out").mkdir()
    request = BuildRequest(
        str(path), "tiny", "fp32", str(tmp_path / "out"), BuildOptions(), "onnxruntime",
        shapes={"image": (1, 3, *TENSOR)}, bench_seconds=0.01,
    )  # fmt: skip
    assert build_onnx.run(request, lambda _: None).accuracy[0].min_cosine > 0.9999
    (path.parent / "weights/model.bin").unlink()
    with pytest.raises(EngineError) as caught:
        build_onnx.run(request, lambda _: None)
    assert "model.bin" in caught.value.message


@pytest.mark.parametrize(
    "place", ["", "/etc/passwd", "../up.bin", "a/../../up", "a//b", "./a", "C:\\a", "a\\b", "job.json", "golden.npz"]
)
def test_no_other_file_of_the_machine_is_opened(place: str) -> None:
    assert why_not_beside(place)


def test_files_beside_and_below_are_taken() -> None:
    assert [why_not_beside(name) for name in ("model.onnx.data", "weights/a b.bin", "0.bin")] == ["", "", ""]
