"""Precisions are real, and the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from runtime.contract.engine.build import BuildOptions, Int8Options, TensorSpec
from runtime.engines.build.fp32_reference import Reference
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import compare
from runtime.engines.golden.calibration import Arrays, open_calibration
from runtime.engines.graph.fp16 import to_fp16
from runtime.engines.graph.normalize import fold, freeze, serialize
from runtime.engines.graph.precision import count_precisions
from runtime.engines.graph.quantize import Style, quantize
from runtime.engines.graph.transform import transform
from runtime.engines.onnxruntime_.probe_run import trial_run
from tests.unit.engines.models import FRAME, IMAGE, SCORES, conv_net, frames, make_job, model_of

CALIBRATION = Arrays({"image": frames(16, seed=2)})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(conv_net(), str(path))
    return path


def build(
    source: Path, precision: str, *, options: BuildOptions | None = None, style: Style | None = None
) -> ModelProto:
    return transform(
        source,
        (IMAGE,),
        (SCORES,),
        precision=precision,
        options=options or BuildOptions(),
        calibration=CALIBRATION if precision == "int8" else None,
        style=style,
    )


def run(model: ModelProto, frame: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"image": frame})[0]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("fp16", 0.99999), ("int8", 0.999)])
def test_every_precision_answers_as_the_source_does(source: Path, precision: str, least: float) -> None:
    model = build(source, precision)
    onnx.checker.check_model(model, full_check=True)
    truth = Reference(source, (IMAGE,), (SCORES,))
    for frame in frames(4, seed=9):
        assert compare(run(model, frame[None]), truth({"image": frame[None]})["scores"]).cosine > least


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_input_is_bytes_and_output_is_float32_at_every_precision(source: Path, precision: str) -> None:
    graph = build(source, precision).graph
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, *FRAME, 3]
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def weights(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_fp16_weights_are_half_and_preprocessing_is_not(source: Path) -> None:
    found = weights(build(source, "fp16"))
    kernels = [array for array in found.values() if array.ndim == 4 and array.shape[2:] == (3, 3)]
    assert len(kernels) == 4
    assert {array.dtype for array in kernels} == {np.dtype("float16")}
    assert {a.dtype for name, a in found.items() if name.endswith(("/scale", "/offset"))} == {np.dtype("float32")}


def test_fp16_keeps_named_operators_in_fp32(source: Path) -> None:
    found = weights(build(source, "fp16", options=BuildOptions(keep_fp32_ops=("Conv",))))
    assert not [name for name, array in found.items() if array.dtype == np.float16]


def test_fp16_casts_a_tensor_once_and_leaves_what_has_no_half_form() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Exp", ["r"], ["a"]),
        helper.make_node("Sqrt", ["r"], ["b"]),
        helper.make_node("Resize", ["a", "", "scales"], ["big"], mode="nearest"),
        helper.make_node("Add", ["big", "w"], ["s"]),
        helper.make_node("CumSum", ["b", "axis"], ["y"]),
        helper.make_node("TopK", ["s", "k"], ["z", "index"]),
    ]
    constants = {
        "scales": np.array([1, 2], "f4"),
        "w": np.array([1e9, -1e9, 1e-3, 2.0] * 2, "f4"),
        "axis": np.array(1),
        "k": np.array([3]),
    }
    model = model_of(nodes, {"x": [1, 4]}, ["y", "z"], constants)
    model = freeze(model, [TensorSpec("x", (1, 4))], [TensorSpec("y", ()), TensorSpec("z", ())])
    half = to_fp16(model, keep_fp32_ops=("Exp", "Sqrt"))
    onnx.checker.check_model(half, full_check=True)
    casts = [(node.input[0], node.attribute[0].i) for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts))
    assert casts.count(("r", TensorProto.FLOAT)) == 1
    assert weights(half)["scales"].dtype == np.float32
    clipped = weights(half)["w/fp16"]
    assert clipped.dtype == np.float16
    assert np.isfinite(clipped).all()
    assert clipped.max() == np.float16(65504)
    session = ort.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([[0.1, 0.2, 0.3, 0.4]], "f4")
    y, z = session.run(None, {"x": x})
    np.testing.assert_allclose(y, np.cumsum(np.sqrt(x), 1), atol=2e-3)
    assert z.dtype == np.float32


def quantized_weights(model: ModelProto) -> list[np.ndarray]:
    found = weights(model)
    return [found[n.input[0]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in found]


def test_int8_weights_have_a_scale_per_channel(source: Path) -> None:
    model = build(source, "int8")
    found = weights(model)
    scales = [
        found[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in found and found[node.input[0]].dtype == np.int8
    ]
    assert [scale.shape for scale in scales] == [(8,), (8,), (8,), (2,)]


def test_int8_leaves_the_preprocessing_in_float(source: Path) -> None:
    nodes = build(source, "int8").graph.node
    assert [node.op_type for node in nodes[:6]] == ["Cast", "Transpose", "Gather", "Resize", "Mul", "Add"]
    readers = {node.op_type for node in nodes if "image/preprocess/tensor" in node.input}
    assert nodes[5].output[0] == "image/preprocess/tensor"
    assert readers == {"QuantizeLinear"}


def test_seven_bit_weights_stay_within_64(source: Path) -> None:
    full = [w for w in quantized_weights(build(source, "int8")) if w.dtype == np.int8]
    short = [
        w for w in quantized_weights(build(source, "int8", style=Style(seven_bit_weights=True))) if w.dtype == np.int8
    ]
    assert max(int(np.abs(w.astype(int)).max()) for w in full) > 100
    assert max(int(np.abs(w.astype(int)).max()) for w in short) <= 64


def test_symmetric_activations_have_zero_point_zero(source: Path) -> None:
    model = build(source, "int8", style=Style(symmetric_activations=True))
    found = weights(model)
    points = [found[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_every_method_quantizes(source: Path, method: str) -> None:
    model = build(source, "int8", options=BuildOptions(int8=Int8Options(method)))
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) >= 4


def test_methods_are_different_ranges() -> None:
    """Long tails: minmax makes room for all of them, percentile for all but the last, entropy as it pays."""
    rng = np.random.default_rng(3)
    values = rng.laplace(size=(8, 1, 4, 25000)).astype("f4")
    largest = float(np.abs(values).max())
    weights_of = {"w": rng.normal(size=(2, 1, 1, 1)).astype("f4")}
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"x": [1, 1, 4, 25000]}, ["y"], weights_of)
    spec = (TensorSpec("x", (1, 1, 4, 25000)),)
    ranges = {}
    for method in ("minmax", "percentile", "entropy"):
        frozen = fold(freeze(ModelProto.FromString(model.SerializeToString()), spec, [TensorSpec("y", ())]))
        style = Style(symmetric_activations=True, for_tensorrt=True)
        options = Int8Options(method)
        low = quantize(frozen, spec, Arrays({"x": values}), options, style=style, progress=lambda _: None)
        reader = next(node for node in low.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
        ranges[method] = float(weights(low)[reader.input[1]]) * 127
    assert ranges["minmax"] == pytest.approx(largest, rel=0.02)
    assert ranges["percentile"] < 0.98 * largest
    assert ranges["entropy"] < 0.98 * largest
    assert len(set(ranges.values())) == 3


def test_an_excluded_node_between_quantized_ones_runs_in_float(source: Path, tmp_path: Path) -> None:
    """ONNX Runtime's optimizer would quantize its weights after all: counted by what ran, as a build counts it."""
    options = BuildOptions(int8=Int8Options("minmax", exclude_nodes=("conv1",)), allow_mixed_precision=True)
    job = make_job(tmp_path / "job", precision="int8", options=options)
    content = serialize(build(source, "int8", options=options, style=Style(seven_bit_weights=True)))
    _, main_layers = count_precisions(trial_run(content, job)[2])
    assert main_layers == {"fp32": 1, "int8": 3}


@pytest.mark.parametrize(("precision", "option"), [("int8", "int8.exclude_ops"), ("fp16", "fp16.keep_fp32_ops")])
def test_an_operator_that_does_not_exist_is_refused_with_its_neighbours(
    source: Path, precision: str, option: str
) -> None:
    wrong = BuildOptions(int8=Int8Options("minmax", exclude_ops=("Sigmoide",)), keep_fp32_ops=("Sigmoide",))
    with pytest.raises(EngineError, match=f"{option} names the operator 'Sigmoide'") as caught:
        build(source, precision, options=wrong)
    assert caught.value.hint == "did you mean Sigmoid?"


def test_fp16_keeps_named_nodes_in_fp32(source: Path) -> None:
    found = weights(build(source, "fp16", options=BuildOptions(keep_fp32_nodes=("conv1",))))
    half = {
        name.removesuffix("/fp16") for name, array in found.items() if array.dtype == np.float16 and array.ndim == 4
    }
    assert half == {"w0", "w2", "w3"}
    with pytest.raises(EngineError, match=r"fp16\.keep_fp32_nodes names the node 'conv9'"):
        build(source, "fp16", options=BuildOptions(keep_fp32_nodes=("conv9",)))


def test_excluded_operators_and_nodes_stay_float(source: Path) -> None:
    def int8_kernels(options: Int8Options) -> int:
        model = build(source, "int8", options=BuildOptions(int8=options))
        return sum(array.dtype == np.int8 and array.ndim == 4 for array in quantized_weights(model))

    assert int8_kernels(Int8Options("minmax")) == 4
    assert int8_kernels(Int8Options("minmax", exclude_nodes=("conv0", "conv3"))) == 2
    assert int8_kernels(Int8Options("minmax", exclude_ops=("Conv",))) == 0


def test_a_node_that_does_not_exist_is_named_with_its_neighbours(source: Path) -> None:
    with pytest.raises(EngineError, match="'conv9'") as caught:
        build(source, "int8", options=BuildOptions(int8=Int8Options("minmax", exclude_nodes=("conv9",))))
    assert caught.value.kind == "calibration"
    assert "conv3" in caught.value.hint


def test_unknown_precision_and_method_are_refused(source: Path) -> None:
    with pytest.raises(EngineError, match="no precision 'int4'"):
        build(source, "int4")
    with pytest.raises(EngineError, match="no method 'guess'"):
        build(source, "int8", options=BuildOptions(int8=Int8Options("guess")))
    with pytest.raises(EngineError, match="needs calibration data"):
        transform(source, (IMAGE,), (SCORES,), precision="int8", options=BuildOptions())


_SCRIPT = """
import hashlib, sys
from pathlib import Path
from runtime.contract.engine.build import BuildOptions
from runtime.engines.graph.normalize import serialize
from runtime.engines.graph.transform import transform
from tests.unit.engines.test_transform import CALIBRATION, IMAGE, SCORES
for precision in ("fp32", "fp16", "int8"):
    model = transform(Path(sys.argv[1]), (IMAGE,), (SCORES,), precision=precision, options=BuildOptions(),
                      calibration=CALIBRATION)
    print(precision, hashlib.sha256(serialize(model)).hexdigest())
"""


def test_same_input_same_bytes_in_another_process_with_another_hash_seed(source: Path) -> None:
    def digests(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[3]
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(source)],
            capture_output=True, text=True, check=True, cwd=root, env=env, timeout=120,
        )  # fmt: skip
        return done.stdout

    first = digests("1")
    assert first == digests("2")
    own = hashlib.sha256(serialize(build(source, "fp16"))).hexdigest()
    assert f"fp16 {own}" in first
    assert first.count("\n") == 3


def read_all(path: Path, inputs: tuple[TensorSpec, ...]) -> None:
    found = open_calibration(path, inputs)
    for index in range(len(found)):
        found[index]


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (255, 0, 10)).save(path)


def test_archives_of_a_folder_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    for index in range(4):
        frames = np.full((2, *FRAME, 3), index, np.uint8)
        np.savez(tmp_path / f"{index}.npz", image=frames)
    found = open_calibration(tmp_path, (IMAGE,))
    assert [int(found[index]["image"][0, 0, 0, 0]) for index in range(len(found))] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_images_are_read_in_order_resized_and_put_into_the_camera_s_encoding(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for index in range(8):
        picture(folder / f"{index}.png", (FRAME[1] * 2, FRAME[0] * 2))
    Image.new("RGB", (FRAME[1], FRAME[0]), (0, 0, 200)).save(folder / "0.png")
    (folder / "notes.txt").write_text("not a picture")
    found = open_calibration(folder, (IMAGE,))
    assert len(found) == 8
    assert found[0]["image"].shape == (1, *FRAME, 3)
    assert found[0]["image"][0, 0, 0].tolist() == [0, 0, 200]
    assert found[1]["image"][0, 5, 5].tolist() == [255, 0, 10]
    import dataclasses

    assert IMAGE.preprocess is not None
    blue_first = dataclasses.replace(IMAGE, preprocess=dataclasses.replace(IMAGE.preprocess, encoding="bgr8"))
    assert open_calibration(folder, (blue_first,))[1]["image"][0, 5, 5].tolist() == [10, 0, 255]
    gray = dataclasses.replace(IMAGE, preprocess=dataclasses.replace(IMAGE.preprocess, encoding="mono8"))
    assert open_calibration(folder, (gray,))[1]["image"].shape == (1, *FRAME, 1)


def test_bad_calibration_data_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    def message(path: Path, inputs: tuple[TensorSpec, ...] = (IMAGE,)) -> str:
        with pytest.raises(EngineError) as caught:
            read_all(path, inputs)
        assert caught.value.kind == "calibration"
        assert caught.value.hint
        return caught.value.message

    few = tmp_path / "few"
    picture(few / "a.png", (8, 8))
    assert "1 calibration frame, at least 8" in message(few)
    for index in range(8):
        picture(few / f"{index}.png", (8, 8))
    (few / "3.png").write_bytes(b"\x89PNG broken")
    assert "3.png cannot be read" in message(few)
    assert "no calibration data at nowhere" in message(tmp_path / "nowhere")
    assert "exactly one image input" in message(few, (IMAGE, TensorSpec("speed", (1, 1))))
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, image=np.zeros((9, 5, 5, 3), np.uint8))
    assert "uint8 [9, 5, 5, 3] for input 'image'" in message(wrong)
    np.savez(wrong, other=np.zeros(9))
    assert "holds nothing for input 'image'" in message(wrong)
    wrong.write_bytes(b"PK broken")
    assert "is not an .npz file" in message(wrong)
