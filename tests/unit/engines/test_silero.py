"""Silero VAD as it is published: a rate that is constant, a state, and 64 samples of the chunk before in front."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.engine.build import FAILURE_FILE, GOLDEN_FILE, AccuracyGate, BuildOptions, Int8Options
from runtime.engines.build.job import run
from runtime.engines.golden.golden_data import Golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.onnxruntime_ import BACKEND
from tests.unit.engines.models import CALIBRATION_DIR, make_job
from tests.unit.engines.silero_loop import FRONT, as_its_authors_run_it, sound

FILE = Path(__file__).parents[3] / ".lab" / "models" / "silero_vad.onnx"
SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
needs_file = pytest.mark.skipif(not FILE.is_file(), reason=".lab/models/silero_vad.onnx: run `make setup`")


@needs_file
@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-4), ("fp16", 0.02)])
def test_it_hears_what_its_authors_loop_hears(tmp_path: Path, precision: str, off: float) -> None:
    chunks = sound(30)
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256
    make_job(tmp_path, model=FILE.read_bytes(), golden={"audio": chunks[::2]}, precision=precision, **FRONT)
    assert run(tmp_path, tmp_path / "out") == 0, (tmp_path / "out" / FAILURE_FILE).read_text()
    runner = BACKEND.load(tmp_path / "out")
    assert sorted(runner.inputs) == ["audio", "context", "state"], "the rate is in the graph"
    found = [float(each["output"][0, 0]) for each in run_golden(runner, Golden({"audio": chunks}, {}))]
    right = as_its_authors_run_it(chunks, FILE)
    assert np.abs(found - right).max() <= off
    assert right.max() > 2 * right.min(), "the sound says something"
    assert (tmp_path / "out" / GOLDEN_FILE).is_file()


@needs_file
def test_int8_loses_it_and_the_gate_says_so(tmp_path: Path) -> None:
    make_job(
        tmp_path, model=FILE.read_bytes(), golden={"audio": sound(12)}, precision="int8",
        options=BuildOptions(int8=Int8Options()), accuracy=AccuracyGate(0.9999), **FRONT,
    )  # fmt: skip
    np.savez(tmp_path / CALIBRATION_DIR / "frames.npz", audio=sound(12))
    assert run(tmp_path, tmp_path / "out") == 4
    said = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert said["kind"] == "accuracy"
    assert said["sensitivity"]["note"] == "" or "not measured" not in said["sensitivity"]["note"]
