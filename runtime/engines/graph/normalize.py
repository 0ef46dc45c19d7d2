"""ONNX graphs made ready: loaded, at an opset both backends take, every shape fixed, every node named."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import (
    GraphProto,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    helper,
    inliner,
    shape_inference,
    version_converter,
)

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.onnx_tensors import external_files, external_tensors
from runtime.engines.errors import EngineError, of_onnxruntime
from runtime.engines.graph.image_inputs import accept_images, model_shape
from runtime.engines.graph.nodes import STANDARD_DOMAINS, all_nodes, name_nodes
from runtime.engines.graph.opset import EXPORT_HINT, lowered
from runtime.engines.graph.shapes import is_free

MIN_SOURCE_OPSET = 11
MIN_OPSET = 13
"""Per-channel QuantizeLinear starts here; older models are converted up."""
_ELEMENTS = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.UINT16,
}  # fmt: skip
"""What the arrays of robots and builders hold."""
_PLUGIN_DOMAIN, _PLUGIN_SUFFIX = "TRT", "_TRT"


def load_source(path: Path) -> ModelProto:
    """Read and check an ONNX file as it is. Raises EngineError of kind ``bad-model``."""
    try:
        model = onnx.load(str(path))
        elsewhere = next(external_tensors(model), None)
        if elsewhere is not None:  # what was beside the model is loaded by now; the rest nobody reads
            raise ValueError(f"the bytes of {elsewhere[:80]!a} are in another file, which is not loaded")
        _name_plugins(model)
        _check_model(model)
    except FileNotFoundError as error:
        raise EngineError("bad-model", f"{path.name}: {error}", "give a self-contained ONNX file") from error
    except Exception as error:  # protobuf and the checker raise types of their own, unrelated to each other
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            "bad-model", f"{path.name} is not a valid ONNX model: {reason}", "export the model to ONNX again"
        ) from error
    return model


def _check_model(model: ModelProto) -> None:
    """Check a model. An output without a shape is fine: surgery on a graph leaves it out, ONNX Runtime does not ask for
    it, and it is inferred here. Raises what the checker raises."""
    shapeless = [
        value.type.tensor_type
        for value in model.graph.output
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    ]
    for kind in shapeless:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    finally:
        for kind in shapeless:
            kind.ClearField("shape")


def session_source(path: Path) -> bytes | Path:
    """Return what ONNX Runtime opens a source model from: the file, or its bytes with weights of other files in them.

    ONNX Runtime infers no shapes from constants (axes, sizes) that are in another file. Raises EngineError.
    """
    model = load_source(path)
    if not external_files(onnx.load(str(path), load_external_data=False)):
        return path
    return bytes(model.SerializeToString())


def _name_plugins(model: ModelProto) -> None:
    """Give TensorRT's plugins (``EfficientNMS_TRT``) a domain of their own where an exporter left them in ONNX's, which
    has no such operators; TensorRT goes by their names alone."""
    found = False
    for node in all_nodes(model.graph):
        if node.domain in STANDARD_DOMAINS and node.op_type.endswith(_PLUGIN_SUFFIX):
            node.domain, found = _PLUGIN_DOMAIN, True
    if found and all(entry.domain != _PLUGIN_DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_PLUGIN_DOMAIN, 1))


def load_model(path: Path, newest: int | None = None) -> ModelProto:
    """Read an ONNX file at an opset from 13 to ``newest`` (None: as new as it is), nodes named.

    Local functions are replaced by what they do. Raises EngineError.
    """
    return at_supported_opset(without_functions(load_source(path)), newest)


def without_functions(model: ModelProto) -> ModelProto:
    """Return the model with the nodes of its local functions in place of their calls: exporters write functions for
    what a framework calls a module, and no pass looks into them. Raises EngineError."""
    if not model.functions:
        return model
    try:
        plain = inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # the inliner raises RuntimeError and types of its own
        raise EngineError(
            "unsupported", f"the model's local functions cannot be resolved: {str(error).strip()[:200]}", EXPORT_HINT
        ) from error
    if plain.functions:
        names = ", ".join(sorted(f"{each.domain}::{each.name}" for each in plain.functions)[:3])
        raise EngineError("unsupported", f"the model's local functions cannot be resolved: {names}", EXPORT_HINT)
    return plain


def opset_of(model: ModelProto) -> int:
    """Return the version of the default operator set. Raises EngineError when the model names none."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise EngineError("bad-model", "the model imports no ONNX operator set", "export it with opset_version=17")


def at_supported_opset(model: ModelProto, newest: int | None = None) -> ModelProto:
    """Return the model at an opset from 13 to ``newest``, converted where needed. Raises EngineError."""
    found = opset_of(model)
    if found < MIN_SOURCE_OPSET:
        raise EngineError(
            "unsupported",
            f"the model uses opset {found}, older than {MIN_SOURCE_OPSET}",
            "export it with opset_version=17",
        )
    name_nodes(model.graph)
    if newest is not None and found > newest:
        return _checked(lowered(model, found, newest), found, newest)
    if found >= MIN_OPSET:
        return model
    try:
        converted = version_converter.convert_version(model, MIN_OPSET)
    except Exception as error:  # the converter raises RuntimeError, IndexError … and types of its own
        raise _not_converted(found, MIN_OPSET, error) from error
    # The converter leaves operators that it knows nothing about as they were: only the checker finds those.
    return _checked(converted, found, MIN_OPSET)


def _checked(model: ModelProto, found: int, target: int) -> ModelProto:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's own, and others from below it
        raise _not_converted(found, target, error) from error
    return model


def _not_converted(found: int, target: int, error: Exception) -> EngineError:
    said = str(error).strip()[:200]
    return EngineError(
        "unsupported", f"the model uses opset {found} and cannot be converted to {target}: {said}", EXPORT_HINT
    )


def constants_to_initializers(graph: GraphProto) -> None:
    """Turn Constant nodes with a tensor into initializers: passes then have one kind of constant to look at."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def freeze(model: ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> ModelProto:
    """Return the model with inputs fixed to their declared shapes (ranges stay free), and only the declared outputs.

    Raises EngineError of kind ``bad-model`` when a tensor does not exist or cannot have the declared shape.
    """
    graph = model.graph
    constants_to_initializers(graph)
    initializers = {tensor.name for tensor in graph.initializer}
    free = [value for value in graph.input if value.name not in initializers]
    _same_names("input", [value.name for value in free], [spec.name for spec in inputs], exact=True)
    _same_names("output", [value.name for value in graph.output], [spec.name for spec in outputs], exact=False)
    by_name = {value.name: value for value in free}
    same = [spec.name for spec in outputs if spec.name in by_name]
    if same:
        raise EngineError(
            "unsupported",
            f"output {same[0]!r} is the input of that name, unchanged",
            "export the model without that output: whoever has the input has it",
        )
    require_arrays(model, [spec.name for spec in outputs])
    for spec in inputs:
        _fix_shape(by_name[spec.name], replace(spec, shape=model_shape(spec)))
    ordered = [ValueInfoProto.FromString(by_name[spec.name].SerializeToString()) for spec in inputs]
    del graph.input[:]
    graph.input.extend(ordered)
    accept_images(graph, inputs)
    produced = {value.name: value for value in graph.output}
    del graph.output[:]
    for spec in outputs:
        element = produced[spec.name].type.tensor_type.elem_type
        graph.output.append(helper.make_tensor_value_info(spec.name, element, None))
    del graph.value_info[:]
    return infer(model)


def require_arrays(model: ModelProto, outputs: Sequence[str] | None = None) -> None:
    """Refuse inputs and outputs that no array of a robot can hold; ``outputs``: those that are declared (None: all),
    as others are left out of the engine. Raises EngineError ``unsupported``."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for what, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            element = int(value.type.tensor_type.elem_type)
            if value.name in weights or element in _ELEMENTS:
                continue
            if what == "output" and outputs is not None and value.name not in outputs:
                continue
            kind = "no tensor"
            if value.type.HasField("tensor_type"):
                kind = f"of type {TensorProto.DataType.Name(element).lower()}"
            raise EngineError(
                "unsupported",
                f"{what} {value.name!r} is {kind}: robots read and write float, integer and boolean arrays",
                f"export the model with a float32 {what} there (a Cast), or without it",
            )


def declared_shapes(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Return what a model says of its outputs' shapes, None for a free dimension."""
    return {
        value.name: tuple(
            int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in model.graph.output
    }


def infer(model: ModelProto) -> ModelProto:
    """Return the model with the type and shape of every tensor. Raises EngineError."""
    try:
        return shape_inference.infer_shapes(model, check_type=True, data_prop=True)
    except Exception as error:  # InferenceError is not exported by every supported onnx
        raise EngineError(
            "bad-model",
            f"the model does not fit the declared input shapes: {str(error).strip()[:300]}",
            "check `shape` of the model's inputs",
        ) from error


def _same_names(what: str, found: Sequence[str], declared: Sequence[str], *, exact: bool) -> None:
    missing = [name for name in declared if name not in found]
    extra = [name for name in found if name not in declared] if exact else []
    if missing or extra:
        said = ", ".join(repr(name) for name in missing or extra)
        verb = f"has no {what} {said}" if missing else f"has the {what} {said}, which the manifest does not name"
        raise EngineError(
            "bad-model",
            f"the model {verb}; its {what}s are: {', '.join(found)}",
            f"name the model's {what}s as they are",
        )


def _fix_shape(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    """Write ``spec.shape`` into a graph input, but for its free dimensions.

    Raises EngineError where the model fixes another size, or one that has a range.
    """
    dims = value.type.tensor_type.shape.dim
    found = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
    has_rank = value.type.tensor_type.HasField("shape")
    fits = len(found) == len(spec.shape) and all(a is None or a == b for a, b in zip(found, spec.shape, strict=False))
    if has_rank and not fits:
        there = "x".join("?" if size is None else str(size) for size in found)
        raise EngineError(
            "bad-model",
            f"input {spec.name!r} is {there} in the model, but {'x'.join(map(str, spec.shape))} in the manifest",
            "give the shape that the model was exported with",
        )
    held = [index for index, size in enumerate(found) if has_rank and size is not None and is_free(spec, index)]
    if held:
        raise EngineError(
            "bad-model",
            f"input {spec.name!r} has a range in dimension {held[0]}, which is {found[held[0]]} in the model",
            "export the model with that dimension left open, or give one size",
        )
    value.type.tensor_type.ClearField("shape")
    for index, size in enumerate(spec.shape):
        dim = value.type.tensor_type.shape.dim.add()
        if is_free(spec, index):
            dim.dim_param = f"{spec.name}_{index}"
        else:
            dim.dim_value = size


def fold(model: ModelProto) -> ModelProto:
    """Return the model with constants folded and batch norms, biases and scales fused into convolutions.

    This is ONNX Runtime's basic level: standard operators in, standard operators out, the same on every machine.
    Quantization needs it (a bias that is an Add of its own would be rounded twice), and fp16 gains by it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="jetfleet-fold-") as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no common base of their own)
            folded = _unfolded(model, error)
        else:
            folded = onnx.load(str(target))
    used = {node.domain for node in all_nodes(folded.graph)} | {""}
    imports = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(imports)
    constants_to_initializers(folded.graph)
    name_nodes(folded.graph)
    return folded


def _unfolded(model: ModelProto, error: Exception) -> ModelProto:
    """Return a copy of a model that runs, but only as it is: an If whose branches fit different sizes cannot be folded,
    as shapes of the branch that is never taken are inferred too. Raises EngineError for one that does not."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  (the first refusal says more)
        raise of_onnxruntime(error, _refused(error)) from error
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _refused(error: Exception) -> EngineError:
    return EngineError(
        "bad-model",
        f"ONNX Runtime refuses the model: {str(error).strip()[:300]}",
        "export the model again with standard operators only, and check its declared input shapes",
    )


def element_types(graph: GraphProto) -> dict[str, int]:
    """Return tensor name → ONNX element type, for every tensor whose type is known."""
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = int(value.type.tensor_type.elem_type)
    return types


def serialize(model: ModelProto) -> bytes:
    """Return the bytes of a model without what varies or leaks: documentation, producer, inferred shapes' order."""
    clean = ModelProto()
    clean.CopyFrom(model)
    clean.producer_name, clean.producer_version, clean.doc_string = "jetfleet", "", ""
    clean.graph.doc_string = ""
    del clean.metadata_props[:]
    del clean.graph.value_info[:]
    for node in all_nodes(clean.graph):
        node.doc_string = ""
    clean.graph.initializer.sort(key=_tensor_name)
    return bytes(clean.SerializeToString(deterministic=True))


def _tensor_name(tensor: Any) -> str:
    return str(tensor.name)
