"""What the TensorRT that is installed here can do, found by looking rather than by its version number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.engines.errors import EngineError

OLDEST, NEWEST = (8, 5), (10, 99)


@dataclass(frozen=True)
class Capabilities:
    """Which parts of the API exist. A value: passed around instead of asking again."""

    version: str
    """As ``tensorrt.__version__`` says it."""
    explicit_batch_flag: bool
    """Networks must be created with EXPLICIT_BATCH (8.x), or the flag no longer matters (10.x)."""
    strongly_typed: bool
    """Networks take every precision from the ONNX graph (from 9.1)."""
    precision_flags: bool
    """FP16 and INT8 builder flags."""
    layer_precisions: bool
    """Single layers can be held at a precision (OBEY_PRECISION_CONSTRAINTS)."""
    calibrator: bool
    """TensorRT's own entropy calibrator."""
    memory_pools: bool
    tactic_dram_pool: bool
    """A cap on what tactics may take while they are timed."""
    optimization_level: bool
    timing_cache: bool
    progress_monitor: bool
    inspector: bool
    uint8_input: bool
    dla: bool
    """The API has DLA; whether this module has cores of it, the builder says."""

    @property
    def newest_opset(self) -> int:
        """The newest ONNX operator set that this parser reads whole (docs/operators.md of onnx-tensorrt, by branch)."""
        return {8: 17, 9: 19}.get(int(self.version.split(".")[0]), 20)

    @property
    def precision_from_graph(self) -> bool:
        """fp16 and int8 come from the ONNX graph alone, and TensorRT must obey it."""
        return self.strongly_typed


def detect(trt: Any) -> Capabilities:
    """Look at the module ``trt`` (``import tensorrt``). Raises EngineError where it is too old or too new."""
    version = str(getattr(trt, "__version__", ""))
    _require_supported(version)
    creation = getattr(trt, "NetworkDefinitionCreationFlag", None)
    flags = getattr(trt, "BuilderFlag", None)
    pools = getattr(trt, "MemoryPoolType", None)
    config = getattr(trt, "IBuilderConfig", None)
    return Capabilities(
        version=version,
        explicit_batch_flag=hasattr(creation, "EXPLICIT_BATCH"),
        strongly_typed=hasattr(creation, "STRONGLY_TYPED"),
        precision_flags=hasattr(flags, "FP16") and hasattr(flags, "INT8"),
        layer_precisions=hasattr(flags, "OBEY_PRECISION_CONSTRAINTS"),
        calibrator=hasattr(trt, "IInt8EntropyCalibrator2"),
        memory_pools=hasattr(pools, "WORKSPACE") and hasattr(config, "set_memory_pool_limit"),
        tactic_dram_pool=hasattr(pools, "TACTIC_DRAM"),
        optimization_level=hasattr(config, "builder_optimization_level"),
        timing_cache=hasattr(config, "create_timing_cache"),
        progress_monitor=hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor"),
        inspector=hasattr(trt, "EngineInspector"),
        uint8_input=hasattr(getattr(trt, "DataType", None), "UINT8") or hasattr(trt, "uint8"),
        dla=hasattr(getattr(trt, "DeviceType", None), "DLA"),
    )


def _require_supported(version: str) -> None:
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        raise EngineError(
            "unsupported", f"TensorRT reports the version {version!r}, which is not a version", "install TensorRT again"
        )
    found = (int(parts[0]), int(parts[1]))
    if found < OLDEST:
        raise EngineError(
            "unsupported",
            f"TensorRT {version} is older than 8.5, the first with named tensors",
            "use JetPack 6.0 or newer",
        )
    if found > NEWEST:
        raise EngineError(
            "unsupported",
            f"TensorRT {version} is not supported: NVIDIA does not offer TensorRT 11 for Orin Nano and NX",
            "use the TensorRT of JetPack 6.0 to 7.2",
        )
