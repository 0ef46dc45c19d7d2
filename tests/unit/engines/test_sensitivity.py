"""After a failed accuracy gate: the report names the node that int8 (or fp16) ruins, and a set that passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    JOB_FILE,
    AccuracyGate,
    BuildFailure,
    BuildJob,
    BuildOptions,
    Int8Options,
    OutputAccuracy,
)
from runtime.contract.engine.sensitivity import Sensitivity
from runtime.engines.build.diagnose import diagnose
from runtime.engines.build.job import EXIT_GATE, run
from runtime.engines.build.qsnr import CLEAN_DB, half, qsnr_db
from runtime.engines.build.sensitivity import Budget, Candidate, Found, Measurement, search, severity_of
from runtime.engines.errors import EngineError
from tests.unit.engines.models import dead_channel, frames, make_job

INT8 = BuildOptions(int8=Int8Options("minmax"))
GATE = AccuracyGate(0.995)


def report_of(tmp_path: Path, **changes: Any) -> Sensitivity:
    make_job(tmp_path / "job", **{"accuracy": GATE, **changes})
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_GATE
    failure = from_json(BuildFailure, (tmp_path / "out" / "failure.json").read_bytes())
    assert failure.kind == "accuracy"
    assert failure.sensitivity is not None
    return failure.sensitivity


@pytest.mark.parametrize("node", [1, 3])
def test_the_one_layer_that_int8_ruins_is_named_and_leaving_it_out_passes(tmp_path: Path, node: int) -> None:
    model = dead_channel(node, weight=1e4)
    found = report_of(tmp_path / "no", model=model, precision="int8", options=INT8)
    assert found.keep == (f"conv{node}",)
    assert found.verified
    assert found.min_cosine is not None
    assert found.min_cosine >= GATE.min_cosine
    assert found.nodes[0].node == f"conv{node}"
    assert found.nodes[0].severity > 1.0 > found.nodes[1].severity
    assert found.nodes[0].qsnr_db == min(each.qsnr_db for each in found.nodes if each.qsnr_db is not None)
    assert found.note == ""
    # What it says is done: the build passes, with the same number.
    options = BuildOptions(int8=Int8Options("minmax", exclude_nodes=found.keep))
    make_job(tmp_path / "yes", model=model, precision="int8", options=options, accuracy=GATE)
    assert run(tmp_path / "yes", tmp_path / "out") == 0
    assert f'"min_cosine":{found.min_cosine!r}'[:20] in (tmp_path / "out" / "report.json").read_text()


def job_of(folder: Path, **changes: Any) -> BuildJob:
    return make_job(folder, **{"accuracy": GATE, "precision": "int8", "options": INT8, **changes})


def test_for_tensorrt_the_same_layer_is_named_from_its_own_kind_of_graph(tmp_path: Path) -> None:
    job = job_of(tmp_path, model=dead_channel(2, weight=1e4), backend="tensorrt")
    found = diagnose(job, tmp_path, lambda _: None, elapsed_s=0.0)
    assert found.keep == ("conv2",)
    assert found.verified
    assert {each.operator for each in found.nodes} == {"Conv"}


def test_what_is_declared_already_stays_and_is_not_named_again(tmp_path: Path) -> None:
    model = dead_channel(3, weight=1e4)
    options = BuildOptions(int8=Int8Options("minmax", exclude_nodes=("conv0",)))
    found = report_of(tmp_path, model=model, precision="int8", options=options)
    assert (found.declared, found.keep) == (("conv0",), ("conv3",))
    assert "conv0" not in {each.node for each in found.nodes}


def test_fp16_names_the_node_whose_numbers_are_too_large(tmp_path: Path) -> None:
    model = dead_channel(2, weight=0.0)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, factor in (("w1", 1e6), ("b1", 1e6), ("w2", 1e-6)):
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]) * np.float32(factor), name))
    found = report_of(tmp_path / "no", model=model, precision="fp16")
    assert found.precision == "fp16"
    assert found.verified, found
    assert set(found.keep) & {"conv1", "conv2"}
    options = BuildOptions(keep_fp32_nodes=found.keep)
    make_job(tmp_path / "yes", model=model, precision="fp16", options=options, accuracy=GATE)
    assert run(tmp_path / "yes", tmp_path / "out") == 0


def test_when_the_model_itself_misses_the_gate_that_is_said(tmp_path: Path) -> None:
    golden = {"image": frames(3), "scores": np.random.default_rng(1).normal(size=(3, 2, 16, 20)).astype("f4")}
    found = report_of(tmp_path, golden=golden, precision="int8", options=INT8, accuracy=AccuracyGate(0.9))
    assert not found.verified
    assert found.keep == ()
    assert found.note.startswith("even with all 9 nodes in float the gate is missed")


def test_too_many_layers_in_float_are_no_int8_engine(tmp_path: Path) -> None:
    found = report_of(tmp_path, precision="int8", options=INT8, accuracy=AccuracyGate(0.9999999))
    assert found.verified
    assert "the engine would no longer be an int8 engine" in found.note


def test_no_time_left_is_said_and_the_gate_s_answer_stands(tmp_path: Path) -> None:
    found = report_of(tmp_path, model=dead_channel(1, weight=1e4), precision="int8", options=INT8, deadline_s=1e-6)
    assert not found.verified
    assert "not measured: the job has 0 s left for it" in found.note


def test_the_calibrator_takes_no_names(tmp_path: Path) -> None:
    job = job_of(tmp_path, options=BuildOptions(int8=Int8Options("calibrator")), backend="tensorrt")
    with pytest.raises(EngineError, match="does not support node names"):
        diagnose(job, tmp_path, lambda _: None, elapsed_s=0.0)


def test_fp32_has_no_sensitivity(tmp_path: Path) -> None:
    golden = {"image": frames(3), "scores": np.random.default_rng(1).normal(size=(3, 2, 16, 20)).astype("f4")}
    make_job(tmp_path / "job", golden=golden)
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_GATE
    assert from_json(BuildFailure, (tmp_path / "out" / "failure.json").read_bytes()).sensitivity is None


# ── the search, on a world where damage adds up ─────────────────────────────────────────────────────────────────────


def world(damage: dict[str, float]) -> Callable[[frozenset[str]], Measurement]:
    def measure(kept: frozenset[str]) -> Measurement:
        lost = sum(value for node, value in damage.items() if node not in kept)
        return Measurement(1.0 - lost, lost, lost / 0.01, lost <= 0.01)

    return measure


def candidates(count: int) -> list[Candidate]:
    return [Candidate(f"n{index:02d}", "Conv", float(index)) for index in range(count)]


def found_in(damage: dict[str, float], count: int = 20, **changes: Any) -> tuple[Found, Budget]:
    budget = Budget(1e9, **{"trials": 80, "clock": lambda: 0.0, **changes.pop("budget", {})})
    return search(candidates(count), world(damage), budget, **changes), budget


def test_several_nodes_are_found_and_none_that_is_not_needed() -> None:
    found, budget = found_in({"n03": 0.02, "n11": 0.5, "n17": 0.009, "n05": 0.002})
    assert found.verified
    assert found.keep == ("n03", "n11", "n17")
    assert [each.node for each in found.nodes[:4]] == ["n11", "n03", "n17", "n05"]
    assert budget.used <= budget.trials


def test_a_node_that_was_not_tried_alone_is_still_found() -> None:
    found, _ = found_in({"n15": 0.5}, most_alone=4)
    assert found.alone == 4
    assert found.keep == ("n15",)
    assert found.verified


def test_when_the_trials_are_used_up_it_is_a_guess() -> None:
    found, budget = found_in({"n00": 0.5, "n09": 0.5}, budget={"trials": 5})
    assert budget.used <= 5
    assert not found.verified
    assert found.keep == ("n00",)


def test_time_bounds_it_by_the_longest_trial_so_far() -> None:
    ticks = iter(range(10_000))
    budget = Budget(12.0, clock=lambda: float(next(ticks)))
    search(candidates(50), world({"n00": 0.5, "n40": 0.5}), budget)
    assert budget.used < 8


def test_severity_is_the_share_of_what_the_gate_allows() -> None:
    gate = AccuracyGate(0.9, max_abs_error=0.5)
    assert severity_of([OutputAccuracy("a", 0.95, 0.1)], gate) == pytest.approx(0.5)
    assert severity_of([OutputAccuracy("a", 1.0, 0.1), OutputAccuracy("b", 1.0, 2.0)], gate) == pytest.approx(4.0)
    assert severity_of([OutputAccuracy("a", 0.5, 0.0)], AccuracyGate(1.0)) > 1e6


def test_noise_counts_channels_alike_and_half_precision_overflows() -> None:
    values = np.stack([np.linspace(-1, 1, 64), np.linspace(-1000, 1000, 64)])[None].astype("f4")
    step = 1000 / 127
    loud = qsnr_db(values[:, 1:], np.rint(values[:, 1:] / step) * step)
    assert loud > 30
    assert qsnr_db(values, np.rint(values / step) * step) == pytest.approx(loud / 2)
    assert qsnr_db(values, values) == CLEAN_DB
    assert half(np.array([70000.0, 1.0])).tolist() == [0.0, 1.0]


def test_a_job_of_an_older_fleet_is_read(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert from_json(BuildJob, (tmp_path / JOB_FILE).read_bytes()) == job
    old = canonical_json(dataclasses.replace(job)).replace(b'"keep_fp32_nodes":[],', b"")
    assert from_json(BuildJob, old) == job
