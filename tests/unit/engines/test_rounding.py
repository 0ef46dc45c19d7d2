"""Half precision as GPUs have it, on a CPU that keeps fp32 between nodes: seen by the report and by the search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from runtime.contract.codec import from_json
from runtime.contract.engine.build import REPORT_FILE, AccuracyGate, EngineReport, TensorSpec
from runtime.engines.build.diagnose import diagnose
from runtime.engines.build.job import EXIT_BUILT, run
from runtime.engines.graph.fp16 import to_fp16
from runtime.engines.graph.rounding import rounded
from runtime.engines.onnxruntime_.session import open_session
from tests.unit.engines.models import make_job, model_of

GENERATOR = np.random.default_rng(7)
FIRST = (GENERATOR.normal(size=(16, 64)) * 400).astype("f4")
LAST = (GENERATOR.normal(size=(64, 4)) / 8).astype("f4")
FRAMES = GENERATOR.uniform(-1, 1, (4, 16)).astype("f4")


def normalising() -> ModelProto:
    """A layer norm written by hand over values of some hundreds: their squares are beyond 65504."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], "into"),
        helper.make_node("ReduceMean", ["h"], ["mean"], "mean", axes=[-1]),
        helper.make_node("Sub", ["h", "mean"], ["d"], "off"),
        helper.make_node("Pow", ["d", "two"], ["square"], "square"),
        helper.make_node("ReduceMean", ["square"], ["variance"], "variance", axes=[-1]),
        helper.make_node("Sqrt", ["variance"], ["deviation"], "deviation"),
        helper.make_node("Div", ["d", "deviation"], ["normal"], "normal"),
        helper.make_node("MatMul", ["normal", "last"], ["y"], "out"),
    ]
    return model_of(nodes, {"x": [1, 16]}, ["y"], {"first": FIRST, "last": LAST, "two": np.array(2, "f4")})


def test_every_node_is_rounded_as_numpy_rounds() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["p"], "multiply"),
        helper.make_node("Add", ["p", "b"], ["y"], "add"),
    ]
    weights = {"a": np.array([3.14159], "f4"), "b": np.array([1000.7], "f4")}
    half = to_fp16(model_of(nodes, {"x": [1, 16]}, ["y"], weights))
    found = open_session(rounded(half).SerializeToString(), optimize=False).run(None, {"x": FRAMES[:1]})[0]
    wanted = FRAMES[:1].astype(np.float16) * weights["a"].astype(np.float16) + weights["b"].astype(np.float16)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    kept = open_session(half.SerializeToString()).run(None, {"x": FRAMES[:1]})[0]
    assert not np.array_equal(kept, wanted.astype(np.float32)), "this CPU rounds by itself: the test shows nothing"


def test_an_overflow_between_nodes_is_said_and_found(tmp_path: Path) -> None:
    job = make_job(
        tmp_path / "job", model=normalising(), golden={"x": FRAMES}, inputs=(TensorSpec("x", (1, 16)),),
        outputs=(TensorSpec("y", ()),), precision="fp16", accuracy=AccuracyGate(0.999),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_BUILT  # the device's own engine is right
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    (note,) = [note for note in report.notes if "as GPUs have it" in note]
    assert "would miss its gate: " in note
    found = diagnose(job, tmp_path / "job", lambda _: None, elapsed_s=0.0)
    assert found.verified
    assert "square" in found.keep
    assert "into" not in found.keep
