"""Small random graphs on the whole road: init → validate → build → run → decode. No step may end in a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from fleet.cli import main
from fleet.manifest.load import load_manifest
from fleet.resolve.documents.build_job import engine_spec
from fleet.resolve.images.recipe import recipe_for
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    FAILURE_FILE,
    GOLDEN_FILE,
    JOB_FILE,
    MODEL_FILE,
    REPORT_FILE,
    BuildFailure,
    BuildOptions,
    EngineReport,
)
from runtime.contract.engine.decoded import OutputDecoder
from runtime.contract.engine.engine_tool import BuildRequest
from runtime.decoding.decoders import Boxes, Classes, View
from runtime.engines.build import job as build_job
from runtime.engines.errors import EngineError
from runtime.engines.golden.decoded import decoders_of, view_of
from runtime.engines.golden.golden_data import load_golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_ import BACKEND
from runtime.engines.tool import build_onnx

FLOAT = TensorProto.FLOAT
FILE_NAMES = ("320n", "My Model (v2)", "a.b-c", "0", "_", "ümlaut", "x" * 90)
INPUT_NAMES = (
    "image",
    "serving_default_input:0",
    "/model/in=put x:0",
    "file",
    "0o17",
    "../../up",
    "yes",
    "x#y",
    "a'b\"c",
)
_SIDES = (16, 24, 32)


@dataclass(frozen=True)
class Example:
    """One graph and how it is written down."""

    model: ModelProto
    name: str
    image: bool
    external: bool
    precision: str
    rows: int
    columns: int


class _Maker:
    """Adds nodes one behind another; every choice comes from the generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        named = "" if self.rng.random() < 0.2 else f"/model.{len(self.nodes)}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, names, named, **attributes))
        return names[0]


def example(seed: int) -> Example:
    """Return the graph of a seed: the same one always."""
    rng = np.random.default_rng(seed)
    maker, opset = _Maker(rng), int(rng.integers(11, 25))
    image = bool(rng.random() < 0.6)
    name = str(rng.choice(INPUT_NAMES))
    rows, columns = (int(rng.choice(_SIDES)) for _ in range(2))
    channels = int(rng.choice([1, 3]))
    free = bool(rng.random() < 0.3)
    shape: list[Any] = [1, channels, rows, columns] if image else [1, int(rng.integers(2, 12))]
    value = _pictures(maker, name, channels, opset) if image else _vectors(maker, name, shape[1])
    outputs, kinds = _outputs(maker, value, opset, image)
    if image and free:
        shape = ["N", channels, "H", "W"]
    graph = helper.make_graph(
        maker.nodes,
        "random",
        [helper.make_tensor_value_info(name, FLOAT, shape)],
        [helper.make_tensor_value_info(each, kind, None) for each, kind in zip(outputs, kinds, strict=True)],
        maker.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 7 if opset < 15 else 8 if opset < 19 else 9 if opset < 21 else 10
    if free and rng.random() < 0.5:
        entry = model.metadata_props.add()
        entry.key, entry.value = "imgsz", str([rows, columns])
    model = shape_inference.infer_shapes(model)
    for output in model.graph.output:  # exporters always write a shape
        if not output.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.dim.add().dim_param = "n"
    file = str(rng.choice(FILE_NAMES))
    precision = str(rng.choice(["fp32", "fp16"]))
    return Example(model, file, image, bool(rng.random() < 0.3), precision, rows, columns)


def _pictures(maker: _Maker, value: str, channels: int, opset: int) -> str:
    rng, width = maker.rng, 4
    for index in range(int(rng.integers(1, 4))):
        weights = maker.weight(rng.normal(0, 0.4, (width, channels, 3, 3)).astype("f4"))
        value = maker.add("Conv", [value, weights], pads=[1] * 4, strides=[int(rng.integers(1, 3))] * 2)
        choice = int(rng.integers(0, 6))
        if choice == 0 and opset >= 20:
            value = maker.add("Gelu", [value])
        elif choice == 1:
            pads = maker.weight(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
            value = maker.add("Pad", [value, pads])
        elif choice == 2 and opset >= 13:
            sizes = maker.weight(np.array([1, 3], np.int64))
            first = maker.add("Split", [value, sizes], 2, axis=1)
            value = maker.add("Concat", [first, first.replace("_0", "_1")], axis=1)
        elif choice == 3:
            scales = maker.weight(np.array([1, 1, 2, 2], "f4"))
            value = maker.add("Resize", [value, "" if opset >= 13 else maker.weight(np.zeros(0, "f4")), scales])
        elif choice == 4:
            value = maker.add("MaxPool", [value], kernel_shape=[2, 2])
        else:
            value = maker.add(str(rng.choice(["Relu", "Sigmoid", "Tanh"])), [value])
        channels = width
        del index
    return value


def _vectors(maker: _Maker, value: str, size: int) -> str:
    for _ in range(int(maker.rng.integers(1, 3))):
        weights = maker.weight(maker.rng.normal(0, 0.5, (size, 6)).astype("f4"))
        value = maker.add(str(maker.rng.choice(["Relu", "Tanh"])), [maker.add("MatMul", [value, weights])])
        size = 6
    return value


def _outputs(maker: _Maker, value: str, opset: int, image: bool) -> tuple[list[str], list[int]]:
    """Return outputs of several kinds: maps, scores, class numbers, one number, as many as are found."""
    found, kinds = [], []
    pooled = value
    if image:
        pooled = maker.add("Flatten", [maker.add("GlobalAveragePool", [value])])
    for _ in range(int(maker.rng.integers(1, 4))):
        choice = int(maker.rng.integers(0, 6))
        kind = int(FLOAT)
        if choice == 0:
            one = maker.add("Relu", [value])
        elif choice == 1:
            one = maker.add("Softmax", [pooled], axis=-1)
        elif choice == 2:
            one, kind = maker.add("ArgMax", [pooled], axis=1), int(TensorProto.INT64)
        elif choice == 3 and opset >= 18:
            axes = maker.weight(np.array([1], np.int64))
            one = maker.add("ReduceMean", [pooled, axes], keepdims=0)
        elif choice == 4:
            one, kind = maker.add("NonZero", [maker.add("Relu", [pooled])]), int(TensorProto.INT64)
        else:
            one = maker.add("Sigmoid", [pooled])
        found.append(one)
        kinds.append(kind)
    return found, kinds


def travel(seed: int, folder: Path) -> str:
    """Take one graph down the road; return how it ended. AssertionError when a step ends in a traceback."""
    made = example(seed)
    path = folder / f"{made.name}.onnx"
    where = "weights.bin" if made.external else None
    onnx.save_model(made.model, str(path), save_as_external_data=made.external, location=where, size_threshold=0)
    return _from_manifest(made, path, folder / "fleet") if made.image else _alone(made, path, folder / "out")


def _from_manifest(made: Example, path: Path, folder: Path) -> str:
    code = main.run(["init", str(folder), "--model", str(path)])
    assert code in (0, 2), f"fleet init ended with {code}"
    if code:
        assert not folder.exists(), "nothing is written where init refuses"
        return "init refused"
    assert main.run(["validate", "-m", str(folder)]) == 0, "what init writes validates"
    return built_from(folder, made.precision)


def built_from(folder: Path, precision: str) -> str:
    """Build the one model of a manifest, run it and decode its answers; return how it ended."""
    loaded = load_manifest(folder)
    (model,), (profile,) = loaded.models.values(), loaded.profiles.values()
    spec = engine_spec(loaded, profile, model, precision, recipe_for("builder", profile))
    work = folder / "job"
    work.mkdir()
    (work / JOB_FILE).write_bytes(canonical_json(spec.job))
    assert spec.source_path is not None
    shutil.copyfile(spec.source_path, work / MODEL_FILE)
    for name in spec.job.external:
        shutil.copyfile(spec.source_path.parent / name, work / name)
    shutil.copyfile(spec.golden, work / GOLDEN_FILE)
    out = folder / "out"
    if build_job.run(work, out) != build_job.EXIT_BUILT:
        return _explained(from_json(BuildFailure, (out / FAILURE_FILE).read_bytes()))
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    _decoded(out, report, spec.job.decoders, view_of(spec.job.inputs))
    return "decoded"


def _alone(made: Example, path: Path, out: Path) -> str:
    out.mkdir()
    request = BuildRequest(
        str(path), "random", made.precision, str(out), BuildOptions(), "onnxruntime", bench_seconds=0.01
    )
    try:
        report = build_onnx.run(request, lambda _: None)
    except EngineError as error:
        return _explained(BuildFailure(error.kind, error.message, error.hint, error.detail))
    outputs = [spec.name for spec in report.identity.outputs]
    plain = [OutputDecoder(name, "tensor", {"max_elements": 65536}) for name in outputs]
    _decoded(out, report, plain, View(480, 640))
    return "decoded"


def _explained(failure: BuildFailure) -> str:
    assert failure.kind != "internal", failure.message + failure.detail
    assert failure.hint, failure.message
    return failure.kind


def _decoded(out: Path, report: EngineReport, declared: Sequence[OutputDecoder], view: View) -> None:
    runner = BACKEND.load(out)
    tested = self_test(runner, report.identity, out / GOLDEN_FILE)
    if any("accuracy gate waived" in note or "self-test would refuse" in note for note in report.notes):
        return  # of frames of a generator: the report says so, and the robot would refuse it
    assert tested.passed, tested.message
    outputs = [spec.name for spec in report.identity.outputs]
    state = report.identity.state
    golden = load_golden(out / GOLDEN_FILE, report.identity.inputs, outputs, may_be_empty=True, state=state)
    decoders, _ = decoders_of(declared, view, plugins=False)
    for results in decoders(run_golden(runner, golden)).values():
        for result in results:
            if isinstance(result, (Boxes, Classes)):
                assert np.all((result.scores >= -0.01) & (result.scores <= 1.01))
    runner.close()
