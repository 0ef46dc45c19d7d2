from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import EngineGateError
from fleet.manifest.load import load_manifest
from fleet.publish.gates import check_gates, violations
from fleet.resolve.desired import EngineSpec
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from runtime.contract.engine.accuracy_gate import NOT_A_NUMBER_COSINE, NOT_A_NUMBER_ERROR
from runtime.contract.engine.build import AccuracyGate, EngineIdentity, EngineReport, OutputAccuracy, Percentiles
from runtime.contract.engine.task_metric import MetricGate, TaskMetric
from tests.fakes.fleet_folder import write_fleet


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    desired = resolve(load_manifest(write_fleet(tmp_path)), recipe_for)
    found = next(engine for engine in desired.engines.values() if engine.precision == "fp16")
    gate = AccuracyGate(min_cosine=0.99, max_abs_error=0.1)
    return replace(found, job=replace(found.job, accuracy=gate, max_latency_p99_ms=50.0))


def report_of(spec: EngineSpec, *, cosine: float = 0.999, error: float = 0.01, p99: float = 10.0) -> EngineReport:
    job = spec.job
    identity = EngineIdentity(
        job.key, job.model, job.backend, job.precision, "engine.onnx", "0" * 64, 1, job.device, (), (), job.accuracy
    )
    accuracy = (OutputAccuracy("scores", cosine, error),)
    return EngineReport(identity, {}, {}, accuracy, (), Percentiles(1.0, 2.0, p99, 1.5, 100), 1, 1.0, 1.0)


def test_a_good_engine_passes(spec: EngineSpec) -> None:
    check_gates({spec.key: spec}, {spec.key: report_of(spec)})


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"cosine": 0.9}, "cosine 0.900 < 0.990"),
        ({"cosine": float("nan")}, "cosine nan < 0.990"),
        ({"error": 0.5}, "largest error 0.500 > 0.100"),
        ({"cosine": NOT_A_NUMBER_COSINE, "error": NOT_A_NUMBER_ERROR}, "holds values that are not finite"),
        ({"error": float("nan")}, "holds values that are not finite"),
        ({"p99": 51.0}, "p99 51.0 ms > 50.0 ms"),
    ],
)
def test_each_gate_says_no_with_both_numbers(spec: EngineSpec, measured: dict[str, float], told: str) -> None:
    with pytest.raises(EngineGateError, match=told) as caught:
        check_gates({spec.key: spec}, {spec.key: report_of(spec, **measured)})
    assert caught.value.exit_code == 4
    assert "detector fp16 for sim-x86" in caught.value.message


def test_an_output_three_times_too_small_is_refused_though_its_cosine_is_1(spec: EngineSpec) -> None:
    item = OutputAccuracy("scores", 1.0, 0.05, relative_error=2 / 3, norm_ratio=1 / 3)
    (found,) = violations(spec, replace(report_of(spec), accuracy=(item,)))
    told = "relative error 0.667 > 0.212 on output 'scores' (its norm is 0.333 of the reference's), against fp32"
    assert found.what == told


def test_golden_answers_are_held_against_the_gate_too(spec: EngineSpec) -> None:
    report = replace(report_of(spec), golden_accuracy=(OutputAccuracy("scores", 0.2, 0.01),))
    assert "golden data's expected outputs" in violations(spec, report)[0].what


def test_a_metric_is_held_against_today_s_limit(spec: EngineSpec) -> None:
    asked = replace(spec, job=replace(spec.job, metric=MetricGate("top1", "scores", 0.95)))
    report = replace(report_of(spec), metric=TaskMetric("top1", "scores", 0.96, 0.96, 100, 0.9))
    assert violations(asked, report) == ()
    (found,) = violations(asked, replace(report, metric=TaskMetric("top1", "scores", 0.96, 0.9, 100, 0.9)))
    told = "top1 0.9 < 0.95 on output 'scores' over 100 golden frames, against the golden data's expected outputs"
    assert found.what == told
    assert violations(asked, report_of(spec))[0].what == "its report does not hold top1 of output 'scores'"
    waived = replace(asked, job=replace(asked.job, enforce_accuracy=False))
    assert violations(waived, report_of(spec)) == ()


def test_a_waiver_covers_accuracy_but_not_latency(spec: EngineSpec) -> None:
    waived = replace(spec, job=replace(spec.job, enforce_accuracy=False))
    assert violations(waived, report_of(spec, cosine=0.1, error=9.0)) == ()
    assert len(violations(waived, report_of(spec, p99=51.0))) == 1


def test_no_gate_however_low_lets_values_through_that_are_not_finite(spec: EngineSpec) -> None:
    anything = replace(spec, job=replace(spec.job, accuracy=AccuracyGate(-1.0, max_relative_error=1e30)))
    report = report_of(spec, cosine=NOT_A_NUMBER_COSINE, error=NOT_A_NUMBER_ERROR)
    assert [each.what for each in violations(anything, report)] == [
        "output 'scores' holds values that are not finite, against fp32"
    ]
