"""Observations composed in the graph, against NumPy: what a legged robot's policy sees, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.engine.build import BuildOptions, TensorSpec
from runtime.contract.engine.model_front import ObservationPart, ObservationSpec, StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.golden_data import Golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.graph.front import Front
from runtime.engines.graph.normalize import load_source
from runtime.engines.graph.observations import compose_model
from runtime.engines.graph.transform import transform
from runtime.engines.onnxruntime_ import BACKEND
from tests.fakes.nodes.legged_robot import INPUTS, LEGGED, STATE, messages, observed
from tests.fakes.nodes.policy_models import ACTIONS, mlp_answer, mlp_policy, mlp_weights
from tests.unit.engines.models import make_job
from tests.unit.engines.test_state import build, refused
from tests.unit.examples import examples


@pytest.mark.parametrize(("precision", "off"), [("fp32", 2e-5), ("fp16", 0.02)])
def test_a_policy_of_48_observations_acts_as_numpy_says(tmp_path: Path, precision: str, off: float) -> None:
    made = {"inputs": INPUTS, "outputs": (TensorSpec("actions", ()),), "state": STATE, "observations": (LEGGED,)}
    built = build(tmp_path, mlp_policy(), messages(10), precision=precision, **made)
    assert [spec.name for spec in built.identity.inputs] == [*(spec.name for spec in INPUTS), "previous"]
    frames, weights, previous = messages(20, seed=8), mlp_weights(), np.zeros(ACTIONS)
    answers = run_golden(BACKEND.load(tmp_path / "out"), Golden(frames, {}))
    for index, answer in enumerate(answers):
        right = mlp_answer(observed({name: array[index] for name, array in frames.items()}, previous), weights)[0]
        previous = answer["actions"][0]
        assert np.abs(previous - right).max() <= off, f"frame {index}"


def composed(inputs: Any, spec: ObservationSpec, feeds: dict[str, Any], state: Any = ()) -> list[np.ndarray]:
    model = compose_model(inputs, (spec,), state)
    assert model is not None
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value, np.float32) for name, value in feeds.items()})


@pytest.mark.parametrize(
    ("quaternion", "gravity"),
    [
        ([0, 0, 0, 1], [0, 0, -1]),
        ([0, 0, 0, -2], [0, 0, -1]),
        ([1, 0, 0, 0], [0, 0, 1]),
        ([np.sqrt(0.5), 0, 0, np.sqrt(0.5)], [0, -1, 0]),
        ([0, np.sqrt(0.5), 0, np.sqrt(0.5)], [1, 0, 0]),
        ([0, 0, np.sqrt(0.5), np.sqrt(0.5)], [0, 0, -1]),
    ],
)
def test_gravity_in_the_bodys_frame(quaternion: list[float], gravity: list[float]) -> None:
    """Rolled by 90 degrees to the right, the left side (y) points up; pitched nose down, x points down."""
    spec = ObservationSpec("g", (1, 3), (ObservationPart("q", projected_gravity=True),))
    [found] = composed((TensorSpec("q", (1, 4)),), spec, {"q": [quaternion]})
    assert np.allclose(found[0], gravity, atol=1e-6)


numbers = st.floats(-100, 100, width=32)


@examples(20)
@given(st.lists(numbers, min_size=5, max_size=5), st.data())
def test_a_part_is_chosen_then_less_then_clipped_then_scaled(values: list[float], data: st.DataObject) -> None:
    at = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=8)))
    several = st.one_of(st.just(1), st.just(len(at))).flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n))
    less, scale = (tuple(data.draw(st.one_of(st.just([]), several))) for _ in range(2))
    clip = data.draw(st.sampled_from([(), (-10.0, 20.0)]))
    part = ObservationPart("x", at, subtract=less, clip=clip, scale=scale)
    spec = ObservationSpec("o", (1, len(at) + 1), (part, ObservationPart(constant=(7.0,))), clip=(-500.0, 500.0))
    [found] = composed((TensorSpec("x", (1, 5)),), spec, {"x": [values]})
    right = np.asarray(values, np.float32)[list(at)] - (np.asarray(less) if less else 0.0)
    right = np.clip(right, *clip) if clip else right
    right = np.clip(np.append(right * (np.asarray(scale) if scale else 1.0), 7.0), -500, 500)
    assert np.allclose(found[0], right, rtol=1e-5, atol=1e-4)


def test_the_tail_of_an_observation_is_its_history() -> None:
    """Three frames of two values, oldest first: what frame-stacked policies take."""
    inputs = (TensorSpec("x", (1, 2)), TensorSpec("history", (1, 4)))
    spec = ObservationSpec("o", (1, 6), (ObservationPart("history"), ObservationPart("x")))
    state = (StateSpec("history", tail_of="o", shape=(1, 4)),)
    stacked, kept = composed(inputs, spec, {"x": [[5, 6]], "history": [[1, 2, 3, 4]]}, state)
    assert stacked.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert kept.tolist() == [[3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (ObservationPart("lidar"), "it is made of 'lidar', but there is no such input"),
        (ObservationPart("x", (5,)), "it takes value 5 of 'x', which has 5"),
        (ObservationPart("x", (0, 1), projected_gravity=True), "needs a quaternion, and 'x' gives 2 values"),
        (ObservationPart("x", scale=(1.0, 2.0)), "2 numbers are given for 5 values"),
        (ObservationPart("x", (0,)), "its parts are 1 values, and [1, 5] takes 5"),
    ],
)
def test_parts_that_do_not_fit_are_named(part: ObservationPart, says: str) -> None:
    with pytest.raises(EngineError, match="'o': ") as caught:
        composed((TensorSpec("x", (1, 5)),), ObservationSpec("o", (1, 5), (part,)), {})
    assert says in caught.value.message


def test_a_name_that_the_model_uses_inside_is_refused(tmp_path: Path) -> None:
    """`hidden` is a tensor of the policy: an input of that name would take its place without a word."""
    spec = ObservationSpec("obs", (1, 48), (ObservationPart("hidden"),))
    kind, said = refused(
        tmp_path, mlp_policy(), {"hidden": np.ones((8, 48), np.float32)}, inputs=(TensorSpec("hidden", (1, 48)),),
        outputs=(TensorSpec("actions", ()),), observations=(spec,),
    )  # fmt: skip
    assert (kind, said.startswith("the model has a tensor 'hidden' of its own")) == ("bad-model", True)


def test_an_input_may_feed_the_model_and_an_observation(tmp_path: Path) -> None:
    from tests.fakes.nodes.policy_models import accumulator

    spec = ObservationSpec("sum_in", (1, 2), (ObservationPart("x", (1, 0), scale=(10.0,)),))
    build(
        tmp_path, accumulator(), {"x": np.arange(1, 17, dtype=np.float32).reshape(8, 2)},
        inputs=(TensorSpec("x", (1, 2)),), outputs=(TensorSpec("y", ()),), observations=(spec,),
    )  # fmt: skip
    [answer] = run_golden(BACKEND.load(tmp_path / "out"), Golden({"x": np.array([[1, 2]], np.float32)}, {}))
    assert answer["y"].tolist() == [[2 * (1 + 20), 2 * (2 + 10)]]


def test_observations_stay_float32_and_tensorrt_is_told_so(tmp_path: Path) -> None:
    from runtime.engines.tensorrt_.build.graphs import _keep_fp32

    make_job(tmp_path, model=mlp_policy(), golden={})
    front = Front(state=STATE, observations=(LEGGED,))
    inputs = (*INPUTS, TensorSpec("previous", (1, ACTIONS)))
    graph = transform(
        load_source(tmp_path / "model.onnx"), inputs, (TensorSpec("actions", ()),), precision="fp16",
        options=BuildOptions(), front=front,
    )  # fmt: skip
    ours = [node for node in graph.graph.node if node.name.startswith("obs/observation/")]
    assert {"Concat", "Clip", "Gather", "Mul", "Sub"} <= {node.op_type for node in ours}
    halves = {tensor.name for tensor in graph.graph.initializer if tensor.data_type == 10}
    assert halves
    assert not halves & {name for node in ours for name in node.input}
    job = make_job(tmp_path, model=mlp_policy(), golden={}, observations=(LEGGED,), state=STATE, inputs=inputs)
    assert "obs/observation/" in _keep_fp32(graph, job)
