"""What float16 does to weights is counted, judged and named, whatever the golden frames say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from runtime.contract.codec import from_json
from runtime.contract.engine.build import AccuracyGate, BuildFailure, BuildOptions, EngineReport, TensorSpec
from runtime.engines.build.job import EXIT_GATE, run
from runtime.engines.weight_loss import weight_loss
from tests.unit.engines.models import make_job, model_of

X = TensorSpec("x", (1, 4))


def scaled(constant: Any) -> ModelProto:
    """``y = tanh(x) * k / 1000 + x``: ``k`` is a weight like any other."""
    node = helper.make_node
    nodes = [
        node("Tanh", ["x"], ["t"], "tanh"),
        node("Mul", ["t", "small"], ["s"], "small_mul"),
        node("Mul", ["s", "k"], ["m"], "big_mul"),
        node("Add", ["m", "x"], ["y"], "add"),
    ]
    weights = {"k": np.asarray(constant, "f4"), "small": np.array(0.001, "f4")}
    return model_of(nodes, {"x": [1, 4]}, ["y"], weights)


def built(tmp_path: Path, code: int, constant: Any, **changes: Any) -> Any:
    golden = {"x": np.random.default_rng(1).normal(size=(3, 4)).astype("f4")}
    changes = {"accuracy": AccuracyGate(-1.0), **changes}
    make_job(
        tmp_path / "job", model=scaled(constant), golden=golden, precision="fp16", inputs=(X,),
        outputs=(TensorSpec("y", ()),), **changes,
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == code
    kind, name = (EngineReport, "report.json") if code == 0 else (BuildFailure, "failure.json")
    return from_json(kind, (tmp_path / "out" / name).read_bytes())


@pytest.mark.parametrize("constant", [[200000.0] * 4, [1e-9] * 4])
def test_a_weight_that_float16_does_not_hold_fails_and_names_its_reader(tmp_path: Path, constant: Any) -> None:
    found = built(tmp_path, EXIT_GATE, constant)
    assert found.kind == "precision"
    assert "of weight 'k'" in found.message
    assert found.hint == "keep what reads it in fp32: fp16.keep_fp32_nodes: [big_mul]"


def test_keeping_the_reader_in_fp32_is_the_way_out(tmp_path: Path) -> None:
    report = built(tmp_path, 0, [200000.0] * 4, options=BuildOptions(keep_fp32_nodes=("big_mul",)))
    assert report.extra["fp16_weights"] == {"values": 1, "clipped": 0, "masking": 0, "flushed": 0}
    assert report.accuracy[0].relative_error < 0.01


def test_what_is_cut_is_counted_in_the_report(tmp_path: Path) -> None:
    report = built(tmp_path, 0, [1.0, 60000.0, 66000.0, 1e-9])
    assert report.extra["fp16_weights"] == {"values": 5, "clipped": 1, "masking": 0, "flushed": 1}
    said = "fp16: of 5 weights 1 were cut at 65504 (0 of them stand for infinity) and 1 became 0"
    assert said in report.notes


def test_a_waiver_of_accuracy_covers_it_and_is_noted(tmp_path: Path) -> None:
    report = built(tmp_path, 0, [200000.0] * 4, enforce_accuracy=False)
    assert any(note.startswith("accuracy gate waived: fp16 float16 loses 67% of weight 'k'") for note in report.notes)


def test_what_stands_for_infinity_is_counted_and_passes() -> None:
    before = np.array([-1e9, -3.4e38, 0.0, 1.0], "f4")
    found = weight_loss("mask", ["add"], before, np.clip(before, -65504, 65504).astype(np.float16))
    assert (found.clipped, found.masking, found.flushed, found.lost) == (2, 2, 0, 0.0)


def test_an_epsilon_is_noted_and_not_refused() -> None:
    assert weight_loss("epsilon", ["max"], np.array(1e-12, "f4"), np.array(0, np.float16)).is_epsilon
    assert not weight_loss("k", ["mul"], np.array(2e5, "f4"), np.array(65504, np.float16)).is_epsilon
