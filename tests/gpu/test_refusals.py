"""What must not run, must not be built, or was stopped: one sentence each, with a way out, and nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    IDENTITY_FILE,
    MODEL_FILE,
    AccuracyGate,
    EngineIdentity,
    TensorSpec,
)
from runtime.engines.device.plan_header import HEADER_BYTES, read_plan_header
from runtime.engines.errors import EngineError
from runtime.engines.store import sha256_of
from tests.gpu import networks
from tests.gpu.site import NETWORKS, Network, Site, backend, frames, make_job, options_for, run_job

Change = Callable[[Path], None]


@pytest.fixture
def copied(site: Site, tmp_path: Path) -> Path:
    folder, _ = site.engine("tiny", "fp32")
    return Path(shutil.copytree(folder, tmp_path / "engine"))


def refused(folder: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        backend().load(folder).close()
    print(f"REFUSED {caught.value.kind}: {caught.value}")
    return caught.value


def resign(folder: Path, **changes: object) -> None:
    """Make the sidecar agree with the file, as an attacker or a defect of ours would: TensorRT must say no itself."""
    plan = folder / "engine.plan"
    identity = from_json(EngineIdentity, (folder / IDENTITY_FILE).read_bytes())
    identity = replace(identity, engine_sha256=sha256_of(plan), engine_bytes=plan.stat().st_size, **changes)  # type: ignore[arg-type]
    (folder / IDENTITY_FILE).write_bytes(canonical_json(identity))


def test_a_changed_byte(copied: Path) -> None:
    content = bytearray((copied / "engine.plan").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (copied / "engine.plan").write_bytes(content)
    error = refused(copied)
    assert error.kind == "corrupt"
    assert "sha256" in error.message


def test_a_truncated_file(copied: Path) -> None:
    plan = copied / "engine.plan"
    plan.write_bytes(plan.read_bytes()[:-1000])
    assert refused(copied).kind == "corrupt"
    resign(copied)
    error = refused(copied)
    assert error.kind == "corrupt"
    assert "refuses engine.plan" in error.message


def test_a_plan_that_was_never_one(copied: Path) -> None:
    (copied / "engine.plan").write_bytes(b"\0" * 4096)
    resign(copied)
    assert refused(copied).kind == "corrupt"


def test_the_header_of_this_version_s_plan(copied: Path) -> None:
    start = (copied / "engine.plan").read_bytes()[:HEADER_BYTES]
    print(f"HEADER {start.hex()} {read_plan_header(start)}")
    import tensorrt as trt

    header = read_plan_header(start)
    assert header is not None
    assert str(header).startswith(trt.__version__)


@pytest.mark.parametrize(
    ("fact", "value"), [("tensorrt", "8.6.2.3"), ("module", "p3767-0003"), ("sm_count", 4), ("l4t", "36.4.3")]
)
def test_another_device_or_version(copied: Path, fact: str, value: object) -> None:
    identity = from_json(EngineIdentity, (copied / IDENTITY_FILE).read_bytes())
    resign(copied, device=replace(identity.device, **{fact: value}))  # type: ignore[arg-type]
    error = refused(copied)
    assert error.kind == "device-mismatch"
    assert str(value) in error.message
    assert "fleet build" in error.hint


def test_a_header_of_another_version(copied: Path) -> None:
    plan = copied / "engine.plan"
    content = bytearray(plan.read_bytes())
    content[:8] = bytes.fromhex("6674727400000000")
    content[24:28] = bytes([10, 3, 0, 30])
    plan.write_bytes(content)
    resign(copied)
    error = refused(copied)
    assert error.kind == "device-mismatch"
    assert "10.3.0.30" in error.message


def build_fails(job: Path, out: Path, **options: object) -> EngineError:
    lines: list[str] = []
    with pytest.raises(EngineError) as caught:
        run_job(job, out, backend(**options), log=lines.append)
    error = caught.value
    print(f"REFUSED {error.kind}: {error}")
    assert error.hint
    assert "\n" not in error.message
    return error


def test_an_operator_that_tensorrt_does_not_take(tmp_path: Path) -> None:
    network = Network(networks.unsupported, 8, (8, 8), "determinant")
    make_job(tmp_path / "job", network, "fp32", options_for("fp32", 0))
    error = build_fails(tmp_path / "job", tmp_path / "out")
    assert error.kind == "unsupported"
    assert "Det" in error.message
    assert not list((tmp_path / "out").glob("engine*"))


def test_too_little_calibration_data(tmp_path: Path) -> None:
    network = NETWORKS["tiny"]
    make_job(tmp_path / "job", network, "int8", options_for("int8", 0))
    np.savez(tmp_path / "job" / CALIBRATION_DIR / "000.npz", image=frames(3, network.camera))
    error = build_fails(tmp_path / "job", tmp_path / "out")
    assert (error.kind, error.message) == ("calibration", "3 calibration frames, at least 8 are needed")


def test_a_workspace_that_the_device_does_not_have(tmp_path: Path) -> None:
    make_job(tmp_path / "job", NETWORKS["tiny"], "fp32", options_for("fp32", 0, workspace_bytes=1 << 42))
    error = build_fails(tmp_path / "job", tmp_path / "out")
    assert error.kind == "memory"
    assert "4194304 MiB" in error.message


def test_past_its_deadline(tmp_path: Path) -> None:
    make_job(tmp_path / "job", NETWORKS["resnet50"], "fp16", options_for("fp16", 3))
    error = build_fails(tmp_path / "job", tmp_path / "out", deadline_s=8)
    assert re.search(r"did not finish within [1-8] s", error.message)  # of the eight, what the graph has left
    assert children() == []
    assert not list((tmp_path / "out").glob("*.plan"))


def test_accuracy_below_the_gate(tmp_path: Path) -> None:
    gate = AccuracyGate(min_cosine=0.5, max_abs_error=1e-12)
    make_job(tmp_path / "job", NETWORKS["tiny"], "fp16", options_for("fp16", 0), accuracy=gate)
    error = build_fails(tmp_path / "job", tmp_path / "out")
    assert error.kind == "accuracy"


def test_a_builder_that_is_killed_gets_one_more_try(tmp_path: Path) -> None:
    make_job(tmp_path / "job", NETWORKS["tiny"], "fp32", options_for("fp32", 0))
    lines: list[str] = []

    def kill_first(line: str) -> None:
        lines.append(line)
        if "layers" in line and not any("trying again" in item for item in lines):
            kill_children()

    report = run_job(tmp_path / "job", tmp_path / "out", backend(), log=kill_first)
    assert any("trying again with a workspace of 1024 MiB" in line for line in lines), lines
    assert report.extra["workspace_bytes"] == 1 << 30


def test_a_builder_that_is_killed_twice(tmp_path: Path) -> None:
    def kill_each(line: str) -> None:
        if "layers" in line:
            kill_children()

    make_job(tmp_path / "job", NETWORKS["tiny"], "fp32", options_for("fp32", 0))
    with pytest.raises(EngineError) as caught:
        run_job(tmp_path / "job", tmp_path / "out", backend(), log=kill_each)
    print(f"REFUSED {caught.value.kind}: {caught.value}")
    assert caught.value.kind == "memory"
    assert not list((tmp_path / "out").glob("*.plan"))


def children() -> list[int]:
    found = []
    for item in Path("/proc").iterdir():
        if item.name.isdigit():
            try:
                fields = (item / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(item.name))
    return found


def kill_children() -> None:
    for pid in children():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif("JETFLEET_HARD_MODEL" not in os.environ, reason="JETFLEET_HARD_MODEL names no hard ONNX model")
def test_a_model_too_hard_for_this_tensorrt_ends_in_a_sentence(tmp_path: Path) -> None:
    """The PP-OCR text detector: TensorRT 8.6.0 does not finish it, or fails on its Q/DQ graph with its own error."""

    def hard(path: Path) -> Path:
        return Path(shutil.copyfile(os.environ["JETFLEET_HARD_MODEL"], path))

    network = Network(hard, 320, (480, 640), "sigmoid_0.tmp_0")
    job = make_job(tmp_path / "job", network, "int8", options_for("int8", 0))
    import onnx

    model = onnx.load(str(tmp_path / "job" / MODEL_FILE))
    image, output = model.graph.input[0].name, model.graph.output[0].name
    job = replace(job, inputs=(replace(job.inputs[0], name=image),), outputs=(TensorSpec(output, ()),))
    job = replace(job, golden_expect="nothing")  # there is no text in the made-up frames
    (tmp_path / "job" / "job.json").write_bytes(canonical_json(job))
    for file in (tmp_path / "job" / "golden.npz", tmp_path / "job" / CALIBRATION_DIR / "000.npz"):
        array = np.load(file)["image"]
        np.savez(file, **{image: array})
    error = build_fails(tmp_path / "job", tmp_path / "out", deadline_s=float(os.environ.get("JETFLEET_HARD_S", "60")))
    assert error.kind in ("unsupported", "accuracy", "precision")
