"""State that is fed back: built, judged and tested as a sequence; refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.codec import from_json
from runtime.contract.engine.build import (
    FAILURE_FILE,
    GOLDEN_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.contract.engine.model_front import ConstantSpec, ObservationPart, ObservationSpec, StateSpec
from runtime.engines.build.job import run
from runtime.engines.golden.golden_data import Golden, load_golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_ import BACKEND
from runtime.engines.recurrent import RecurrentState
from tests.fakes.nodes.policy_models import accumulator, gru_policy, lstm_answers, lstm_policy
from tests.unit.engines.models import CALIBRATION_DIR, make_job

OBS = (TensorSpec("obs", (1, 6)),)
ACTIONS = (TensorSpec("actions", ()),)
LSTM = (StateSpec("h_in", "h_out"), StateSpec("c_in", "c_out"))
SUM = {
    "inputs": (TensorSpec("x", (1, 2)),),
    "outputs": (TensorSpec("y", ()),),
    "state": (StateSpec("sum_in", "sum_out"),),
}


def walk(count: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 6)).astype(np.float32)


def build(folder: Path, model: Any, golden: dict[str, Any], **changes: Any) -> EngineReport:
    job = make_job(folder, model=model, golden=golden, **changes)
    frames = {
        name: np.concatenate([array] * 2) for name, array in golden.items() if name in {s.name for s in job.inputs}
    }
    np.savez(folder / CALIBRATION_DIR / "frames.npz", **frames)
    code = run(folder, folder / "out")
    assert code == 0, (folder / "out" / FAILURE_FILE).read_text()
    return from_json(EngineReport, (folder / "out" / REPORT_FILE).read_bytes())


def refused(folder: Path, model: Any, golden: dict[str, Any], **changes: Any) -> tuple[str, str]:
    make_job(folder, model=model, golden=golden, **changes)
    assert run(folder, folder / "out") != 0
    said = json.loads((folder / "out" / FAILURE_FILE).read_text())
    return said["kind"], said["message"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_recurrent_policy_answers_a_sequence_as_numpy_does(tmp_path: Path, precision: str) -> None:
    options = BuildOptions(int8=Int8Options()) if precision == "int8" else BuildOptions()
    built = build(
        tmp_path / "job", lstm_policy(), {"obs": walk(24)}, inputs=OBS, outputs=ACTIONS, state=LSTM,
        precision=precision, options=options, accuracy=AccuracyGate(0.99),
    )  # fmt: skip
    assert [item.output for item in built.accuracy] == ["actions", "h_out", "c_out"]
    assert [(spec.input, spec.kept, spec.shape) for spec in built.identity.state] == [
        ("h_in", "h_out", (1, 1, 8)),
        ("c_in", "c_out", (1, 1, 8)),
    ]
    runner = BACKEND.load(tmp_path / "job" / "out")
    answers = np.concatenate([each["actions"] for each in run_golden(runner, Golden({"obs": walk(24)}, {}))])
    right = lstm_answers(walk(24))
    assert np.abs(answers - right).max() <= {"fp32": 1e-5, "fp16": 0.02, "int8": 0.2}[precision]
    assert np.abs(right[-1] - lstm_answers(walk(24)[-1:])[0]).max() > 0.1, "the last answer depends on what was before"
    assert self_test(runner, built.identity, tmp_path / "job" / "out" / GOLDEN_FILE).passed
    assert all(not runner.inputs[name].any() for name in ("h_in", "c_in")), "the test leaves nothing behind"


def test_a_gru_is_built_too(tmp_path: Path) -> None:
    state = (StateSpec("h_in", "h_out"),)
    built = build(tmp_path, gru_policy(), {"obs": walk(12)}, inputs=OBS, outputs=ACTIONS, state=state)
    assert max(item.relative_error or 0.0 for item in built.accuracy) < 1e-5


def test_golden_frames_are_one_sequence_and_a_robot_that_forgets_fails_its_test(tmp_path: Path) -> None:
    ones = np.ones((9, 2), np.float32)
    built = build(tmp_path, accumulator(), {"x": ones}, **SUM)
    folder = tmp_path / "out"
    golden = load_golden(folder / GOLDEN_FILE, built.identity.inputs, ["y", "sum_out"], state=built.identity.state)
    assert [row[0] for row in golden.expected["y"]] == [2.0 * count for count in range(1, 10)]
    runner = BACKEND.load(folder)
    forgets = replace(built.identity, state=())
    runner.identity = forgets
    assert not self_test(runner, built.identity, folder / GOLDEN_FILE).passed


def test_a_sequence_begins_with_the_initial_value(tmp_path: Path) -> None:
    state = (StateSpec("sum_in", "sum_out", initial=10.0),)
    build(tmp_path, accumulator(), {"x": np.ones((8, 2), np.float32)}, **{**SUM, "state": state})
    answers = run_golden(BACKEND.load(tmp_path / "out"), Golden({"x": np.ones((2, 2), np.float32)}, {}))
    assert [each["y"][0, 0] for each in answers] == [22.0, 24.0]


def test_the_golden_file_may_say_what_is_right(tmp_path: Path) -> None:
    x = np.ones((8, 2), np.float32)
    right = {"x": x, "y": np.cumsum(x, axis=0) * 2}
    assert build(tmp_path / "right", accumulator(), right, **SUM).golden_accuracy[0].max_abs_error == 0.0
    kind, said = refused(tmp_path / "wrong", accumulator(), {"x": x, "y": right["y"] * [1, -1]}, **SUM)
    assert (kind, "against the golden data" in said) == ("accuracy", True)


def test_too_short_a_sequence_proves_nothing(tmp_path: Path) -> None:
    kind, said = refused(tmp_path, accumulator(), {"x": np.ones((7, 2), np.float32)}, **SUM)
    assert kind == "golden"
    assert said.startswith("7 golden frames, and the model keeps state: at least 8 are needed")


def test_what_is_not_finite_is_never_fed_back(tmp_path: Path) -> None:
    huge = np.full((8, 2), 3e38, np.float32)
    kind, said = refused(tmp_path, accumulator(), {"x": huge}, **SUM)
    assert (kind, "not finite" in said) == ("bad-model", True)
    buffers = {"s": np.ones((1, 2), np.float32)}
    kept = RecurrentState((StateSpec("s", "t"),), buffers)
    assert "'t' holds values that are not finite" in kept.problem({"t": np.array([[1, np.nan]], np.float32)})
    assert "float64" in kept.problem({"t": np.ones((1, 2))})
    assert "[1, 3]" in kept.problem({"t": np.ones((1, 3), np.float32)})


WRONG = [
    ({"state": (StateSpec("sum", "sum_out"),)}, "the model has no input 'sum', which is declared a state"),
    ({"state": (StateSpec("sum_in", "sum"),)}, "output 'sum', which the model does not have: y, sum_out"),
    ({"state": (StateSpec("sum_in", "sum_out", shape=(1, 3)),)}, "is declared [1, 3], and the model has [1, 2]"),
    ({"state": (StateSpec("sum_in", tail_of="z", shape=(1, 2)),)}, "keeps the tail of 'z', which is no input"),
    ({"constants": (ConstantSpec("sr", (1.0,)),)}, "the model has no input 'sr', which is declared constant"),
    ({"constants": (ConstantSpec("sum_in", (1.0, 2.0, 3.0)),), "state": ()}, "has 3 values, and [1, 2] takes 2"),
    (
        {"observations": (ObservationSpec("obs", (1, 2), (ObservationPart("x"),)),)},
        "the model has no input 'obs', which is declared an observation",
    ),
]


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_what_the_model_does_not_have_is_refused_in_a_sentence(tmp_path: Path, changes: Any, says: str) -> None:
    kind, said = refused(tmp_path, accumulator(), {"x": np.ones((8, 2), np.float32)}, **{**SUM, **changes})
    assert (kind, says in said) == ("bad-model", True), said


def test_a_state_unlike_its_output_is_refused(tmp_path: Path) -> None:
    model = lstm_policy()
    kind, said = refused(
        tmp_path, model, {"obs": walk(8)}, inputs=OBS, outputs=ACTIONS,
        state=(StateSpec("h_in", "actions"), StateSpec("c_in", "c_out")),
    )  # fmt: skip
    assert (kind, said) == (
        "bad-model",
        "state 'h_in' is [1, 1, 8], but output 'actions' is [1, 3]: they must be alike",
    )


def test_a_state_of_open_shape_needs_one(tmp_path: Path) -> None:
    model = accumulator()
    model.graph.input[1].type.tensor_type.shape.dim[0].ClearField("dim_value")
    x = {"x": np.ones((8, 2), np.float32)}
    kind, said = refused(tmp_path / "open", model, x, **SUM)
    assert (kind, "leaves its shape open: declare its shape" in said) == ("bad-model", True)
    state = (StateSpec("sum_in", "sum_out", shape=(1, 2)),)
    assert build(tmp_path / "given", model, x, **{**SUM, "state": state}).identity.state[0].shape == (1, 2)


def test_int8_is_calibrated_with_the_states_of_a_sequence(tmp_path: Path) -> None:
    """Zeros for every state would leave a range of zero for it."""
    from runtime.engines.build.calibration_sequence import with_front
    from runtime.engines.build.job import read_job
    from runtime.engines.golden.calibration import Arrays
    from runtime.engines.graph.normalize import load_model

    make_job(tmp_path, model=accumulator(), golden={"x": np.ones((8, 2), np.float32)}, **SUM)
    job = read_job(tmp_path)
    frames = with_front(job, Arrays({"x": np.ones((8, 2), np.float32)}), load_model(tmp_path / "model.onnx"))
    assert [float(frames[index]["sum_in"][0, 0]) for index in range(8)] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_diagnosis_follows_the_sequence(tmp_path: Path) -> None:
    from runtime.engines.build.diagnose import diagnose
    from runtime.engines.build.job import read_job

    make_job(
        tmp_path, model=lstm_policy(), golden={"obs": walk(8)}, inputs=OBS, outputs=ACTIONS, state=LSTM,
        precision="int8", options=BuildOptions(int8=Int8Options()), accuracy=AccuracyGate(0.99, max_abs_error=1e-3),
    )  # fmt: skip
    np.savez(tmp_path / CALIBRATION_DIR / "frames.npz", obs=walk(16))
    found = diagnose(read_job(tmp_path), tmp_path, lambda _: None, elapsed_s=0.0)
    assert found.keep == ("actor",)


def test_the_tool_runs_frames_as_one_sequence(tmp_path: Path) -> None:
    from runtime.contract.engine.engine_tool import CompareRequest, RunRequest
    from runtime.engines.tool.compare import run as compare
    from runtime.engines.tool.frames import run as run_tool

    build(tmp_path, accumulator(), {"x": np.ones((8, 2), np.float32)}, **SUM)
    folder = str(tmp_path / "out")
    answer = run_tool(RunRequest(folder), lambda _: None)
    assert (answer.frames, answer.violation, answer.outputs[0].max) == (8, None, 16.0)
    np.savez(tmp_path / "other.npz", x=np.full((3, 2), 5, np.float32))
    assert run_tool(RunRequest(folder, input=str(tmp_path / "other.npz")), lambda _: None).outputs[0].max == 30.0
    both = compare(CompareRequest(folder, folder, run=True, seconds=0.05), lambda _: None)
    assert max(item.max_abs_error for item in both.outputs) == 0.0


def counter(kind: int, one: Any, operator: str = "Add") -> Any:
    """A state of another element type and no dimensions: ``n_out`` is what ``operator`` makes of ``n`` and ``one``."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node(operator, ["n", "one"], ["n_out"]),
        helper.make_node("Cast", ["n_out"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "as_float"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "counter",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]), helper.make_tensor_value_info("n", kind, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3]), helper.make_tensor_value_info("n_out", kind, [])],
        [helper.make_tensor("one", kind, [], [one])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("kind", "operator", "last"),
    [("INT64", "Add", 9.0), ("INT32", "Add", 9.0), ("DOUBLE", "Add", 9.0), ("BOOL", "Or", 2.0)],
)
def test_states_of_other_types_without_dimensions(tmp_path: Path, kind: str, operator: str, last: float) -> None:
    from onnx import TensorProto

    build(
        tmp_path, counter(getattr(TensorProto, kind), 1, operator), {"x": np.ones((8, 3), np.float32)},
        inputs=(TensorSpec("x", (3,)),), outputs=(TensorSpec("y", ()),), state=(StateSpec("n", "n_out"),),
    )  # fmt: skip
    runner = BACKEND.load(tmp_path / "out")
    assert runner.inputs["n"].shape == ()
    answers = run_golden(runner, Golden({"x": np.ones((8, 3), np.float32)}, {}))
    assert answers[-1]["y"].tolist() == [last] * 3
