"""What `fleet` asks of a builder container, and what the container answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Final, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.engine.decoded import DecodedOutput, OutputDecoder
from runtime.contract.engine.facts import DeviceFacts as DeviceFacts  # noqa: PLC0414  (it is part of what a build says)
from runtime.contract.engine.facts import Percentiles as Percentiles  # noqa: PLC0414
from runtime.contract.engine.model_front import ConstantSpec, ObservationSpec, StateSpec
from runtime.contract.engine.sensitivity import Sensitivity
from runtime.contract.engine.task_metric import MetricGate, TaskMetric

#: Names inside the job archive (unpacked at ``/job``) and the result archive (packed from ``/out``).
JOB_FILE = "job.json"
MODEL_FILE = "model.onnx"
CALIBRATION_DIR = "calibration"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
FAILURE_FILE = "failure.json"
IDENTITY_FILE = "engine.json"
TIMING_CACHE_FILE = "timing.cache"
"""In the job archive, where somebody puts it there by hand, what earlier builds measured; in the result archive that,
what ``TIMING_DIR`` gave for this device, and what this build measured. TensorRT only."""

TOP_LEFT = "top_left"
"""Where a letterbox puts the frame, if not in the middle."""

#: Version of what `runtime.engines.graph.transform` makes of a model. Part of the engine key: raised when that changes.
TRANSFORM_VERSION = 4


@dataclass(frozen=True)
class Preprocess:
    """How a camera's frame becomes the model's tensor; made part of the graph, so the engine takes the frame's bytes.

    In this order: crop nothing, convert from ``encoding`` to ``color``, rotate, flip, resize (linear, half-pixel
    centres), ``value * scale``, ``(value - mean) / std`` per channel, HWC → CHW, add the batch axis; then the
    model's own ``layout`` and element type (integers rounded, and cut at their limits).
    """

    height: int
    """Rows of the frame that arrives, pixels."""
    width: int
    """Columns of the frame that arrives, pixels."""
    encoding: str
    """sensor_msgs/Image encoding of the frame: one of ``runtime.contract.node.encodings.ENCODINGS``."""
    color: str = "rgb"
    """Channel order the model was trained on: rgb, bgr or gray."""
    resize: str = "stretch"
    """stretch | letterbox | none (the frame already has the tensor's size)."""
    scale: float = 1.0 / 255.0
    mean: Tuple[float, ...] = (0.0, 0.0, 0.0)
    std: Tuple[float, ...] = (1.0, 1.0, 1.0)
    rotate: int = 0
    """Degrees clockwise: 0, 90, 180 or 270."""
    flip: str = ""
    """After that: horizontal (left and right change places), vertical, or nothing."""
    place: str = ""
    """Of a letterbox: ``top_left``, or nothing: centred."""
    pad: Tuple[float, ...] = ()
    """Of a letterbox's bars, in the frame's unit, one number a channel in the order of ``color``; nothing: 114."""
    layout: str = ""
    """How the model's own tensor lies: one of ``image_layout.AXES``. Empty: nchw."""

    @property
    def upright(self) -> Tuple[int, int]:
        """Rows and columns of the frame as the network sees it, before the resize."""
        return (self.width, self.height) if self.rotate in (90, 270) else (self.height, self.width)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor of the source model."""

    name: str
    shape: Tuple[int, ...]
    """Batch first; of an image (1, channels, rows, columns) whatever its ``layout``. Empty for an output whose shape is
    whatever the graph gives; -1 in an engine's output where the size depends on the frame. Of an input with a range:
    what the engine is tuned for, measured with, and run at unless somebody asks for another."""
    dtype: str = "float32"
    preprocess: Optional[Preprocess] = None
    """Set for image inputs: the engine then takes the frame's bytes, as its encoding's ``shape`` and ``dtype`` say."""
    min_shape: Tuple[int, ...] = ()
    """Smallest shape that the engine takes, one number a dimension; empty: ``shape`` is the only one. TensorRT only:
    other backends build for ``shape``. Not for image inputs: a camera's frame has one size."""
    max_shape: Tuple[int, ...] = ()


DEFAULT_INT8_METHOD: Final = "minmax"
"""Where nobody says which: it takes nothing off any activation, and needs no histogram."""


@dataclass(frozen=True)
class Int8Options:
    """Static Q/DQ quantization, per-channel weights."""

    method: str = DEFAULT_INT8_METHOD
    """entropy | percentile | minmax: how activation ranges are taken from the calibration data. calibrator:
    TensorRT's own, without Q/DQ pairs in the graph (TensorRT 8.5 to 10.x only)."""
    exclude_ops: Tuple[str, ...] = ()
    """ONNX operator types (``Softmax``) left in float."""
    exclude_nodes: Tuple[str, ...] = ()
    """ONNX node names left in float."""


@dataclass(frozen=True)
class BuildOptions:
    """Everything about a build that changes the engine, next to model, precision and device."""

    int8: Optional[Int8Options] = None
    keep_fp32_ops: Tuple[str, ...] = ()
    """fp16 only: operator types that stay in fp32."""
    keep_fp32_nodes: Tuple[str, ...] = ()
    """fp16 only: nodes, by name, that stay in fp32."""
    workspace_bytes: int = 0
    """TensorRT workspace cap; 0 means the builder's default for the device."""
    optimization_level: int = 3
    dla_core: Optional[int] = None
    """Core of the module's DLA that takes what it can; None: everything runs on the GPU. TensorRT only."""
    allow_mixed_precision: bool = False
    """Accept an engine whose layers are mostly not of the declared precision."""


@dataclass(frozen=True)
class AccuracyGate:
    """What an engine's outputs on golden inputs must satisfy."""

    min_cosine: float = 0.99
    """Cosine similarity, smallest over samples and outputs, against the reference."""
    max_abs_error: Optional[float] = None
    """Largest absolute difference, in the output's unit."""
    max_relative_error: Optional[float] = None
    """Norm of the difference over the norm of the reference. None: what belongs to ``min_cosine``
    (:func:`runtime.contract.engine.accuracy_gate.relative_limit`)."""
    min_decoded: Optional[float] = None
    """How far the decoders' results must agree with the reference's, 0 to 1. None: LEAST_AGREEMENT of
    :mod:`runtime.contract.engine.accuracy_gate`."""


@dataclass(frozen=True)
class BuildJob:
    """``job.json``: one engine to build. Paths are names inside the job archive."""

    key: str
    """The engine key this job answers, ``sha256:<hex>``."""
    model: str
    backend: str
    """tensorrt | onnxruntime."""
    precision: str
    """fp32 | fp16 | int8."""
    onnx_sha256: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    options: BuildOptions
    device: DeviceFacts
    accuracy: AccuracyGate
    enforce_accuracy: bool = True
    """False when the manifest waives the build's accuracy gate; the robot's self-test is never waived."""
    max_latency_p99_ms: Optional[float] = None
    bench_seconds: float = 3.0
    deadline_s: Optional[float] = None
    """Seconds until whoever asked ends the container, counted from before its start; None: the builder's own default.
    A builder that would take longer gives up before that, and says why."""
    metric: Optional[MetricGate] = None
    """What the model is for, measured beside ``accuracy``; waived with it."""
    decoders: Tuple[OutputDecoder, ...] = ()
    """What the robot makes of the outputs: run on the golden frames, judged like accuracy."""
    golden_expect: str = ""
    """``nothing``: a right model finds nothing in the golden frames. Empty: its decoders find something."""
    external: Dict[str, str] = field(default_factory=dict)
    """Files beside the model that hold its weights, as it names them → sha256; in the job under those names."""
    constants: Tuple[ConstantSpec, ...] = ()
    state: Tuple[StateSpec, ...] = ()
    """Their inputs and outputs are not among ``inputs`` and ``outputs``, but for outputs that are published too."""
    observations: Tuple[ObservationSpec, ...] = ()
    """Inputs of the model that ``inputs`` and ``state`` are composed to."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class EngineIdentity:
    """``engine.json``, the sidecar next to an engine in its layer: only what is a function of the engine key and bytes,
    so that the layer is reproducible. What was measured is in :class:`EngineReport`."""

    key: str
    model: str
    backend: str
    precision: str
    engine_file: str
    """File name next to this one: ``engine.onnx`` or ``engine.plan``."""
    engine_sha256: str
    engine_bytes: int
    device: DeviceFacts
    """As found by the builder on its hardware (checked against the key's claim)."""
    inputs: Tuple[TensorSpec, ...]
    """The engine's own inputs (a preprocessed image input is uint8, NHWC)."""
    outputs: Tuple[TensorSpec, ...]
    self_test: AccuracyGate
    """Against ``golden.npz`` next to this file."""
    dla_core: Optional[int] = None
    """Core of the DLA that the engine was built for, and must be loaded on; None: the GPU alone."""
    golden_expect: str = ""
    """As in :class:`BuildJob`."""
    state: Tuple[StateSpec, ...] = ()
    """Whoever runs the engine keeps these from frame to frame; they are among ``inputs`` and ``outputs``. Golden frames
    of such an engine are one sequence."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class OutputAccuracy:
    """One output tensor against a reference, worst over the golden samples."""

    output: str
    min_cosine: float
    """Of an output of one number: over all samples together, as one number alone has nothing but a sign. Of integers:
    the share that is equal."""
    max_abs_error: float
    relative_error: Optional[float] = None
    """Norm of the difference in the worst sample, over the reference's norm (root mean square over the samples). None:
    integers, and reports of older builders."""
    norm_ratio: Optional[float] = None
    """Norm of all samples over that of the reference's."""
    equal_share: Optional[float] = None
    """Of integers: the smallest share of equal ones. None: not integers."""
    matched_share: Optional[float] = None
    """Of an output with as many rows as are found: twice the rows that both have, over the rows of both, in all samples
    together. None: its shape is fixed."""


@dataclass(frozen=True)
class FileFacts:
    """One file, whatever its name."""

    size: int
    """Bytes."""
    sha256: str
    """Hex."""


@dataclass(frozen=True)
class EngineReport:
    """``report.json``: what was built, and what was measured while building it."""

    identity: EngineIdentity
    versions: Dict[str, str]
    """onnxruntime, onnx, tensorrt, python … as imported in the builder."""
    layer_precisions: Dict[str, int]
    """Layers (or graph nodes) that really run at each precision: {"fp32": 12, "int8": 88}."""
    accuracy: Tuple[OutputAccuracy, ...]
    """Against the same model at fp32 in ONNX Runtime."""
    golden_accuracy: Tuple[OutputAccuracy, ...]
    """Against the manifest's expected outputs; empty when the manifest gives none."""
    latency: Percentiles
    """Host latency of one inference, copies included."""
    source_bytes: int
    build_seconds: float
    total_seconds: float
    notes: Tuple[str, ...] = ()
    extra: Dict[str, Any] = field(default_factory=dict)
    """Backend-specific. ``main_layer_precisions``: as ``layer_precisions``, of the layers that do the work alone
    (convolutions, matrix products). ``layers``: what ran, each with ``name``, ``kind`` and ``precision``."""
    metric: Optional[TaskMetric] = None
    """None when the job asks for none."""
    decoded: Tuple[DecodedOutput, ...] = ()
    """What the decoders make of the engine's answers to the golden frames. Empty where the job names none."""
    files: Dict[str, FileFacts] = field(default_factory=dict)
    """What the engine's layer holds, by file name; written by `fleet` as it pushes the engine. Empty in older ones."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class BuildFailure:
    """``failure.json``: why there is no engine, in words a person can act on."""

    kind: str
    """Gates: accuracy | latency | precision. Others: device-mismatch | bad-model | calibration | golden | unsupported |
    memory | corrupt | internal."""
    message: str
    """One sentence with both numbers or both sides."""
    hint: str
    """What to do."""
    detail: str = ""
    sensitivity: Optional[Sensitivity] = None
    """After a failed accuracy gate at int8 or fp16: which nodes cost it, and what to leave in float."""
    schema: int = SCHEMA
