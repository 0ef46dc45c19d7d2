"""Models that are quantized already: recognised, taken with their own scales, or refused in a sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from runtime.contract.codec import from_json
from runtime.contract.engine.build import (
    FAILURE_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildFailure,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, run
from tests.unit.engines.models import TENSOR, conv_net, make_job

SPEC = TensorSpec("image", (1, 3, *TENSOR))
FRAMES = np.random.default_rng(5).uniform(-1, 1, (12, 3, *TENSOR)).astype("f4")


class Frames(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter(FRAMES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        frame = next(self._left, None)
        return None if frame is None else {"image": frame[None]}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("quantized")
    logging.getLogger().setLevel(logging.ERROR)
    onnx.save(conv_net(dynamic=False), str(folder / "float.onnx"))
    for name, kind in (("pairs", QuantFormat.QDQ), ("operators", QuantFormat.QOperator)):
        quantize_static(folder / "float.onnx", folder / name, Frames(), quant_format=kind, weight_type=QuantType.QInt8)
    quantize_dynamic(folder / "float.onnx", folder / "dynamic")
    return {name: (folder / name).read_bytes() for name in ("pairs", "operators", "dynamic")}


def build(folder: Path, model: bytes, precision: str, options: Int8Options | None = None) -> int:
    make_job(
        folder / "job",
        model=model,
        golden={"image": FRAMES[:3]},
        inputs=(SPEC,),
        precision=precision,
        accuracy=AccuracyGate(0.99),
        options=BuildOptions(options or (Int8Options() if precision == "int8" else None)),
    )
    if precision == "int8":
        (folder / "job" / "calibration" / "frames.npz").unlink()  # nothing to calibrate with, and nothing to calibrate
    return run(folder / "job", folder / "out")


def failure(folder: Path) -> BuildFailure:
    return from_json(BuildFailure, (folder / "out" / FAILURE_FILE).read_bytes())


def test_pairs_are_an_int8_engine_with_their_own_scales(tmp_path: Path, quantized: dict[str, bytes]) -> None:
    assert build(tmp_path, quantized["pairs"], "int8") == EXIT_BUILT
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert "the source model is quantized already" in " ".join(report.notes)
    assert report.extra["main_layer_precisions"]["int8"] > 0
    made, given = onnx.load(tmp_path / "out" / "engine.onnx"), onnx.load_from_string(quantized["pairs"])
    scales = {t.name: t.raw_data for t in given.graph.initializer if t.name.endswith("_scale")}
    assert scales
    assert {t.name: t.raw_data for t in made.graph.initializer if t.name in scales} == scales


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_int8_graph_is_not_called_otherwise(tmp_path: Path, quantized: dict[str, bytes], precision: str) -> None:
    assert build(tmp_path, quantized["pairs"], precision) == EXIT_FAILED
    said = failure(tmp_path)
    assert said.kind == "unsupported"
    assert f"an engine called {precision} would answer like an int8 one" in said.message
    assert "declare precision int8" in said.hint


@pytest.mark.parametrize("kind", ["operators", "dynamic"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_integer_operators_are_refused(tmp_path: Path, quantized: dict[str, bytes], kind: str, precision: str) -> None:
    assert build(tmp_path, quantized[kind], precision) == EXIT_FAILED
    said = failure(tmp_path)
    assert "quantized already, by" in said.message
    assert "QuantFormat.QDQ" in said.hint


def test_what_is_chosen_already_cannot_be_chosen_again(tmp_path: Path, quantized: dict[str, bytes]) -> None:
    assert build(tmp_path, quantized["pairs"], "int8", Int8Options(exclude_ops=("Conv",))) == EXIT_FAILED
    assert "the model carries its own scales" in failure(tmp_path).message


def test_other_integers_than_eight_bits_are_refused(tmp_path: Path, quantized: dict[str, bytes]) -> None:
    model = onnx.load_from_string(quantized["pairs"])
    model.opset_import[0].version = 21
    model.ir_version = 10
    zero = next(node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear")
    tensor = next(each for each in model.graph.initializer if each.name == zero)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.int16), zero))
    assert build(tmp_path, model.SerializeToString(), "int8") == EXIT_FAILED
    assert "is quantized to int16" in failure(tmp_path).message
