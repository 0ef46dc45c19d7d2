"""TensorRT engines whose outputs have as many rows as are found, and whose plugins ONNX Runtime does not have."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    FAILURE_FILE,
    JOB_FILE,
    REPORT_FILE,
    BuildFailure,
    EngineReport,
    TensorSpec,
)
from tests.gpu.site import NETWORKS, make_job, options_for
from tests.unit.engines.trt.test_whole_road import python, run

COUNT = 6
X = TensorSpec("x", (1, COUNT))
BOXES = np.array([[[i * 20, 0, i * 20 + 10, 10] for i in range(COUNT)]], np.float32)
SCORES = np.array([[0.1, 0.9, 0.2, 0.8, 0.7, 0.3], [0.1, 0.2, 0.1, 0.9, 0.1, 0.1]], np.float32)
"""Two frames: three candidates over a half, and one."""


def graph_of(nodes: list[Any], outputs: list[Any], **weights: Any) -> ModelProto:
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in {"boxes": BOXES, **weights}.items()]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, COUNT])
    graph = helper.make_graph(nodes, "g", [value], outputs, held)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def suppressing() -> ModelProto:
    """x: scores of six boxes apart; y: those over a half, their numbers in ``found``."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["scores"], "scores"),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["found"], "nms"),
        helper.make_node("Gather", ["found", "two"], ["at"], "at", axis=1),
        helper.make_node("Squeeze", ["at", "one"], ["ids"], "ids"),
        helper.make_node("Squeeze", ["boxes", "zero"], ["flat"], "flat"),
        helper.make_node("Gather", ["flat", "ids"], ["y"], "y", axis=0),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("found", TensorProto.INT64, ["n", 3]),
    ]
    limits = {"most": np.array([6], np.int64), "iou": np.array([0.5], "f4"), "least": np.array([0.5], "f4")}
    axes = {"zero": np.array([0], np.int64), "one": np.array([1], np.int64), "two": np.array([2], np.int64)}
    return graph_of(nodes, outputs, **limits, **axes)


def plugin() -> ModelProto:
    """x: scores of six boxes of one class, selected by TensorRT's own plugin."""
    outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "two"], ["scores"], "scores"),
        helper.make_node(
            "EfficientNMS_TRT", ["boxes", "scores"], outputs, "nms", domain="TRT", max_output_boxes=4,
            score_threshold=0.5, iou_threshold=0.5, background_class=-1, box_coding=0, score_activation=0,
        ),
    ]  # fmt: skip
    kinds = (TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32)
    shapes = ([1, 1], [1, 4, 4], [1, 4], [1, 4])
    values = [helper.make_tensor_value_info(*each) for each in zip(outputs, kinds, shapes, strict=True)]
    return graph_of(nodes, values, two=np.array([2], np.int64))


def prepare(folder: Path, model: ModelProto, golden: dict[str, np.ndarray]) -> Path:
    job = make_job(folder / "job", NETWORKS["tiny"], "fp32", options_for("fp32", 3))
    (folder / "job" / "model.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "job" / "golden.npz", **golden)
    from runtime.engines.store import sha256_of

    job = dataclasses.replace(
        job,
        bench_seconds=0.02,
        inputs=(X,),
        outputs=tuple(TensorSpec(value.name, ()) for value in model.graph.output),
        onnx_sha256=sha256_of(folder / "job" / "model.onnx"),
    )
    (folder / "job" / JOB_FILE).write_bytes(canonical_json(job))
    return folder / "job"


LOAD = """
import json, sys
from pathlib import Path
import numpy as np
from runtime.engines.tensorrt_.backend import TensorRtBackend
from runtime.engines.golden.selftest import self_test
runner = TensorRtBackend().load(Path(sys.argv[1]))
counts = []
for scores in json.loads(sys.argv[2]):
    runner.inputs["x"][...] = np.array([scores], np.float32)
    found = runner.infer()
    counts.append([found["y"].tolist(), found["found"][:, 2].tolist()])
tested = self_test(runner, runner.identity, Path(sys.argv[1]) / "golden.npz")
runner.close()
print(json.dumps([counts, tested.passed, tested.message]))
"""


def test_another_count_of_rows_fails_neither_build_nor_frame(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(prepare(tmp_path, suppressing(), {"x": SCORES}), out)
    assert done.returncode == 0, done.stdout + done.stderr
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    assert [spec.shape for spec in report.identity.outputs] == [(-1, 4), (-1, 3)]
    assert [item.matched_share for item in report.accuracy] == [1.0, 1.0]
    frames = [*SCORES.tolist(), [0.0] * COUNT, [0.9] * COUNT]
    asked = python(["-c", LOAD, str(out), json.dumps(frames)])
    assert asked.returncode == 0, asked.stderr
    counts, passed, message = json.loads(asked.stdout.splitlines()[-1])
    assert passed, message
    assert [sorted(ids) for _, ids in counts] == [[1, 3, 4], [3], [], [0, 1, 2, 3, 4, 5]]
    for boxes, ids in counts:
        assert boxes == [BOXES[0, index].tolist() for index in ids]


def test_rows_without_a_largest_count_are_refused(tmp_path: Path) -> None:
    done = run(prepare(tmp_path, suppressing(), {"x": SCORES}), tmp_path / "out", FAKE_TENSORRT="no-bound")
    assert done.returncode == 3, done.stdout
    said = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert (said.kind, "has no largest size" in said.message) == ("unsupported", True)


def answers() -> dict[str, np.ndarray]:
    """What a right model answers, by NumPy: the four best, best first."""
    order = np.argsort(-SCORES, axis=1, kind="stable")[:, :4]
    return {
        "num_dets": (SCORES > 0.5).sum(axis=1, keepdims=True).astype(np.int32),
        "det_boxes": np.stack([BOXES[0][index] for index in order]),
        "det_scores": np.take_along_axis(SCORES, order, 1),
        "det_classes": np.zeros((2, 4), np.int32),
    }


@pytest.mark.parametrize(("given", "kind"), [("right", ""), ("wrong", "accuracy"), ("none", "golden")])
def test_where_only_tensorrt_runs_the_model_golden_answers_are_the_reference(
    given: str, kind: str, tmp_path: Path
) -> None:
    right = answers()
    if given == "wrong":
        right["det_boxes"] = right["det_boxes"][:, ::-1]
    golden = {"x": SCORES, **(right if given != "none" else {})}
    job = prepare(tmp_path, plugin(), golden)
    done = run(job, tmp_path / "out")
    if not kind:
        assert done.returncode == 0, done.stdout + done.stderr
        report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
        assert any("the golden data's expected outputs are the reference" in note for note in report.notes)
        assert [item.equal_share for item in report.accuracy] == [1.0, None, None, 1.0]
    else:
        said = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
        assert said.kind == kind, said.message
