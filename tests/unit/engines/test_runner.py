from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.engine.build import GOLDEN_FILE, AccuracyGate
from runtime.engines.backend import Runner, backend_named
from runtime.engines.build.job import run
from runtime.engines.errors import EngineError
from runtime.engines.golden.bench import MIN_ITERATIONS, bench, percentiles
from runtime.engines.golden.golden_data import Golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.golden.selftest import self_test
from tests.unit.engines.models import FRAME, frames, make_job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("runner")
    make_job(base / "job")
    assert run(base / "job", base / "tiny") == 0
    return base / "tiny"


@pytest.fixture
def runner(folder: Path):
    loaded = backend_named("onnxruntime").load(folder, threads=2)
    yield loaded
    loaded.close()


def test_buffers_are_those_of_the_sidecar(runner: Runner) -> None:
    assert {name: (a.shape, a.dtype) for name, a in runner.inputs.items()} == {"image": ((1, *FRAME, 3), np.uint8)}
    assert runner.inputs["image"].flags.c_contiguous
    with pytest.raises(TypeError):
        runner.inputs["image"] = np.zeros(1)  # type: ignore[index]


def test_what_is_written_in_place_is_what_is_answered(runner: Runner) -> None:
    one, other = frames(2)
    runner.inputs["image"][0] = one
    first = runner.infer()["scores"].copy()
    runner.inputs["image"][0] = other
    second = runner.infer()["scores"].copy()
    runner.inputs["image"][0] = one
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(runner.infer()["scores"], first)


def test_a_thousand_frames_use_the_same_buffers_and_no_more_memory(runner: Runner) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def some(count: int) -> None:
        for _ in range(count):
            runner.infer()

    where = runner.infer()["scores"].ctypes.data
    some(200)
    before = resident()
    some(1000)
    assert runner.infer()["scores"].ctypes.data == where
    assert resident() - before < 256 * 1024


def test_a_closed_engine_says_so(folder: Path) -> None:
    loaded = backend_named("onnxruntime").load(folder)
    loaded.close()
    loaded.close()
    with pytest.raises(EngineError, match="'tiny' is closed"):
        loaded.infer()


def test_a_robot_needs_no_package_that_only_builds_need(folder: Path) -> None:
    script = (
        "import sys; sys.modules['onnx'] = sys.modules['PIL'] = None\n"
        "from pathlib import Path\n"
        "from runtime.engines.backend import backend_named\n"
        "from runtime.engines.golden.selftest import self_test\n"
        f"folder = Path({str(folder)!r})\n"
        "runner = backend_named('onnxruntime').load(folder)\n"
        "print(self_test(runner, runner.identity, folder / 'golden.npz').passed)\n"
        "print(sorted(backend_named('onnxruntime').versions()))\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout == "True\n['numpy', 'onnxruntime', 'python']\n", done.stderr


def test_the_self_test_passes_and_says_by_how_much(folder: Path, runner: Runner) -> None:
    found = self_test(runner, runner.identity, folder / GOLDEN_FILE)
    assert found.passed
    assert found.min_cosine == pytest.approx(1.0, abs=1e-6)
    assert found.required_cosine == 0.97
    said = r"fp32 cosine 1.0000 >= 0.9700, relative error \S+e-\d+ <= 0.367 \(3 golden frames\)"
    assert re.fullmatch(said, found.message)


def wrong_golden(folder: Path, tmp_path: Path, change) -> Path:
    with np.load(folder / GOLDEN_FILE) as archive:
        arrays = dict(archive)
    change(arrays)
    path = tmp_path / "golden.npz"
    np.savez(path, **arrays)
    return path


def test_one_wrong_frame_fails_the_self_test_with_both_numbers(folder: Path, runner: Runner, tmp_path: Path) -> None:
    def change(arrays: dict) -> None:
        arrays["scores"][1] = arrays["scores"][1, ::-1, ::-1] * np.linspace(-1, 1, arrays["scores"].shape[3])

    found = self_test(runner, runner.identity, wrong_golden(folder, tmp_path, change))
    assert not found.passed
    assert found.min_cosine < 0.97
    assert f"fp32 cosine {found.min_cosine:.3f} < 0.970 on output 'scores'" in found.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays.pop("scores"), "has no expected outputs"),
        (lambda arrays: arrays.pop("image"), "has no frames for input 'image'"),
        (lambda arrays: arrays.update(scores=arrays["scores"] * 0), "all zeros"),
        (lambda arrays: arrays.update(scores=arrays["scores"][:, :1]), "values, its reference"),
    ],
)
def test_golden_data_that_proves_nothing_fails(folder: Path, runner: Runner, tmp_path: Path, change, said: str) -> None:
    found = self_test(runner, runner.identity, wrong_golden(folder, tmp_path, change))
    assert not found.passed
    assert said in found.message
    assert found.min_cosine == -1.0


def test_missing_golden_data_fails(runner: Runner, tmp_path: Path) -> None:
    assert "is missing" in self_test(runner, runner.identity, tmp_path / "none.npz").message


def test_the_largest_error_is_a_gate_too(folder: Path, runner: Runner, tmp_path: Path) -> None:
    identity = dataclasses.replace(runner.identity, self_test=AccuracyGate(0.5, max_abs_error=1e-3))
    assert self_test(runner, identity, folder / GOLDEN_FILE).passed
    shifted = wrong_golden(folder, tmp_path, lambda arrays: arrays.update(scores=arrays["scores"] + np.float32(0.01)))
    assert "largest error 0.010 > 0.001" in self_test(runner, identity, shifted).message


class Slow:
    """A runner with a clock instead of an engine."""

    def __init__(self, milliseconds: list[float], clock: list[float]) -> None:
        self.inputs = {"image": np.zeros((1, *FRAME, 3), np.uint8)}
        self.calls = 0
        self.milliseconds, self.clock = milliseconds, clock

    def infer(self) -> dict:
        self.clock[0] += self.milliseconds[min(self.calls, len(self.milliseconds) - 1)] / 1e3
        self.calls += 1
        return {}


def test_the_warm_up_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    slow = Slow([500.0] + [10.0] * 10_000, clock)
    found = bench(slow, Golden({"image": frames(2)}, {}), seconds=1.0)  # type: ignore[arg-type]
    assert found.p99 == pytest.approx(10.0)
    assert found.count == pytest.approx(100, abs=1)


def test_a_slow_engine_is_run_ten_times_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    slow = Slow([2_000.0], clock)
    assert bench(slow, Golden({"image": frames(1)}, {}), seconds=1.0).count == MIN_ITERATIONS  # type: ignore[arg-type]


def test_percentiles() -> None:
    found = percentiles(list(range(1, 101)))
    assert (found.p50, found.mean, found.count) == (50.5, 50.5, 100)
    assert found.p90 == pytest.approx(90.1)
    assert found.p99 == pytest.approx(99.01)


def test_answers_are_copies(runner: Runner) -> None:
    first, second = run_golden(runner, Golden({"image": frames(2)}, {}))
    assert not np.array_equal(first["scores"], second["scores"])
