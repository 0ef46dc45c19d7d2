"""A stand-in for TensorRT 8.6 on a machine without a GPU: a plan is the ONNX graph, ONNX Runtime computes it.

Names, signatures and return values are those of the real module; only what the backend calls is here. ``FAKE_TENSORRT``
makes builds go wrong: hang, abort, kill, internal-error.
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import json
import os
import signal
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "8.6.0")
_HEADER = bytes.fromhex("6674727400000000") + bytes(16) + bytes([*map(int, __version__.split(".")), 12])  # noqa: RUF048


class DataType(enum.IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8 = range(6)


NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0})
BuilderFlag = enum.IntEnum("BuilderFlag", ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "GPU_FALLBACK"])
MemoryPoolType = enum.IntEnum("MemoryPoolType", ["WORKSPACE"])
TacticSource = enum.IntEnum("TacticSource", {"CUBLAS": 0, "EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4})
ProfilingVerbosity = enum.IntEnum("ProfilingVerbosity", ["DETAILED"])
LayerInformationFormat = enum.IntEnum("LayerInformationFormat", ["JSON"])
TensorIOMode = enum.IntEnum("TensorIOMode", ["INPUT", "OUTPUT"])
DeviceType = enum.IntEnum("DeviceType", ["GPU", "DLA"])
LayerType = enum.IntEnum("LayerType", ["CONVOLUTION", "CONSTANT", "SHAPE", "OTHER"])
ErrorCode = enum.IntEnum("ErrorCode", ["SUCCESS", "UNSUPPORTED_NODE"])

_TYPES = {1: DataType.FLOAT, 2: DataType.UINT8, 3: DataType.INT8, 6: DataType.INT32, 10: DataType.HALF}
_UNSUPPORTED = ("Det",)


class ILogger:
    Severity = enum.IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        pass


class IInt8EntropyCalibrator2:
    def __init__(self) -> None:
        pass


class IProfiler:
    def __init__(self) -> None:
        pass


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002  (its real name)
        return self._engine.layers


class ITimingCache:
    """Its header names this TensorRT; every build adds one entry."""

    header = f"timings {__version__}".encode()

    def __init__(self, content: bytes) -> None:
        self.of, *entries = content.split(b"\n") if content else [self.header]
        self.entries = set(entries)

    def combine(self, other: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if other.of != self.of:
            return False
        self.entries |= other.entries
        return True

    def serialize(self) -> bytes:
        return b"\n".join([self.of, *sorted(self.entries)])


Dims = tuple


class IOptimizationProfile:
    def __init__(self) -> None:
        self.ranges: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002  (their real names)
        self.ranges[input] = [list(min), list(opt), list(max)]


class IBuilderConfig:
    builder_optimization_level = 3

    def __init__(self) -> None:
        self.flags: set[int] = set()
        self.pools: dict[int, int] = {}
        self.int8_calibrator: Any = None
        self._cache: ITimingCache | None = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self.sources = tactic_sources
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if serialized_timing_cache.startswith(b"crash"):
            os.abort()
        if serialized_timing_cache and not serialized_timing_cache.startswith(b"timings "):
            return None
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        assert self._cache is None, "set twice"
        if cache.of != cache.header:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles = [*getattr(self, "profiles", []), profile]
        return len(self.profiles) - 1

    def can_run_on_DLA(self, layer: ILayer) -> bool:
        return layer.type == LayerType.CONVOLUTION


class ITensor:
    def __init__(self, name: str, dtype: DataType, shape: list[int]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape


class ILayer:
    def __init__(self, node: onnx.NodeProto, dtype: DataType) -> None:
        self.name = node.name
        self.type = LayerType.CONVOLUTION if node.op_type == "Conv" else LayerType.OTHER
        self.operator = node.op_type
        self.num_outputs = len(node.output)
        self.precision: DataType | None = None
        self._dtype = dtype

    def get_output(self, index: int) -> ITensor:
        return ITensor("", self._dtype, [])

    def set_output_type(self, index: int, dtype: DataType) -> None:
        self._dtype = dtype


def _values(model: onnx.ModelProto) -> dict[str, ITensor]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shape = [dim.dim_value if dim.dim_value else -1 for dim in kind.shape.dim]
        found[value.name] = ITensor(value.name, _TYPES.get(kind.elem_type, DataType.INT32), shape)
    return found


class INetworkDefinition:
    def __init__(self) -> None:
        self.layers: list[ILayer] = []
        self.model = onnx.ModelProto()

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    @property
    def num_outputs(self) -> int:
        return len(self.model.graph.output)

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]

    def get_input(self, index: int) -> ITensor:
        return _values(self.model)[self.model.graph.input[index].name]


class ParserError:
    def __init__(self, node: onnx.NodeProto, index: int) -> None:
        self._node, self._index = node, index

    def code(self) -> ErrorCode:
        return ErrorCode.UNSUPPORTED_NODE

    def desc(self) -> str:
        return f"No importer registered for op: {self._node.op_type}"

    def node(self) -> int:
        return self._index


def with_plugins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give EfficientNMS_TRT a body that ONNX Runtime runs: the best candidates by their best score, none suppressed."""
    kept = next((n for n in model.graph.node if n.op_type == "EfficientNMS_TRT"), None)
    if kept is None:
        return model
    most = next(each.i for each in kept.attribute if each.name == "max_output_boxes")
    least = next(each.f for each in kept.attribute if each.name == "score_threshold")
    make, of = onnx.helper.make_node, onnx.numpy_helper.from_array

    def constant(name: str, value: Any) -> onnx.NodeProto:
        return make("Constant", [], [name], value=of(np.asarray(value)))

    body = [
        make("ReduceMax", ["scores"], ["best"], axes=[2], keepdims=0),
        make("ArgMax", ["scores"], ["class"], axis=2, keepdims=0),
        constant("most", [most]),
        make("TopK", ["best", "most"], ["det_scores", "at"], axis=1),
        make("GatherElements", ["class", "at"], ["class64"], axis=1),
        make("Cast", ["class64"], ["det_classes"], to=onnx.TensorProto.INT32),
        constant("last", [2]),
        constant("four", [1, 1, 4]),
        make("Unsqueeze", ["at", "last"], ["at3"]),
        make("Tile", ["at3", "four"], ["at4"]),
        make("GatherElements", ["boxes", "at4"], ["det_boxes"], axis=1),
        constant("least", np.float32(least)),
        make("Greater", ["det_scores", "least"], ["over"]),
        make("Cast", ["over"], ["over32"], to=onnx.TensorProto.INT32),
        constant("axis", [1]),
        make("ReduceSum", ["over32", "axis"], ["num_dets"]),
    ]
    outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    imports = [onnx.helper.make_opsetid("", 17)]
    function = onnx.helper.make_function(kept.domain, kept.op_type, ["boxes", "scores"], outputs, body, imports)
    function.attribute.extend(each.name for each in kept.attribute)
    model.functions.append(function)
    return model


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    def parse(self, model: bytes) -> bool:
        parsed = with_plugins(onnx.load_from_string(model))
        for index, node in enumerate(parsed.graph.node):
            if node.op_type in _UNSUPPORTED:
                self._errors.append(ParserError(node, index))
        values = _values(parsed)
        self._network.model = parsed
        self._network.layers = [ILayer(node, values[node.output[0]].dtype) for node in parsed.graph.node]
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class Builder:
    num_DLA_cores = int(os.environ.get("FAKE_TENSORRT_DLA_CORES", "0"))  # noqa: N815

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        assert flags & 1, "TensorRT 8 needs explicit batch"
        return INetworkDefinition()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        if not _behave(self._logger):
            return None
        if config.int8_calibrator is not None:
            _calibrate(network, config.int8_calibrator)
        if config._cache is not None:
            config._cache.entries.add(hashlib.sha256(network.model.SerializeToString()).hexdigest()[:16].encode())
        layers = [_layer(layer, config) for layer in network.layers]
        text = json.dumps({"Layers": layers, "Bindings": []}).replace("conv", "conv\x01")
        core = getattr(config, "DLA_core", None)
        ranges = [profile.ranges for profile in getattr(config, "profiles", [])]
        return _HEADER + json.dumps([text, network.model.SerializeToString().hex(), core, ranges]).encode()


def _behave(logger: ILogger) -> bool:
    wanted = os.environ.get("FAKE_TENSORRT", "")
    if wanted == "hang":
        time.sleep(600)
    if wanted == "abort":
        os.abort()
    if wanted == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if wanted == "internal-error":
        logger.log(
            ILogger.ERROR,
            "2: [graphOptimizer.cpp::mergeScales::1234] Error Code 2: Internal Error (Assertion s.isScale() failed. )",
        )
        return False
    return True


def _calibrate(network: INetworkDefinition, calibrator: Any) -> None:
    assert calibrator.get_batch_size() == 1
    if calibrator.read_calibration_cache() is None:
        while calibrator.get_batch([value.name for value in network.model.graph.input]):
            pass
        calibrator.write_calibration_cache(b"ranges")


def _layer(layer: ILayer, config: IBuilderConfig) -> dict[str, Any]:
    half = "Half" if BuilderFlag.FP16 in config.flags and layer.precision is None else "Float"
    kind = "Int8" if BuilderFlag.INT8 in config.flags and layer.operator in ("Conv", "Gemm") else half
    is_main = layer.operator in ("Conv", "Gemm")
    found: dict[str, Any] = {"Name": layer.name, "LayerType": layer.operator, "Outputs": []}
    found["Inputs"] = [{"Name": "x", "Format/Datatype": f"{kind} format"}]
    if is_main:
        found |= {"ParameterType": "Convolution", "LayerType": "CaskConvolution", "Weights": {"Type": kind, "Count": 9}}
    return found


class ICudaEngine:
    def __init__(self, layers: str, model: onnx.ModelProto, ranges: list[dict[str, list[list[int]]]]) -> None:
        self.layers = layers
        self.ranges = ranges
        self.model = model
        self._values = _values(model)
        self._names = [value.name for value in (*model.graph.input, *model.graph.output)]
        self.num_io_tensors = len(self._names)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_shape(self, name: str) -> list[int]:
        return self._values[name].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._values[name].dtype

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [value.name for value in self.model.graph.input]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT


class IOutputAllocator:
    pass


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.profiler: Any = None
        self._session = ort.InferenceSession(engine.model.SerializeToString(), providers=["CPUExecutionProvider"])
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, IOutputAllocator] = {}
        self._shapes: dict[str, list[int]] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.ranges[0][name]
        if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = list(shape)
        return True

    def get_tensor_shape(self, name: str) -> list[int]:
        model = onnx.ModelProto()
        model.CopyFrom(self._engine.model)
        for value in model.graph.input:
            for dim, size in zip(value.type.tensor_type.shape.dim, self._shapes.get(value.name, []), strict=False):
                dim.dim_value = size
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        return _values(model)[name].shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def get_max_output_size(self, name: str) -> int:
        return -1 if os.environ.get("FAKE_TENSORRT") == "no-bound" else 1 << 14

    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator) -> bool:
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        feeds = {}
        for item in self._session.get_inputs():
            dtype = np.dtype(np.uint8 if item.type == "tensor(uint8)" else np.float32)
            shape = self._shapes.get(item.name, item.shape)
            content = ctypes.string_at(self._addresses[item.name], int(np.prod(shape)) * dtype.itemsize)
            feeds[item.name] = np.frombuffer(content, dtype).reshape(shape)
        for item, answer in zip(self._session.get_outputs(), self._session.run(None, feeds), strict=True):
            value = answer.astype(np.int32) if answer.dtype == np.int64 else answer  # TensorRT 8 has no int64
            address = self._addresses.get(item.name, 0)
            if (allocator := self._allocators.get(item.name)) is not None:
                address = allocator.reallocate_output(item.name, 0, value.nbytes, 256)
                if not address:
                    return False
                allocator.notify_shape(item.name, value.shape)
            ctypes.memmove(address, np.ascontiguousarray(value).ctypes.data, value.nbytes)
        for index, layer in enumerate(json.loads(self._engine.layers, strict=False)["Layers"] if self.profiler else ()):
            self.profiler.report_layer_time(layer["Name"], 0.25 * (index + 1))
        return True


class Runtime:
    DLA_core: int | None = None

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            layers, model, core, ranges = json.loads(serialized_engine[len(_HEADER) :])
            if core != self.DLA_core:
                self._logger.log(ILogger.ERROR, f"1: the plan is for DLA core {core}, the runtime has {self.DLA_core}")
                return None
            return ICudaEngine(layers, onnx.load_from_string(bytes.fromhex(model)), ranges)
        except ValueError:
            self._logger.log(ILogger.ERROR, "1: [stdArchiveReader.cpp] Error Code 1: Serialization (magicTag)")
            return None
