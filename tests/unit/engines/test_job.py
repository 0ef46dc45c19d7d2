"""A whole build, as the builder container runs it, without the container."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.codec import from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    JOB_FILE,
    MODEL_FILE,
    AccuracyGate,
    BuildFailure,
    BuildOptions,
    DeviceFacts,
    EngineIdentity,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.engines.backend import backend_named
from runtime.engines.build.job import EXIT_FAILED, EXIT_GATE, main, run
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_.backend import OnnxRuntimeBackend
from tests.unit.engines.models import IMAGE, conv_net, frames, initializer, make_job

RESULTS = {"engine.json", "engine.onnx", "golden.npz", "report.json"}


def names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def build(tmp_path: Path, **changes: Any) -> EngineReport:
    make_job(tmp_path / "job", **changes)
    assert run(tmp_path / "job", tmp_path / "out") == 0
    assert names(tmp_path / "out") == RESULTS
    return from_json(EngineReport, (tmp_path / "out" / "report.json").read_bytes())


def failure(tmp_path: Path, code: int, **changes: Any) -> BuildFailure:
    make_job(tmp_path / "job", **changes)
    return failed(tmp_path, code)


def failed(tmp_path: Path, code: int) -> BuildFailure:
    assert run(tmp_path / "job", tmp_path / "out") == code
    assert names(tmp_path / "out") == {"failure.json"}
    found = from_json(BuildFailure, (tmp_path / "out" / "failure.json").read_bytes())
    assert found.hint
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_is_built_measured_and_passes_its_self_test(tmp_path: Path, precision: str) -> None:
    report = build(tmp_path, precision=precision, options=BuildOptions(int8=Int8Options("minmax")))
    out = tmp_path / "out"
    identity = report.identity
    assert from_json(EngineIdentity, (out / "engine.json").read_bytes()) == identity
    assert identity.inputs == (TensorSpec("image", (1, 24, 32, 3), "uint8", IMAGE.preprocess),)
    assert identity.outputs == (TensorSpec("scores", (1, 2, 16, 20), "float32"),)
    assert identity.engine_bytes == (out / "engine.onnx").stat().st_size
    assert report.accuracy[0].min_cosine > 0.999
    assert report.golden_accuracy == ()
    assert report.latency.count >= 10
    assert 0 < report.latency.p50 <= report.latency.p90 <= report.latency.p99
    assert {"python", "numpy", "onnxruntime", "onnx"} <= set(report.versions)
    assert report.source_bytes == (tmp_path / "job" / MODEL_FILE).stat().st_size
    runner = backend_named("onnxruntime").load(out)
    assert self_test(runner, runner.identity, out / GOLDEN_FILE).passed
    runner.close()


def test_int8_really_runs_in_int8(tmp_path: Path) -> None:
    report = build(tmp_path, precision="int8", options=BuildOptions(int8=Int8Options("minmax")))
    assert report.extra["main_layer_precisions"] == {"int8": 4}
    assert report.layer_precisions["int8"] >= 4
    assert any("calibrated with 16 frames" in note for note in report.notes)


def test_fp16_says_where_the_cpu_has_no_kernels_for_it(tmp_path: Path) -> None:
    report = build(tmp_path, precision="fp16")
    at_fp16 = report.extra["main_layer_precisions"].get("fp16", 0)
    assert any("no fp16 kernels" in note for note in report.notes) == (at_fp16 < 4)


def test_two_builds_give_the_same_files_apart_from_what_was_measured(tmp_path: Path) -> None:
    options = BuildOptions(int8=Int8Options("entropy"))
    build(tmp_path / "a", precision="int8", options=options)
    build(tmp_path / "b", precision="int8", options=options)
    for name in RESULTS - {"report.json"}:
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_without_expected_outputs_the_reference_s_are_written(tmp_path: Path) -> None:
    build(tmp_path)
    with np.load(tmp_path / "out" / GOLDEN_FILE) as archive:
        assert archive["scores"].shape == (3, 2, 16, 20)
        assert archive["scores"].dtype == np.float32
        np.testing.assert_array_equal(archive["image"], frames(3))


def golden_of(tmp_path: Path) -> dict[str, np.ndarray]:
    build(tmp_path / "right")
    with np.load(tmp_path / "right/out" / GOLDEN_FILE) as archive:
        return dict(archive)


def test_the_manifest_s_expected_outputs_are_kept_and_compared(tmp_path: Path) -> None:
    golden = golden_of(tmp_path)
    golden["scores"] = golden["scores"].astype(np.float16)
    report = build(tmp_path, golden=golden)
    assert report.golden_accuracy[0].min_cosine > 0.99999
    with np.load(tmp_path / "out" / GOLDEN_FILE) as archive:
        assert archive["scores"].dtype == np.float16


def test_another_model_than_the_golden_data_s_is_refused(tmp_path: Path) -> None:
    found = failure(tmp_path, EXIT_GATE, golden=golden_of(tmp_path), model=conv_net(seed=99))
    assert found.kind == "accuracy"
    assert found.message.startswith("fp32 cosine 0.")
    assert "< 0.970 on output 'scores', against the golden data's expected outputs" in found.message


def test_a_waived_gate_is_noted_and_the_robot_still_says_no(tmp_path: Path) -> None:
    report = build(tmp_path, golden=golden_of(tmp_path), model=conv_net(seed=99), enforce_accuracy=False)
    assert any(note.startswith("accuracy gate waived: fp32 cosine 0.") for note in report.notes)
    assert report.identity.self_test == AccuracyGate(0.97)
    runner = backend_named("onnxruntime").load(tmp_path / "out")
    assert not self_test(runner, runner.identity, tmp_path / "out" / GOLDEN_FILE).passed
    runner.close()


def test_accuracy_below_the_gate_fails_with_both_numbers(tmp_path: Path) -> None:
    found = failure(
        tmp_path,
        EXIT_GATE,
        precision="int8",
        options=BuildOptions(int8=Int8Options("minmax")),
        accuracy=AccuracyGate(0.9999999),
    )
    assert found.kind == "accuracy"
    number = r"int8 cosine 0\.\d+ < (1\.0+|0\.9+) on output 'scores', against the fp32 source model"
    assert re.fullmatch(number, found.message), found.message
    assert "exclude" in found.hint


def test_a_conversion_that_changes_the_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of onnx lose attributes when they convert opsets: the reference is the file as it was."""

    def careless(model: Any, target: int) -> Any:
        converted = conv_net(opset=target)
        converted.graph.initializer[0].CopyFrom(initializer("w0", np.ones((8, 3, 3, 3), "f4")))
        return converted

    monkeypatch.setattr("runtime.engines.graph.normalize.version_converter.convert_version", careless)
    found = failure(tmp_path, EXIT_GATE, model=conv_net(opset=11))
    assert found.kind == "accuracy"
    assert "against the fp32 source model" in found.message


def test_a_source_model_that_answers_nonsense_is_refused(tmp_path: Path) -> None:
    model = conv_net()
    model.graph.initializer[0].CopyFrom(initializer("w0", np.full((8, 3, 3, 3), np.nan, "f4")))
    found = failure(tmp_path, EXIT_FAILED, model=model)
    assert found.kind == "bad-model"
    assert "not finite for a golden frame (output 'scores')" in found.message


def test_latency_above_the_gate_fails_with_both_numbers(tmp_path: Path) -> None:
    found = failure(tmp_path, EXIT_GATE, max_latency_p99_ms=0.0001)
    assert found.kind == "latency"
    assert re.fullmatch(r"fp32 p99 [\d.]+ ms > [\d.]+ ms", found.message), found.message


MOSTLY_FLOAT = Int8Options("minmax", exclude_nodes=("conv0", "conv1", "conv2"))


def test_int8_that_is_mostly_float_fails_unless_it_is_allowed(tmp_path: Path) -> None:
    found = failure(tmp_path / "no", EXIT_GATE, precision="int8", options=BuildOptions(int8=MOSTLY_FLOAT))
    assert found.kind == "precision"
    assert found.message == "int8 engine: 1 of 4 main layers run at int8, the rest at fp32 (3)"
    allowed = BuildOptions(int8=MOSTLY_FLOAT, allow_mixed_precision=True)
    report = build(tmp_path / "yes", precision="int8", options=allowed)
    assert report.extra["main_layer_precisions"] == {"fp32": 3, "int8": 1}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"device": DeviceFacts("linux/riscv64")}, "device-mismatch", "platform linux/riscv64 claimed, linux/"),
        ({"device": DeviceFacts("linux/amd64", module="p3767-0003")}, "device-mismatch", "module p3767-0003 claimed"),
        ({"onnx_sha256": "0" * 64}, "bad-model", "the job says 000000000000"),
        ({"model": b"this is no model"}, "bad-model", "is not a valid ONNX model"),
        ({"outputs": (TensorSpec("boxes", ()),)}, "bad-model", "no output 'boxes'"),
        ({"outputs": (TensorSpec("scores", (1, 7)),)}, "bad-model", "[1, 2, 16, 20], the job says [1, 7]"),
        ({"inputs": (TensorSpec("image", (1, 5, 16, 20)),)}, "bad-model", "1x5x16x20 in the manifest"),
        ({"backend": "abacus"}, "unsupported", "no engine backend 'abacus'"),
        ({"precision": "int4"}, "unsupported", "no precision 'int4'"),
        ({"golden": {"other": np.ones(3)}}, "golden", "holds 'other'"),
        ({"golden": {"image": frames(2)[:, :4]}}, "golden", "has uint8 [2, 4, 32, 3]"),
    ],
)
def test_every_failure_has_a_kind_a_sentence_and_a_hint(
    tmp_path: Path, changes: dict[str, Any], kind: str, said: str
) -> None:
    found = failure(tmp_path, EXIT_FAILED, **changes)
    assert found.kind == kind
    assert said in found.message


def test_int8_without_enough_calibration_data_fails(tmp_path: Path) -> None:
    make_job(tmp_path / "job", precision="int8")
    data = tmp_path / "job" / CALIBRATION_DIR / "frames.npz"
    np.savez(data, image=frames(3))
    found = failed(tmp_path, EXIT_FAILED)
    assert (found.kind, found.message) == ("calibration", "3 calibration frames, at least 8 are needed")
    data.unlink()
    assert failed(tmp_path, EXIT_FAILED).message == "0 calibration frames, at least 8 are needed"
    data.parent.rmdir()
    assert failed(tmp_path, EXIT_FAILED).kind == "calibration"


@pytest.mark.parametrize("name", [JOB_FILE, MODEL_FILE, GOLDEN_FILE])
def test_a_missing_input_is_named(tmp_path: Path, name: str) -> None:
    make_job(tmp_path / "job")
    (tmp_path / "job" / name).unlink()
    assert name in failed(tmp_path, EXIT_FAILED).message


def test_a_job_of_a_newer_fleet_is_refused(tmp_path: Path) -> None:
    make_job(tmp_path / "job")
    path = tmp_path / "job" / JOB_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    found = failed(tmp_path, EXIT_FAILED)
    assert "schema 99 is newer" in found.message
    assert "same version" in found.hint


@pytest.mark.parametrize(("error", "kind"), [(MemoryError(), "memory"), (RuntimeError("surprise"), "internal")])
def test_what_nobody_foresaw_is_reported_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def broken(*_: Any) -> None:
        (tmp_path / "out" / "engine.onnx").write_bytes(b"half")
        raise error

    monkeypatch.setattr(OnnxRuntimeBackend, "build", broken)
    found = failure(tmp_path, EXIT_FAILED)
    assert found.kind == kind
    assert ("surprise" in found.message and "Traceback" in found.detail) == (kind == "internal")


def test_a_failed_build_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    build(tmp_path)
    failure(tmp_path, EXIT_FAILED, onnx_sha256="0" * 64)
    build(tmp_path)


def test_a_process_of_its_own_prints_progress_with_seconds(tmp_path: Path) -> None:
    make_job(tmp_path / "job")
    done = subprocess.run(
        [sys.executable, "-m", "runtime.engines.build.job", "--job", str(tmp_path / "job"), "--out",
         str(tmp_path / "out")],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert all(line.startswith("[") and "s] " in line for line in lines)
    assert lines[-1].endswith("done")
    assert names(tmp_path / "out") == RESULTS


def test_main_wants_both_folders() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--job", "/nowhere"])
    assert caught.value.code == 2


def test_a_dla_core_is_not_for_onnx_runtime(tmp_path: Path) -> None:
    found = failure(tmp_path, EXIT_FAILED, options=BuildOptions(dla_core=0))
    assert found.message == "DLA core 0 was requested, but ONNX Runtime has no DLA"


def test_onnx_runtime_takes_the_opt_of_a_range_and_says_so(tmp_path: Path) -> None:
    spec = TensorSpec("image", (1, 3, 20, 24), min_shape=(1, 3, 16, 16), max_shape=(1, 3, 32, 40))
    values = np.random.default_rng(2).normal(size=(3, 3, 20, 24)).astype(np.float32)
    report = build(tmp_path, inputs=(spec,), golden={"image": values})
    assert report.identity.inputs == (TensorSpec("image", (1, 3, 20, 24)),)
    assert report.identity.outputs[0].shape == (1, 2, 20, 24)
    assert report.notes[0].startswith(
        "input 'image' is [1, 3, 20, 24] in this engine: ONNX Runtime engines have one shape"
    )


def test_a_camera_s_image_has_no_range(tmp_path: Path) -> None:
    spec = dataclasses.replace(IMAGE, min_shape=(1, 3, 8, 8), max_shape=(1, 3, 32, 40))
    found = failure(tmp_path, EXIT_FAILED, inputs=(spec,))
    assert found.kind == "bad-model"
    assert "is an image input, which cannot have a range of shapes" in found.message
