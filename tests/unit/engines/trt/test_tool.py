"""`fleet engine`'s process with backend ``tensorrt``, on the stand-ins for TensorRT and pycuda."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.codec import canonical_json, from_dict, from_json
from runtime.contract.engine.build import BuildFailure, BuildOptions, Int8Options
from runtime.contract.engine.engine_tool import (
    BENCH,
    BUILD,
    COMPARE,
    DOCUMENTS,
    INSPECT,
    RUN,
    TOOL_MODULE,
    BenchRequest,
    BuildRequest,
    CompareRequest,
    InspectRequest,
    RunRequest,
    ToolAnswer,
)
from tests.gpu import networks

ROOT = Path(__file__).parents[4]
STAND_INS = ROOT / "tests/fakes/gpu_site"


def ask(folder: Path, verb: str, request: Any, **variables: str) -> Any:
    """Return what the process answers: the verb's document, or the failure."""
    (folder / "request.json").write_bytes(canonical_json(request))
    paths = os.pathsep.join([str(STAND_INS), str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", TOOL_MODULE, verb, "request.json", "answer.json"],
        cwd=folder, env=os.environ | {"PYTHONPATH": paths} | variables, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = from_json(ToolAnswer, (folder / "answer.json").read_bytes())
    return found.failure if found.failure is not None else from_dict(DOCUMENTS[verb][1], found.result)


def build(folder: Path, precision: str, **variables: str) -> Any:
    networks.tiny(folder / "tiny.onnx")
    calibration = folder / "calibration.npz"
    np.savez(calibration, image=np.random.default_rng(0).uniform(-1, 1, (16, 3, 32, 32)).astype("f4"))
    request = BuildRequest(
        model=str(folder / "tiny.onnx"), name="tiny", precision=precision, out=str(folder / precision),
        options=BuildOptions(int8=Int8Options("minmax") if precision == "int8" else None),
        calibration=str(calibration) if precision == "int8" else None, bench_seconds=0.05,
        timing_cache=str(folder / "timing"),
    )  # fmt: skip
    return ask(folder, BUILD, request, **variables)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    for precision in ("fp16", "int8"):
        report = build(folder, precision)
        assert not isinstance(report, BuildFailure), report
        assert report.identity.backend == "tensorrt"  # where it is installed it is what a bare file is built with
        assert {row["precision"] for row in report.extra["layers"] if "conv" in row["kind"]} == {precision}
    (folder / "bare.plan").write_bytes((folder / "fp16/engine.plan").read_bytes())
    return folder


def test_the_timing_cache_is_a_file_that_is_kept(site: Path) -> None:
    assert (site / "timing").read_bytes().startswith(b"timings 8.6.0")


def test_copies_and_kernels_are_told_apart(site: Path) -> None:
    found = ask(site, BENCH, BenchRequest((str(site / "fp16"), str(site / "int8")), iterations=20))
    for each in found.engines:
        assert min(each.h2d.count, each.compute.count, each.d2h.count) >= 10
    assert found.method["threads"] is None
    assert "gpu_mhz" in found.conditions["before"]


def test_a_bare_plan_is_asked_for_its_tensors(site: Path) -> None:
    found = ask(site, RUN, RunRequest(str(site / "bare.plan")))
    whole = ask(site, RUN, RunRequest(str(site / "fp16")))
    assert (found.inputs, found.outputs) == (whole.inputs, whole.outputs)
    assert found.gate is None
    wrong = ask(site, RUN, RunRequest(str(site / "bare.plan"), shapes={"image": (1, 3, 8, 8)}))
    assert (wrong.kind, "cannot be 1x3x8x8" in wrong.message) == ("usage", True)


def test_the_inspector_lists_the_layers_of_a_bare_plan(site: Path) -> None:
    facts = ask(site, INSPECT, InspectRequest(str(site / "bare.plan"), layers=True, check=True))
    assert {row.precision for row in facts.layers} == {"fp16"}
    assert facts.verdict.fits
    assert "does not say for which module" in facts.verdict.message


def test_two_plans_are_compared_by_layer_and_answer(site: Path) -> None:
    found = ask(site, COMPARE, CompareRequest(str(site / "fp16"), str(site / "int8"), seconds=0.05))
    assert {item.what for item in found.layers} == {"a/conv", "b/conv", "logits"}
    assert found.outputs[0].min_cosine > 0.99
    assert found.bench.ratio is not None


@pytest.mark.parametrize("name", ["fp16", "bare.plan"])
def test_another_tensorrt_is_refused_with_both_versions(site: Path, name: str) -> None:
    for verb, request in ((BENCH, BenchRequest((str(site / name),))), (RUN, RunRequest(str(site / name)))):
        failure = ask(site, verb, request, FAKE_TENSORRT_VERSION="10.3.0")
        assert failure.kind == "device-mismatch"
        assert "8.6.0" in failure.message
        assert "10.3.0" in failure.message
    verdict = ask(site, INSPECT, InspectRequest(str(site / name), check=True), FAKE_TENSORRT_VERSION="10.3.0").verdict
    assert not verdict.fits


def test_a_plan_that_tensorrt_refuses_is_told(site: Path, tmp_path: Path) -> None:
    content = (site / "bare.plan").read_bytes()
    (tmp_path / "cut.plan").write_bytes(content[: len(content) // 2])
    failure = ask(tmp_path, BENCH, BenchRequest((str(tmp_path / "cut.plan"),)))
    assert failure.kind == "corrupt"
    assert "TensorRT 8.6.0 refuses cut.plan" in failure.message


def test_without_graphs_in_the_driver_replay_is_refused(site: Path) -> None:
    failure = ask(site, BENCH, BenchRequest((str(site / "fp16"),), cuda_graph=True))
    assert (failure.kind, "no graphs" in failure.message) == ("unsupported", True)


def test_a_build_that_aborts_is_a_sentence(tmp_path: Path) -> None:
    failure = build(tmp_path, "fp16", FAKE_TENSORRT="abort")
    assert isinstance(failure, BuildFailure)
    assert "the building process ended with signal 6" in failure.message
