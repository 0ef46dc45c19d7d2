"""The example's data: rendered signs, golden answers, and a model that was retrained badly."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from runtime.contract.codec import from_json
from runtime.contract.engine.build import AccuracyGate, BuildOptions, EngineReport, Int8Options, Preprocess, TensorSpec
from runtime.engines.build.job import run
from runtime.engines.golden.golden_data import load_golden
from runtime.engines.graph.normalize import serialize
from tests.unit.engines.models import conv_net, make_job

MODELS = Path(__file__).parents[3] / "manifests" / "models"
MANIFEST = yaml.safe_load((MODELS / "sign_text.yaml").read_text("utf-8"))
MODEL = MODELS / "onnx" / "sign_text.onnx"
needs_model = pytest.mark.skipif(not MODEL.is_file(), reason="manifests/models/onnx/sign_text.onnx: run `make setup`")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image_input() -> TensorSpec:
    entry = MANIFEST["inputs"][0]
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in entry["preprocess"].items()}
    pre = Preprocess(entry["height"], entry["width"], entry["encoding"], **options)
    return TensorSpec(entry["tensor"], tuple(entry["shape"]), preprocess=pre)


OUTPUT = TensorSpec(MANIFEST["outputs"][0]["tensor"], ())


def test_calibration_frames_are_camera_sized_and_small() -> None:
    files = sorted((MODELS / "calibration" / "signs").glob("*.jpg"))
    assert len(files) == 28
    assert max(path.stat().st_size for path in files) <= 15 * 1024
    assert {Image.open(path).size for path in files} == {(640, 480)}


def test_the_generator_draws_the_same_frame_every_time_and_what_is_in_git() -> None:
    make = script("make_sign_data")
    first = np.asarray(make.frame(3), np.int16)
    np.testing.assert_array_equal(first, np.asarray(make.frame(3), np.int16))
    assert np.asarray(make.frame(4)).std() > 10
    in_git = np.asarray(Image.open(MODELS / "calibration/signs/sign-03.jpg"), np.int16)
    assert np.abs(first - in_git).mean() < 4


def test_golden_data_fits_the_manifest_and_is_small() -> None:
    path = MODELS / "golden" / "sign_text.npz"
    assert path.stat().st_size <= 400 * 1024
    spec = image_input()
    assert spec.preprocess is not None
    frames = TensorSpec(spec.name, (1, spec.preprocess.height, spec.preprocess.width, 3), "uint8")
    golden = load_golden(path, [frames], [OUTPUT.name])
    assert len(golden) == 3
    expected = golden.expected[OUTPUT.name]
    assert expected.shape == (3, 1, *spec.shape[2:])
    assert 0.001 < float((expected > 0.3).mean()) < 0.5
    np.testing.assert_array_equal(golden.frames[spec.name], script("make_sign_data").golden_frames())


def test_a_spoiled_model_keeps_its_form_and_loses_its_answers() -> None:
    spoil = script("spoil_model")
    model = conv_net(layers=3)
    spoiled = spoil.spoil(model, strength=0.5)
    onnx.checker.check_model(spoiled)
    assert serialize(spoiled) == serialize(spoil.spoil(model, strength=0.5))
    assert serialize(spoiled) != serialize(spoil.spoil(model, strength=0.5, seed=1))
    assert list(spoiled.graph.input) == list(model.graph.input)
    assert list(spoiled.graph.output) == list(model.graph.output)
    changed = [a.name for a, b in zip(model.graph.initializer, spoiled.graph.initializer, strict=True) if a != b]
    assert changed == ["w1"], "only kernels of some size"


@needs_model
def test_the_manifest_pins_the_model_that_is_here() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == MANIFEST["source"]["sha256"]


@needs_model
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_example_is_built_with_a_margin_at_every_precision(tmp_path: Path, precision: str) -> None:
    built_with_a_margin(tmp_path, precision, every=3)


def built_with_a_margin(tmp_path: Path, precision: str, every: int) -> None:
    """Build with every n-th frame of calibration, and be far from the gate."""
    int8 = MANIFEST["precisions"]["int8"]
    options = Int8Options(int8["method"], tuple(int8.get("exclude_ops", ())), tuple(int8.get("exclude_nodes", ())))
    gate = float(MANIFEST["gates"]["accuracy"][precision]["min_cosine"])
    report = build_example(tmp_path, MODEL, precision, BuildOptions(int8=options), AccuracyGate(gate), every)
    for found in (*report.accuracy, *report.golden_accuracy):
        assert 1 - found.min_cosine < (1 - gate) / 3
    if precision == "int8":
        main = report.extra["main_layer_precisions"]
        assert main["int8"] >= 0.75 * sum(main.values())


@needs_model
def test_the_badly_retrained_example_is_far_below_the_gate(tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.onnx"
    digest = script("spoil_model").spoil_file(MODEL, spoiled)
    assert digest == hashlib.sha256(spoiled.read_bytes()).hexdigest()
    report = build_example(tmp_path, spoiled, "fp32", BuildOptions(), AccuracyGate(0.999))
    assert report.accuracy[0].min_cosine > 0.999
    assert report.golden_accuracy[0].min_cosine < 0.6
    assert len(report.notes) == 1


def build_example(
    tmp_path: Path, model: Path, precision: str, options: BuildOptions, gate: AccuracyGate, every: int = 3
) -> EngineReport:
    job = tmp_path / "job"
    make_job(
        job,
        model=model.read_bytes(),
        precision=precision,
        options=options,
        accuracy=gate,
        inputs=(image_input(),),
        outputs=(OUTPUT,),
        enforce_accuracy=False,
    )
    (job / "golden.npz").write_bytes((MODELS / "golden" / "sign_text.npz").read_bytes())
    (job / "calibration" / "frames.npz").unlink()
    for path in sorted((MODELS / "calibration" / "signs").glob("*.jpg"))[::every]:
        (job / "calibration" / path.name).write_bytes(path.read_bytes())
    assert run(job, tmp_path / "out") == 0
    return from_json(EngineReport, (tmp_path / "out" / "report.json").read_bytes())
