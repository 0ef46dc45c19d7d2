"""Calibration frames: what is refused by its number, what a histogram may cost, and one default method."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from fleet.cli.commands.engine import build as build_command
from fleet.manifest.schema.model_schema import Int8Options as ManifestOptions
from runtime.contract.engine.build import DEFAULT_INT8_METHOD, Int8Options, TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.calibration import Arrays, open_calibration
from runtime.engines.graph.histogram import MOST_GROWTH, BoundedHistogram
from runtime.engines.graph.normalize import fold, freeze
from runtime.engines.graph.quantize import STYLES, Quantizer, quantize
from tests.unit.engines.models import model_of

X = TensorSpec("x", (1, 3, 8, 8))


def values(count: int = 12) -> Any:
    return np.random.default_rng(1).uniform(-1, 1, (count, *X.shape[1:])).astype("f4")


@pytest.mark.parametrize(
    ("frame", "value", "whole", "says"),
    [
        (4, np.nan, False, "frame 4 .* of input 'x' holds values that are not finite"),
        (5, -np.inf, False, "frame 5 .* holds values that are not finite"),
        (4, 1e4, False, r"frame 4 .* reaches 1e\+04, more than 100 times the usual"),
        (0, 1e-4, True, "frame 0 .* reaches only 0.0001, less than 1/100 of the usual"),
    ],
)
def test_a_frame_that_gives_no_range_is_refused_by_its_number(
    tmp_path: Path, frame: int, value: float, whole: bool, says: str
) -> None:
    array = values()
    array[frame] = value if whole else array[frame]
    array[frame, 0, 0, 0] = value
    np.savez(tmp_path / "frames.npz", x=array)
    with pytest.raises(EngineError, match=says) as caught:
        open_calibration(tmp_path / "frames.npz", [X])
    assert caught.value.kind == "calibration"


def test_a_frame_of_zeros_is_a_frame(tmp_path: Path) -> None:
    array = values()
    array[0] = 0
    np.savez(tmp_path / "frames.npz", x=array)
    assert len(open_calibration(tmp_path, [X])) == 12


def calibrated(method: str, frames: Any, **changes: Any) -> Quantizer:
    rng = np.random.default_rng(3)
    weights = {"w": rng.normal(size=(2, 3, 1, 1)).astype("f4")}
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"x": list(X.shape)}, ["y"], weights)
    frozen = fold(freeze(model, (X,), [TensorSpec("y", ())]))
    style = STYLES["onnxruntime"]
    options = Int8Options(method)
    return Quantizer(frozen, (X,), Arrays({"x": frames}), options, style=style, progress=lambda _: None, **changes)


@pytest.mark.parametrize("method", ["entropy", "percentile", "minmax"])
@pytest.mark.parametrize("first", [1e-6, 0.0])
def test_a_dim_first_frame_costs_no_more_bins_than_any_other(
    monkeypatch: pytest.MonkeyPatch, method: str, first: float
) -> None:
    made: list[BoundedHistogram] = []
    keep = BoundedHistogram.__init__

    def remember(self: BoundedHistogram, **options: Any) -> None:
        made.append(self)
        keep(self, **options)

    monkeypatch.setattr(BoundedHistogram, "__init__", remember)
    frames = values()
    frames[0] = first
    low, high = (np.ravel(each)[0] for each in calibrated(method, frames)._ranges["x"].range_value)
    assert -1.05 <= float(low) <= -0.9
    assert 0.9 <= float(high) <= 1.05
    for collector in made:
        for entry in collector.histogram_dict.values():
            assert len(entry[0]) <= collector.num_bins * MOST_GROWTH + 2
            assert int(np.sum(entry[0])) in {frames.size, frames.size // 3 * 2}, "no value is lost"
    assert bool(made) == (method != "minmax")


def test_calibration_ends_at_its_deadline_and_says_how_far_it_came() -> None:
    with pytest.raises(EngineError, match="calibration reached frame 1 of 12 in 0 s"):
        calibrated("minmax", values(), seconds=0.0)


@pytest.mark.parametrize("method", ["entropy", "percentile", "minmax"])
def test_a_tensor_that_is_not_finite_is_named(method: str) -> None:
    weights = {"w": np.ones((2, 3, 1, 1), "f4"), "big": np.array(3e38, "f4")}
    node = helper.make_node
    nodes = [node("Conv", ["x", "w"], ["c"], "conv"), node("Mul", ["c", "big"], ["y"], "mul")]
    model = model_of(nodes, {"x": list(X.shape)}, ["y"], weights)
    frozen = fold(freeze(model, (X,), [TensorSpec("y", ())]))
    frames = Arrays({"x": np.full((8, *X.shape[1:]), 0.9, "f4")})
    with pytest.raises(EngineError, match="tensor 'y' is not finite on a calibration frame"):
        quantize(frozen, (X,), frames, Int8Options(method), style=STYLES["onnxruntime"], progress=lambda _: None)


def test_there_is_one_default_method() -> None:
    default = inspect.signature(build_command.run).parameters["method"].default
    assert default.value == ManifestOptions(calibration="x").method == Int8Options().method == DEFAULT_INT8_METHOD
