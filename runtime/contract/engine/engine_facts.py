"""What the process behind `fleet engine` answers (:mod:`runtime.contract.engine.engine_tool` says what it is asked)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.engine.build import (
    AccuracyGate,
    DeviceFacts,
    EngineIdentity,
    EngineReport,
    OutputAccuracy,
    TensorSpec,
)


@dataclass(frozen=True)
class LayerFacts:
    """One layer that ran, after the runtime's own optimizer."""

    name: str
    kind: str
    precision: Optional[str] = None
    """None: it only moves values, or nothing says which."""
    ms: Optional[float] = None
    """Milliseconds of one inference, the median of several. None: not measured, and in reports of older builders."""
    reads: Tuple[str, ...] = ()
    """Tensors that other layers, or the frame, give it; weights are not among them."""
    writes: Tuple[str, ...] = ()
    formats: str = ""
    """Types and memory layouts of what it reads and writes, as the runtime words them: ``float -> uint8``."""
    nodes: Tuple[str, ...] = ()
    """ONNX nodes that it stands for, where the runtime says so and they are not just its name."""


@dataclass(frozen=True)
class TensorFacts:
    """One input or output of an ONNX graph."""

    name: str
    dtype: str
    shape: Optional[Tuple[Any, ...]] = None
    """Numbers, and names or ``?`` for free dimensions; None: the graph does not say."""


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file says of itself."""

    opset: int
    ir_version: int
    producer: str
    inputs: Tuple[TensorFacts, ...]
    outputs: Tuple[TensorFacts, ...]
    nodes: int
    operators: Dict[str, int]
    """Operator → how often, subgraphs included; those of another domain as ``domain::Operator``."""
    weight_bytes: Dict[str, int]
    """Element type → bytes of weights."""


@dataclass(frozen=True)
class PlanFacts:
    """What the first bytes of a TensorRT plan say."""

    tensorrt: Optional[str]
    """None: older than the header, or a plan that does not say."""
    starts_at: int = 0
    """Bytes before the plan: some exporters put a text of their own in front."""
    front: str = ""
    """That text."""


@dataclass(frozen=True)
class Compatibility:
    """Does an engine belong on this machine?"""

    fits: bool
    message: str
    hint: str
    here: DeviceFacts


@dataclass(frozen=True)
class EngineFacts:
    """All that is known of a file or folder without running it."""

    path: str
    kind: str
    """engine | plan | onnx | report."""
    bytes: int
    sha256: str
    identity: Optional[EngineIdentity] = None
    report: Optional[EngineReport] = None
    onnx: Optional[OnnxFacts] = None
    plan: Optional[PlanFacts] = None
    layers: Tuple[LayerFacts, ...] = ()
    verdict: Optional[Compatibility] = None
    notes: Tuple[str, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Latency:
    """Milliseconds over ``count`` inferences."""

    p50: float
    p90: float
    p95: float
    p99: float
    mean: float
    min: float
    max: float
    variation: float
    """Standard deviation over mean."""
    count: int


@dataclass(frozen=True)
class EngineBench:
    """One engine's times."""

    path: str
    model: str
    precision: str
    backend: str
    bytes: int
    load_ms: float
    """Reading, checking and loading it, and its first inference."""
    host: Latency
    """As a robot sees it: the frame copied into the engine's buffer, run, outputs ready."""
    h2d: Optional[Latency] = None
    """Copies in, by the GPU's clock. None, here and below: the backend does not separate them."""
    compute: Optional[Latency] = None
    d2h: Optional[Latency] = None
    unsteady: bool = False
    """The variation (of ``compute`` where that is known) is above 2.5 %."""
    per_second: float = 0.0
    """1000 / mean of ``host``."""


@dataclass(frozen=True)
class Ratio:
    """The second engine's time over the first's: 0.5 is twice as fast."""

    p50: float
    mean: float
    round_low: float
    """Smallest, middle and largest ratio of the means of single rounds, in which both ran one after the other."""
    round_median: float
    round_high: float
    rounds: int


@dataclass(frozen=True)
class BenchAnswer:
    """What was measured, and how."""

    engines: Tuple[EngineBench, ...]
    ratio: Optional[Ratio]
    method: Dict[str, Any]
    conditions: Dict[str, Any]
    notes: Tuple[str, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class TopValue:
    """One of an output's largest values."""

    index: Tuple[int, ...]
    value: float


@dataclass(frozen=True)
class OutputStatistics:
    """One output over all frames. None: no value of it is finite."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    """Of one frame's."""
    min: Optional[float]
    max: Optional[float]
    mean: Optional[float]
    std: Optional[float]
    not_finite: int
    """Values that are NaN or infinite."""
    top: Tuple[TopValue, ...]
    """Of the first frame."""


@dataclass(frozen=True)
class RunAnswer:
    """What an engine answered."""

    path: str
    model: str
    precision: str
    backend: str
    inputs: Tuple[TensorSpec, ...]
    input: str
    """Where the frames come from, in words."""
    frames: int
    milliseconds: Tuple[float, ...]
    """Each frame's, copy included."""
    outputs: Tuple[OutputStatistics, ...]
    accuracy: Tuple[OutputAccuracy, ...] = ()
    """Against the expected outputs, worst over the frames; empty when there are none."""
    expected_from: str = ""
    gate: Optional[AccuracyGate] = None
    violation: Optional[str] = None
    """What breaks the gate, with both numbers."""
    saved: Optional[str] = None
    notes: Tuple[str, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class FactDifference:
    """One fact that two engines do not share."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class CompareAnswer:
    """Two engines or reports, side by side."""

    first: EngineFacts
    second: EngineFacts
    differences: Tuple[FactDifference, ...]
    layers: Tuple[FactDifference, ...]
    """Layers of one name that run at another precision: name, precision, precision."""
    layers_shared: int
    """Layers that carry the same name in both."""
    outputs: Tuple[OutputAccuracy, ...] = ()
    """The second's answers against the first's on the same frames; empty: they were not run."""
    input: str = ""
    frames: int = 0
    bench: Optional[BenchAnswer] = None
    notes: Tuple[str, ...] = ()
    schema: int = SCHEMA
