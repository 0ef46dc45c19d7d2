"""The real job with backend ``tensorrt``, on stand-ins for TensorRT and pycuda that compute with ONNX Runtime.

Everything of ours runs: child process, caches, buffers, sidecar, golden data, gates. tests/gpu does it on a GPU.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.codec import canonical_json, from_dict, from_json
from runtime.contract.engine.build import (
    FAILURE_FILE,
    JOB_FILE,
    REPORT_FILE,
    TIMING_CACHE_FILE,
    AccuracyGate,
    BuildJob,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.contract.engine.timing import TIMING_DIR, TimingFacts, timing_file
from tests.gpu.site import NETWORKS, make_job, options_for
from tests.unit.engines.models import make_job as make_conv_job

ROOT = Path(__file__).parents[4]
STAND_INS = ROOT / "tests/fakes/gpu_site"


def python(code: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(STAND_INS), str(ROOT), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths} | variables
    return subprocess.run(
        [sys.executable, "-W", "ignore", *code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def run(job: Path, out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(["-m", "runtime.engines.build.job", "--job", str(job), "--out", str(out)], **variables)


def prepare(folder: Path, precision: str, **changes: object) -> Path:
    job = make_job(folder / "job", NETWORKS["tiny"], precision, options_for(precision, 3))
    job = dataclasses.replace(job, bench_seconds=0.05, **changes)  # type: ignore[arg-type]
    (folder / "job" / JOB_FILE).write_bytes(canonical_json(job))
    return folder / "job"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-calibrator"])
def test_builds_and_counts(tmp_path: Path, precision: str) -> None:
    done = run(prepare(tmp_path, precision), tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert report.identity.engine_file == "engine.plan"
    assert report.identity.device.sm_count == 8
    assert report.identity.inputs[0].shape == (1, 48, 64, 3)
    assert report.extra["main_layer_precisions"] == {precision.removesuffix("-calibrator"): 3}
    assert report.extra["strongly_typed"] is False
    assert report.extra["gpu_latency"]["compute_ms"]["count"] >= 10
    assert "no graphs" in str(report.extra["cuda_graph_host_p50_ms"])
    few = any(note.startswith("calibrated with 24 frames") for note in report.notes)
    assert few == precision.startswith("int8"), "as ONNX Runtime's builds say it"
    assert (tmp_path / "out" / TIMING_CACHE_FILE).read_bytes().startswith(b"timings 8.6.0\n")
    if precision != "fp32":
        assert "5 layers held at fp32" in done.stdout  # the preprocessing


def timing_report(out: Path) -> tuple[dict, tuple[str, ...]]:
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    return report.extra["timing_cache"], report.notes


def test_a_given_timing_cache_is_used_and_what_does_not_fit_is_left_out_with_a_note(tmp_path: Path) -> None:
    job, out = prepare(tmp_path, "fp32"), tmp_path / "out"
    for content, used in (
        (b"timings 8.6.0\nearlier", 21),
        (b"timings 8.6.2\nother TensorRT", 0),
        (b"\0no cache", 0),
        (b"", 0),
    ):
        (job / TIMING_CACHE_FILE).write_bytes(content)
        assert run(job, out).returncode == 0
        timing, notes = timing_report(out)
        assert (timing["bytes_in"], timing["refused"]) == (used, 0 if used else 1)
        assert (b"earlier" in (out / TIMING_CACHE_FILE).read_bytes()) is bool(used)
        assert any(note.startswith("1 of 1 timing caches do not fit") for note in notes) is not bool(used)


def test_a_cache_that_breaks_tensorrt_breaks_no_build(tmp_path: Path) -> None:
    job, out = prepare(tmp_path, "fp32"), tmp_path / "out"
    (job / TIMING_CACHE_FILE).write_bytes(b"crash")
    done = run(job, out)
    assert done.returncode == 0, done.stdout
    assert "trying again without the timing caches" in done.stdout
    assert any("were left out: with them the building process crashed" in note for note in timing_report(out)[1])


def test_caches_of_this_device_are_merged_and_those_of_another_mode_not_looked_at(tmp_path: Path) -> None:
    job, out = prepare(tmp_path, "fp32"), tmp_path / "out"
    assert run(job, out).returncode == 0
    timing, _ = timing_report(out)
    own = (out / TIMING_CACHE_FILE).read_bytes().split(b"\n")[1]
    here = from_dict(TimingFacts, timing["facts"])
    assert here == TimingFacts("8.6.0", "Fake GPU", 8, None)
    (job / TIMING_DIR).mkdir()
    for number, content in enumerate((b"foreign", b"timings 8.6.0\na", b"timings 8.6.0\nb")):
        (job / TIMING_DIR / timing_file(here, number)).write_bytes(content)
    other = dataclasses.replace(here, power_mode="15W")
    (job / TIMING_DIR / timing_file(other, 0)).write_bytes(b"timings 8.6.0\nof another mode")
    assert run(job, out).returncode == 0
    timing, notes = timing_report(out)
    assert (timing["given"], timing["refused"]) == (3, 1)
    assert (out / TIMING_CACHE_FILE).read_bytes() == b"\n".join([b"timings 8.6.0", *sorted((own, b"a", b"b"))])
    assert any(note.startswith("1 of 3 timing caches do not fit") for note in notes)


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        ("internal-error", "unsupported", "an internal error of its own: 2: [graphOptimizer.cpp::mergeScales"),
        ("kill", "memory", "also with a workspace of 512 MiB"),
        ("abort", "internal", "signal 6"),
    ],
)
def test_a_build_that_goes_wrong_leaves_a_sentence_and_nothing_else(
    tmp_path: Path, wrong: str, kind: str, said: str
) -> None:
    done = run(prepare(tmp_path, "fp32"), tmp_path / "out", FAKE_TENSORRT=wrong)
    assert done.returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert failure["kind"] == kind
    assert said in failure["message"]
    assert failure["hint"]
    assert [item.name for item in (tmp_path / "out").iterdir()] == [FAILURE_FILE]


def test_a_build_past_the_job_s_deadline_says_so_itself(tmp_path: Path) -> None:
    done = run(prepare(tmp_path, "fp32", deadline_s=6.0), tmp_path / "out", FAKE_TENSORRT="hang")
    assert done.returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    # On a machine so slow that the graph alone takes the time, the sentence names that.
    assert re.match(
        r"TensorRT did not finish within [1-5] s, and was ended|preparing the graph took", failure["message"]
    )
    assert "builder.timeout" in failure["hint"]
    assert [item.name for item in (tmp_path / "out").iterdir()] == [FAILURE_FILE]


def test_an_engine_for_the_dla_names_what_fell_back_and_is_loaded_on_its_core(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", NETWORKS["tiny"], "fp16", options_for("fp16", 3, dla_core=1), bench_seconds=0.05)
    done = run(tmp_path / "job", tmp_path / "out", FAKE_TENSORRT_DLA_CORES="2")
    assert done.returncode == 0, done.stdout
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert report.identity.dla_core == job.options.dla_core == 1
    fallen = report.extra["dla_fallback"]
    assert fallen
    assert not [name for name in fallen if name.startswith("conv")]
    (note,) = [note for note in report.notes if "not the DLA" in note]
    assert note.startswith(f"{len(fallen)} layers run on the GPU, not the DLA: {fallen[0]}")
    assert python(["-c", LOAD, str(tmp_path / "out")]).returncode == 0
    sidecar = tmp_path / "out" / "engine.json"
    sidecar.write_bytes(canonical_json(dataclasses.replace(report.identity, dla_core=None)))
    assert "the plan is for DLA core 1" in python(["-c", LOAD, str(tmp_path / "out")]).stderr


def test_a_dla_that_is_not_there_is_refused(tmp_path: Path) -> None:
    make_job(tmp_path / "job", NETWORKS["tiny"], "fp16", options_for("fp16", 3, dla_core=0))
    assert run(tmp_path / "job", tmp_path / "out").returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert failure["message"] == "DLA core 0 was asked for, and TensorRT 8.6.0 offers 0 here"
    assert "Orin Nano has no DLA" in failure["hint"]


SCAN = TensorSpec("image", (1, 3, 20, 24), min_shape=(1, 3, 16, 16), max_shape=(1, 3, 32, 40))


def prepare_range(folder: Path, spec: TensorSpec = SCAN, **changes: object) -> Path:
    """Write a job whose one input is no image and has a range: rows 16 to 32, columns 16 to 40."""
    values = np.random.default_rng(2).normal(size=(3, *spec.shape[1:])).astype(np.float32)
    job = make_conv_job(folder / "job", inputs=(spec,), backend="tensorrt", golden={spec.name: values}, **changes)
    assert job.inputs == (spec,)
    return folder / "job"


RUN_AT = """
import dataclasses, sys
from pathlib import Path
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.backend import TensorRtBackend
from runtime.engines.tensorrt_.device import find_gpu
from runtime.engines.tensorrt_.run.plan import OpenPlan
from runtime.engines.tensorrt_.run.runner import TensorRtRunner
loaded = TensorRtBackend().load(Path(sys.argv[1]))
identity = loaded.identity
print(loaded.infer()["scores"].shape)
plan = OpenPlan(Path(sys.argv[1]) / "engine.plan", find_gpu())
for rows, columns in ((16, 40), (33, 40)):
    image = dataclasses.replace(identity.inputs[0], shape=(1, 3, rows, columns))
    scores = dataclasses.replace(identity.outputs[0], shape=(1, 2, rows, columns))
    try:
        other = TensorRtRunner(plan, dataclasses.replace(identity, inputs=(image,), outputs=(scores,)))
        print(other.infer()["scores"].shape)
    except EngineError as error:
        print(error.message)
"""


def test_a_range_of_shapes_becomes_an_optimization_profile(tmp_path: Path) -> None:
    done = run(prepare_range(tmp_path), tmp_path / "out")
    assert done.returncode == 0, done.stdout
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert report.identity.inputs == (SCAN,)
    assert report.identity.outputs[0].shape == (1, 2, 20, 24)
    done = python(["-c", RUN_AT, str(tmp_path / "out")])
    assert done.stdout.splitlines()[:2] == ["(1, 2, 20, 24)", "(1, 2, 16, 40)"], done.stderr
    assert done.stdout.splitlines()[2].startswith("input 'image' cannot be [1, 3, 33, 40]")


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-calibrator"])
def test_a_range_goes_with_every_precision(tmp_path: Path, precision: str) -> None:
    method = "calibrator" if precision == "int8-calibrator" else "minmax"
    options = BuildOptions(int8=Int8Options(method)) if precision != "fp16" else BuildOptions()
    job = prepare_range(tmp_path, precision=precision.removesuffix("-calibrator"), options=options)
    frames = np.random.default_rng(3).normal(size=(16, *SCAN.shape[1:])).astype(np.float32)
    np.savez(job / "calibration/frames.npz", image=frames)
    done = run(job, tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert (report.identity.inputs, report.identity.outputs[0].shape) == ((SCAN,), (1, 2, 20, 24))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"min_shape": (1, 3, 21, 16)}, "may be [1, 3, 21, 16] to [1, 3, 32, 40], tuned for [1, 3, 20, 24]"),
        ({"max_shape": (1, 3, 32)}, "may be [1, 3, 16, 16] to [1, 3, 32]"),
        ({"max_shape": (1, 4, 32, 40)}, "has a range in dimension 1, which is 3 in the model"),
    ],
)
def test_a_range_that_is_none_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    assert run(prepare_range(tmp_path, dataclasses.replace(SCAN, **change)), tmp_path / "out").returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert failure["kind"] == "bad-model"
    assert said in failure["message"]


def test_a_range_is_not_for_the_dla(tmp_path: Path) -> None:
    job = prepare_range(tmp_path, options=BuildOptions(dla_core=0), precision="fp16")
    assert run(job, tmp_path / "out", FAKE_TENSORRT_DLA_CORES="1").returncode == 3
    assert "the DLA supports one shape only" in json.loads((tmp_path / "out" / FAILURE_FILE).read_text())["message"]


def test_too_little_calibration_data(tmp_path: Path) -> None:
    job = prepare(tmp_path, "int8")
    few = np.load(job / "calibration/000.npz")["image"][:3]
    np.savez(job / "calibration/000.npz", image=few)
    assert said_by(job, tmp_path / "out", 3) == ("calibration", "3 calibration frames, at least 8 are needed")


def test_accuracy_below_the_gate(tmp_path: Path) -> None:
    job = prepare(tmp_path, "int8", accuracy=AccuracyGate(0.5, max_abs_error=1e-12))
    kind, message = said_by(job, tmp_path / "out", 4)
    assert kind == "accuracy"
    assert "against the fp32 source model" in message


def test_a_workspace_that_the_device_does_not_have(tmp_path: Path) -> None:
    job = prepare(tmp_path, "fp32", options=options_for("fp32", 3, workspace_bytes=1 << 42))
    kind, message = said_by(job, tmp_path / "out", 3)
    assert (kind, message) == ("memory", "workspace_bytes is 4194304 MiB, and Fake GPU has 8192 MiB")


def said_by(job: Path, out: Path, code: int) -> tuple[str, str]:
    """Run a job that must fail; return kind and sentence. It leaves nothing else, and says what to do."""
    assert run(job, out).returncode == code
    assert [item.name for item in out.iterdir()] == [FAILURE_FILE]
    failure = json.loads((out / FAILURE_FILE).read_text())
    assert failure["hint"]
    assert "\n" not in failure["message"]
    return failure["kind"], failure["message"]


def test_an_unsupported_operator_is_named(tmp_path: Path) -> None:
    from tests.gpu import networks
    from tests.gpu.site import Network

    make_job(tmp_path / "job", Network(networks.unsupported, 8, (8, 8), "determinant"), "fp32", options_for("fp32", 3))
    assert run(tmp_path / "job", tmp_path / "out").returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert failure["kind"] == "unsupported"
    assert "cannot take node 'determinant' (Det)" in failure["message"]


def test_a_builder_that_is_another_device_builds_nothing(tmp_path: Path) -> None:
    job = prepare(tmp_path, "fp32")
    text = from_json(BuildJob, (job / JOB_FILE).read_bytes())
    claim = dataclasses.replace(text, device=dataclasses.replace(text.device, sm_count=4, tensorrt="10.3.0"))
    (job / JOB_FILE).write_bytes(canonical_json(claim))
    assert run(job, tmp_path / "out").returncode == 3
    failure = json.loads((tmp_path / "out" / FAILURE_FILE).read_text())
    assert "sm_count 4 claimed, 8 found; tensorrt 10.3.0 claimed, 8.6.0 found" in failure["message"]


LOAD = """
import sys, threading
from pathlib import Path
import numpy as np
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.backend import TensorRtBackend
from runtime.engines.tensorrt_.run.context import CUDA
runner = TensorRtBackend().load(Path(sys.argv[1]))
golden = np.load(Path(sys.argv[1]) / "golden.npz")
runner.inputs["image"][0] = golden["image"][0]
where = runner.infer()["logits"].ctypes.data
assert np.allclose(runner.infer()["logits"][0], golden["logits"][0], atol=1e-4)
assert runner.infer()["logits"].ctypes.data == where
said = []
def other():
    try:
        runner.infer()
    except EngineError as error:
        said.append(error.message)
thread = threading.Thread(target=other)
thread.start(); thread.join()
runner.close(); runner.close()
try:
    runner.infer()
except EngineError as error:
    said.append(error.message)
print(said, CUDA._users)
"""


SEEN_AFTERWARDS = """
import sys, threading
from pathlib import Path
from pycuda.driver import PagelockedHostAllocation as Pinned
from runtime.engines.tensorrt_.backend import TensorRtBackend
def load():
    return TensorRtBackend().load(Path(sys.argv[1]))
first = load()
view, whole = first.infer()["logits"][0], first.outputs
first.close()
print(Pinned.there, "seen")
second = load()
print(Pinned.there, "beside another engine")
def drop():
    global view, whole
    del view, whole
thread = threading.Thread(target=drop)
thread.start(); thread.join()
second.close()
print(Pinned.there, "after the second", Pinned.lost, "lost")
third = load()
view = third.outputs["logits"][0]
third.close()
del view
load().close()
print(Pinned.there, "after the last", Pinned.lost, "lost")
"""


def test_pinned_memory_is_freed_where_the_context_is_current_whoever_saw_it_last(tmp_path: Path) -> None:
    job = prepare(tmp_path, "fp32")
    assert run(job, tmp_path / "out").returncode == 0
    done = python(["-c", SEEN_AFTERWARDS, str(tmp_path / "out")])
    assert done.stderr == ""
    expected = ["1 seen", "3 beside another engine", "0 after the second 0 lost", "0 after the last 0 lost"]
    assert done.stdout.splitlines() == expected


def test_an_engine_is_loaded_run_and_closed(tmp_path: Path) -> None:
    assert run(prepare(tmp_path, "fp32"), tmp_path / "out").returncode == 0
    done = python(["-c", LOAD, str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr
    expected = ["an engine was used by a thread that does not own CUDA here", "engine 'tiny' is closed"]
    assert done.stdout.strip() == f"{expected} 0"


def test_what_does_not_belong_is_not_loaded(tmp_path: Path) -> None:
    assert run(prepare(tmp_path, "fp32"), tmp_path / "out").returncode == 0
    script = (
        "import sys; from pathlib import Path; from runtime.engines.errors import EngineError\n"
        "from runtime.engines.tensorrt_.backend import TensorRtBackend\n"
        "try: TensorRtBackend().load(Path(sys.argv[1]))\n"
        "except EngineError as error: print(error.kind, error.message)"
    )
    other = python(["-c", script, str(tmp_path / "out")], FAKE_TENSORRT_VERSION="8.6.1")
    assert other.stdout.startswith("device-mismatch engine of 'tiny' does not fit this machine: tensorrt 8.6.0")
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "out", broken)
    content = bytearray((broken / "engine.plan").read_bytes())
    content[50] ^= 1
    (broken / "engine.plan").write_bytes(content)
    assert "sha256" in python(["-c", script, str(broken)]).stdout


def test_frames_of_calibration_reach_the_calibrator_once(tmp_path: Path) -> None:
    job = prepare(tmp_path, "int8-calibrator")
    done = run(job, tmp_path / "out")
    assert "calibrating: 24 of 24 frames" in done.stdout
    assert np.load(job / "calibration/000.npz")["image"].shape[0] == 24


def test_a_policy_with_state_and_observations_goes_the_same_way(tmp_path: Path) -> None:
    """TensorRT gets one graph of messages and states; the job's golden frames are one sequence there too."""
    from runtime.contract.engine.build import GOLDEN_FILE
    from tests.fakes.nodes.legged_robot import INPUTS, LEGGED, STATE, messages
    from tests.fakes.nodes.policy_models import mlp_policy

    job = make_conv_job(
        tmp_path / "job", model=mlp_policy(), golden=messages(10), backend="tensorrt", precision="fp16",
        inputs=INPUTS, outputs=(TensorSpec("actions", ()),), state=STATE, observations=(LEGGED,),
    )  # fmt: skip
    done = run(tmp_path / "job", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert [spec.name for spec in report.identity.inputs] == [*(spec.name for spec in INPUTS), "previous"]
    assert [spec.kept for spec in report.identity.state] == ["actions"]
    assert "layers held at fp32" in done.stdout
    assert job.state == STATE
    assert (tmp_path / "out" / GOLDEN_FILE).is_file()
