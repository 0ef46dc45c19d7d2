"""Build, inspect, run, measure, compare: real ONNX Runtime, tiny models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import BuildOptions, EngineIdentity, EngineReport
from runtime.contract.engine.engine_facts import FactDifference
from runtime.contract.engine.engine_tool import (
    BENCH,
    BUILD,
    COMPARE,
    INSPECT,
    JOB,
    RUN,
    BenchRequest,
    BuildRequest,
    CompareRequest,
    InspectRequest,
    JobRequest,
    RunRequest,
)
from runtime.engines.build import job
from runtime.engines.tool.compare import differences
from runtime.engines.tool.inspect import look
from tests.unit.engines.models import FRAME, TENSOR, make_job
from tests.unit.engines.tool.site import SHAPES, engine, onnx_file, refuse, tell, tensors


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an fp32 and an int8 engine of one bare model, and one with a camera's preprocessing."""
    folder = tmp_path_factory.mktemp("engines")
    engine(folder, name="fp32")
    engine(folder, "int8", name="int8")
    make_job(folder / "job")
    tell(JOB, JobRequest(str(folder / "job"), str(folder / "camera")))
    return folder


# ── build ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bare_file_becomes_an_engine_that_says_what_its_accuracy_is_worth(site: Path) -> None:
    report = from_json(EngineReport, (site / "fp32/report.json").read_bytes())
    assert report.identity.inputs[0].preprocess is None
    assert (report.identity.precision, report.identity.backend) == ("fp32", "onnxruntime")
    assert report.notes[0].startswith("golden data: 3 frames of a random generator (seed 0)")
    assert {item.output for item in report.accuracy} == {"scores", "hidden"}
    assert {row["name"] for row in report.extra["layers"]} >= {"conv0", "conv1", "conv2", "conv3"}


def test_the_same_file_and_options_give_the_same_engine(site: Path, tmp_path: Path) -> None:
    again = engine(tmp_path, name="fp32")
    for name in ("engine.json", "engine.onnx", "golden.npz"):
        assert (again / name).read_bytes() == (site / "fp32" / name).read_bytes()


def test_another_seed_is_another_key(site: Path, tmp_path: Path) -> None:
    other = engine(tmp_path, name="fp32", seed=7, golden=str(tensors(tmp_path)))
    keys = {
        from_json(EngineReport, (path / "report.json").read_bytes()).identity.key for path in (other, site / "fp32")
    }
    assert len(keys) == 2


def test_a_job_folder_gives_what_the_builder_container_gives(site: Path, tmp_path: Path) -> None:
    assert job.run(site / "job", tmp_path / "out") == 0
    for name in ("engine.json", "engine.onnx", "golden.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (site / "camera" / name).read_bytes()


def test_given_golden_data_is_used_and_no_note_is_made(tmp_path: Path) -> None:
    folder = engine(tmp_path, golden=str(tensors(tmp_path, count=2)))
    report = from_json(EngineReport, (folder / "report.json").read_bytes())
    assert report.extra["golden_frames"] == 2
    assert report.notes == ()


def bare(folder: Path, **changes: object) -> BuildRequest:
    values = {"model": str(onnx_file(folder)), "name": "tiny", "precision": "fp32", "out": str(folder / "out"),
              "options": BuildOptions(), "backend": "onnxruntime", "shapes": SHAPES, "bench_seconds": 0.02}  # fmt: skip
    return BuildRequest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"precision": "int8"}, "usage", "int8 needs calibration data"),
        ({"precision": "int8", "calibration": "/nowhere.npz"}, "usage", "no calibration data at /nowhere.npz"),
        ({"golden": "/nowhere.npz"}, "usage", "golden data nowhere.npz is missing"),
        ({"shapes": {}}, "usage", "input 'image' is Nx3xHxW: it needs a shape"),
        ({"shapes": {"image": (2, 3, *TENSOR)}}, "usage", "an engine takes one frame at a time"),
        ({"shapes": {"picture": (1,)}}, "usage", "there is no input 'picture'"),
        ({"model": "/nowhere.onnx"}, "usage", "there is no /nowhere.onnx"),
        ({"backend": "tensorrt"}, "unsupported", "needs the package 'tensorrt'"),
        ({"max_latency_p99_ms": 1e-9}, "latency", "p99"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(tmp_path: Path, changes: dict[str, object], kind: str, said: str) -> None:
    failure = refuse(BUILD, bare(tmp_path, **changes))
    assert failure.kind == kind
    assert said in failure.message
    assert not list((tmp_path / "out").glob("engine*")) if (tmp_path / "out").exists() else True


def test_too_few_calibration_frames_are_told(tmp_path: Path) -> None:
    calibration = str(tensors(tmp_path, count=3))
    assert "3 calibration frames" in refuse(BUILD, bare(tmp_path, precision="int8", calibration=calibration)).message


def test_accuracy_is_a_gate_only_when_it_is_asked_for(site: Path, tmp_path: Path) -> None:
    assert (site / "int8/report.json").is_file()
    calibration = str(tensors(tmp_path, "calibration.npz", 16))
    failure = refuse(BUILD, bare(tmp_path, precision="int8", calibration=calibration, min_cosine=1.0))
    assert failure.kind == "accuracy"


# ── inspect ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_engines_folder_tells_everything(site: Path) -> None:
    facts = tell(INSPECT, InspectRequest(str(site / "int8"), check=True))
    assert (facts.kind, facts.identity.precision) == ("engine", "int8")
    assert facts.report.identity == facts.identity
    assert {row.precision for row in facts.layers if row.name.startswith("conv")} == {"int8"}
    assert facts.onnx.operators["QuantizeLinear"] > 0
    assert facts.verdict.fits


def test_an_engines_own_file_is_the_engine(site: Path) -> None:
    assert tell(INSPECT, InspectRequest(str(site / "fp32/engine.onnx"))).kind == "engine"
    assert tell(INSPECT, InspectRequest(str(site / "fp32/engine.json"))).kind == "engine"
    assert tell(INSPECT, InspectRequest(str(site / "fp32/report.json"))).kind == "report"


def test_layers_of_a_bare_file_come_from_one_run(tmp_path: Path) -> None:
    request = InspectRequest(str(onnx_file(tmp_path)), layers=True, shapes=SHAPES)
    facts = tell(INSPECT, request)
    assert {("conv0", "fp32"), ("conv3", "fp32")} <= {(row.name, row.precision) for row in facts.layers}
    assert facts.identity is None


def test_without_its_report_an_engine_is_asked_for_its_layers(site: Path, tmp_path: Path) -> None:
    folder = engine(tmp_path)
    (folder / "report.json").unlink()
    assert tell(INSPECT, InspectRequest(str(folder))).layers == ()
    assert len(tell(INSPECT, InspectRequest(str(folder), layers=True)).layers) >= 4


@pytest.mark.parametrize("claim", [{"module": "p3767-0003"}, {"platform": "linux/riscv64"}])
def test_an_engine_of_another_device_does_not_fit(site: Path, tmp_path: Path, claim: dict[str, str]) -> None:
    folder = foreign(tmp_path, **claim)
    verdict = tell(INSPECT, InspectRequest(str(folder), check=True)).verdict
    assert not verdict.fits
    assert f"{next(iter(claim.values()))} claimed" in verdict.message
    assert "fleet build" in verdict.hint
    for verb, request in ((BENCH, BenchRequest((str(folder),), seconds=0.02)), (RUN, RunRequest(str(folder)))):
        failure = refuse(verb, request)
        assert (failure.kind, failure.message) == ("device-mismatch", verdict.message)


def foreign(folder: Path, **claim: str) -> Path:
    """An engine whose sidecar claims another device."""
    there = engine(folder)
    (there / "report.json").unlink()
    identity = from_json(EngineIdentity, (there / "engine.json").read_bytes())
    device = dataclasses.replace(identity.device, **claim)
    (there / "engine.json").write_bytes(canonical_json(dataclasses.replace(identity, device=device)))
    return there


def test_a_plan_tells_its_version_without_a_gpu(tmp_path: Path) -> None:
    header = bytes.fromhex("6674727400000000") + bytes(16) + bytes([10, 3, 0, 30])
    plain, fronted = tmp_path / "a.plan", tmp_path / "b.engine"
    plain.write_bytes(header + b"rest")
    text = b'{"task": "detect"}'
    fronted.write_bytes(len(text).to_bytes(4, "little") + text + header + b"rest")
    assert tell(INSPECT, InspectRequest(str(plain))).plan.tensorrt == "10.3.0.30"
    facts = tell(INSPECT, InspectRequest(str(fronted), check=True))
    assert (facts.plan.tensorrt, facts.plan.starts_at) == ("10.3.0.30", 4 + len(text))
    assert facts.verdict.message == "the plan was built by TensorRT 10.3.0.30, this machine has none"
    assert any("needs them removed" in note for note in facts.notes)


def test_a_report_of_another_engine_is_not_believed(site: Path, tmp_path: Path) -> None:
    folder = engine(tmp_path)
    (folder / "report.json").write_bytes((site / "int8/report.json").read_bytes())
    failure = refuse(INSPECT, InspectRequest(str(folder)))
    assert failure.kind == "corrupt"
    assert "the report of another engine" in failure.message


def test_what_is_no_engine_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.md").write_text("hello")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "short.plan").write_bytes(b"ftrt")
    (tmp_path / "cut.onnx").write_bytes(onnx_file(tmp_path).read_bytes()[:500])
    for name, kind, said in (
        ("nothing", "usage", "there is no "),
        ("empty.onnx", "usage", "is empty"),
        ("text.md", "usage", "neither an engine"),
        ("other.json", "usage", "is not an engine report"),
        ("short.plan", "corrupt", "too few for a TensorRT plan"),
        ("cut.onnx", "bad-model", "not a valid ONNX model"),
        ("", "usage", "holds no engine.json"),
    ):
        failure = refuse(INSPECT, InspectRequest(str(tmp_path / name)))
        assert (failure.kind, said in failure.message) == (kind, True), failure


@pytest.mark.parametrize("verb", [INSPECT, BENCH, RUN, COMPARE])
def test_a_changed_engine_is_refused_by_every_verb(tmp_path: Path, verb: str) -> None:
    folder = engine(tmp_path)
    content = bytearray((folder / "engine.onnx").read_bytes())
    content[100] ^= 1
    (folder / "engine.onnx").write_bytes(bytes(content))
    request = {
        INSPECT: InspectRequest(str(folder)),
        BENCH: BenchRequest((str(folder),)),
        RUN: RunRequest(str(folder)),
        COMPARE: CompareRequest(str(folder), str(folder)),
    }[verb]
    failure = refuse(verb, request)
    assert failure.kind == "corrupt"
    assert "engine.json says" in failure.message
    assert "fleet engine build" in failure.hint


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_golden_frames_are_run_and_judged_by_the_self_test(site: Path) -> None:
    found = tell(RUN, RunRequest(str(site / "camera"), top=2))
    assert (found.frames, len(found.milliseconds), found.violation) == (3, 3, None)
    assert found.accuracy[0].min_cosine > 0.999
    (scores,) = found.outputs
    assert (scores.shape, scores.not_finite, len(scores.top)) == ((1, 2, *TENSOR), 0, 2)
    assert scores.min <= scores.mean <= scores.max
    assert scores.top[0].value >= scores.top[1].value


def test_a_picture_goes_through_the_engines_own_preprocessing(site: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "frame.png")
    np.savez(tmp_path / "frame.npz", image=picture[None])
    as_picture, as_array = (
        tell(RUN, RunRequest(str(site / "camera"), str(tmp_path / name))) for name in ("frame.png", "frame.npz")
    )
    assert as_picture.outputs == as_array.outputs
    assert as_picture.accuracy == ()


def test_saved_outputs_are_what_another_engine_is_held_against(site: Path, tmp_path: Path) -> None:
    frames, saved = str(tensors(tmp_path)), str(tmp_path / "out.npz")
    tell(RUN, RunRequest(str(site / "fp32"), frames, save=saved))
    with np.load(saved) as archive:
        assert archive["scores"].shape == (3, 2, *TENSOR)
    same = tell(RUN, RunRequest(str(site / "fp32"), frames, expect=saved, min_cosine=0.99999))
    assert (same.violation, same.accuracy[0].max_abs_error) == (None, 0.0)
    other = tell(RUN, RunRequest(str(site / "int8"), frames, expect=saved, min_cosine=1.0))
    assert other.violation is not None
    assert "< 1.000" in other.violation


def test_expected_outputs_in_the_file_are_compared(site: Path, tmp_path: Path) -> None:
    wrong = np.random.default_rng(1).normal(size=(3, 2, *TENSOR)).astype(np.float32)
    hidden = np.ones((3, 8, 1, 1), np.float32)
    frames = tensors(tmp_path, scores=wrong, hidden=hidden)
    assert tell(RUN, RunRequest(str(site / "fp32"), str(frames))).violation is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing.npz", "there is no "),
        ("text.md", "neither an .npz file nor an image"),
        ("broken.npz", "is not an .npz file"),
        ("other.npz", "has no frames for input 'image'"),
        ("bad.png", "cannot be read as an image"),
        ("empty", "holds no images"),
    ],
)
def test_wrong_frames_are_refused(site: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "text.md").write_text("hello")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", scores=np.ones((1, 2, *TENSOR), "f4"))
    failure = refuse(RUN, RunRequest(str(site / "camera"), str(tmp_path / name)))
    assert failure.kind == "usage"
    assert said in failure.message


def test_a_picture_for_a_model_without_preprocessing_is_refused(site: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 16)).save(tmp_path / "frame.png")
    assert "one image input" in refuse(RUN, RunRequest(str(site / "fp32"), str(tmp_path / "frame.png"))).message


def test_answers_to_other_frames_are_no_expectation(site: Path, tmp_path: Path) -> None:
    saved = str(tmp_path / "out.npz")
    tell(RUN, RunRequest(str(site / "fp32"), str(tensors(tmp_path, count=2)), save=saved))
    failure = refuse(RUN, RunRequest(str(site / "fp32"), expect=saved))
    assert "holds 2 answers of output 'scores', for 3 frames" in failure.message


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(site: Path, tmp_path: Path) -> None:
    failure = refuse(RUN, RunRequest(str(site / "fp32"), save=str(tmp_path / "none/out.npz")))
    assert (failure.kind, "there is no folder" in failure.message) == ("usage", True)


# ── bench and compare ────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_engine_is_measured_and_the_method_told(site: Path) -> None:
    found = tell(BENCH, BenchRequest((str(site / "camera"),), iterations=20, warm_up_seconds=0.0))
    (each,) = found.engines
    assert (each.host.count, found.ratio, each.compute) == (20, None, None)
    assert each.host.min <= each.host.p50 <= each.host.p90 <= each.host.p95 <= each.host.p99 <= each.host.max
    assert found.method["input"] == "the engine's 3 golden frames"
    assert found.method["threads"] == 1
    assert found.conditions["before"]["cpus"] >= 1


def test_two_are_measured_in_turn(site: Path) -> None:
    found = tell(BENCH, BenchRequest((str(site / "fp32"), str(site / "int8")), iterations=30, warm_up_seconds=0.0))
    assert [each.precision for each in found.engines] == ["fp32", "int8"]
    assert found.ratio.rounds >= 1
    assert found.ratio.p50 == pytest.approx(found.engines[1].host.p50 / found.engines[0].host.p50)


def test_a_bare_file_runs_on_random_frames_and_says_so(tmp_path: Path) -> None:
    found = tell(BENCH, BenchRequest((str(onnx_file(tmp_path)),), iterations=10, shapes=SHAPES))
    assert "random generator" in found.method["input"]
    assert found.engines[0].precision == "as exported"


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"cuda_graph": True}, "CUDA graph"), ({"shapes": SHAPES}, "runs at the shapes of its engine.json")],
)
def test_options_that_do_not_fit_an_engine_are_refused(site: Path, changes: dict[str, object], said: str) -> None:
    failure = refuse(BENCH, BenchRequest((str(site / "fp32"),), **changes))  # type: ignore[arg-type]
    assert (failure.kind, said in failure.message) == ("usage", True)


def test_two_engines_of_one_model_are_compared_whole(site: Path) -> None:
    found = tell(COMPARE, CompareRequest(str(site / "fp32"), str(site / "int8"), seconds=0.05))
    assert {"precision", "key", "sha256"} <= {item.what for item in found.differences}
    assert {item.what: (item.first, item.second) for item in found.layers}["conv0"] == ("fp32", "int8")
    assert found.layers_shared >= 4
    assert 0.9 < found.outputs[0].min_cosine < 1.0
    assert found.bench.ratio is not None


def test_an_engine_is_its_own_twin(site: Path) -> None:
    found = tell(COMPARE, CompareRequest(str(site / "fp32"), str(site / "fp32"), seconds=0.02))
    assert (found.differences, found.layers) == ((), ())
    assert all(item.max_abs_error == 0.0 for item in found.outputs)


def test_a_dla_core_is_a_difference(site: Path) -> None:
    facts = look(site / "fp32")
    assert facts.identity is not None
    on_a_core = dataclasses.replace(facts, identity=dataclasses.replace(facts.identity, dla_core=1))
    assert differences(facts, on_a_core) == [FactDifference("dla_core", None, 1)]


def test_reports_alone_are_compared_without_a_run(site: Path) -> None:
    found = tell(COMPARE, CompareRequest(str(site / "fp32/report.json"), str(site / "int8")))
    assert found.bench is None
    assert found.layers
    assert "a report alone" in found.notes[0]


def test_what_cannot_run_here_is_compared_by_its_documents(site: Path, tmp_path: Path) -> None:
    found = tell(COMPARE, CompareRequest(str(site / "fp32"), str(foreign(tmp_path, module="p3767-0003"))))
    assert found.outputs == ()
    assert "p3767-0003 claimed" in found.notes[0]
    assert any(item.what == "device module" for item in found.differences)


def test_engines_of_other_inputs_are_not_run_on_one_frame(site: Path) -> None:
    found = tell(COMPARE, CompareRequest(str(site / "camera"), str(site / "fp32")))
    assert "take different inputs" in found.notes[0]
