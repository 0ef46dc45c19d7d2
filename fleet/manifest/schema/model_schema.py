"""The model's file as frozen types: source, inputs, outputs, precisions, golden data, gates."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from fleet.manifest.schema.number_values import Bounds, Constant, Initial, Numbers, NumbersByName, Span
from fleet.manifest.schema.values import Frozen, Name, Precision, Seconds, Sha256, SignedSeconds, Text, Topic
from runtime.contract.engine.build import DEFAULT_INT8_METHOD, BuildOptions
from runtime.contract.engine.decoded import output_name, tensors_read
from runtime.contract.engine.image_layout import as_nchw
from runtime.contract.engine.task_metric import METRICS
from runtime.contract.node.decoders import DECODER_OPTIONS
from runtime.contract.node.encodings import ENCODINGS, meant_by
from runtime.contract.node.inputs import IMAGE, IMAGE_TYPES
from runtime.contract.node.runtime_config import DEFAULT_GAP_S, DEFAULT_QUEUE

InputType = Literal["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]

DecoderName = Annotated[
    Text,
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": sorted(DECODER_OPTIONS)},
                {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z_][A-Za-z0-9_.-]*$"},
            ]
        }
    ),
]
"""A built-in decoder, or ``package:name`` of an entry point."""
PluginName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?:[A-Za-z_][A-Za-z0-9_.-]*$")
]
"""``package:name`` of an entry point."""
MessageType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*$")]
"""A ROS message type."""


def _encoding(value: Any) -> Any:
    if isinstance(value, str) and value not in ENCODINGS:
        meant = meant_by(value)
        same = f" (it is {meant})" if meant else ""
        raise ValueError(f"{value!r} is no encoding that frames can have here{same}: write {', '.join(ENCODINGS)}")
    return value


EncodingName = Annotated[str, BeforeValidator(_encoding), WithJsonSchema({"enum": list(ENCODINGS)})]
"""An encoding of sensor_msgs."""


class Source(Frozen):
    """Where a model's ONNX file is: exactly one of path, url, oci; its sha256 always."""

    path: Text | None = None
    """Relative to the model's file."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    oci: Annotated[str, StringConstraints(pattern=r"^[^\s/]+/\S+$")] | None = None
    """``registry/repository:tag`` or ``registry/repository@sha256:…`` of an artifact whose one layer is the file."""
    sha256: Sha256
    data: dict[str, Sha256] = Field(default_factory=dict)
    """Files beside ``path`` that hold weights, as the ONNX file names them → their sha256."""

    @model_validator(mode="after")
    def _one_of(self) -> Source:
        if sum(value is not None for value in (self.path, self.url, self.oci)) != 1:
            raise ValueError("a source has exactly one place: give path, url or oci")
        if self.data and self.path is None:
            raise ValueError("data is of a source by path: save a model that is fetched as one file")
        return self


class ImagePreprocess(Frozen):
    """From the camera's frame to the model's tensor; becomes part of the engine."""

    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: Literal["stretch", "letterbox", "none"] = "stretch"
    place: Literal["centre", "top_left"] = "centre"
    """Of a letterbox: where the frame lies in it."""
    pad: tuple[Annotated[float, Field(ge=0, le=65535)], ...] = ()
    """Of a letterbox's bars, in the frame's unit, one number a channel in the order of ``color``; 114 if not given."""
    scale: Annotated[float, Field(gt=0)] = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """One number a channel, in the order of ``color``, after ``scale``."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 1.0, 1.0)
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise, before the resize."""
    flip: Literal["horizontal", "vertical"] | None = None
    """After the rotation."""
    layout: Literal["nchw", "nhwc", "chw", "hwc"] = "nchw"
    """How the model's tensor lies, as its ``shape`` says."""


class OutputRef(Frozen):
    """An output of another model on the same robot."""

    model: Name
    tensor: Text


class ShapeRange(Frozen):
    """Smallest and largest shape of an input's engine; ``shape`` lies between them. Rules: `check_range.py`."""

    min: tuple[Annotated[int, Field(ge=1)], ...]
    max: tuple[Annotated[int, Field(ge=1)], ...]


class ModelInput(Frozen):
    """One input tensor and what feeds it: a ROS topic, or another model. Which keys go together: `check_input.py`."""

    tensor: Text
    shape: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """What the robot runs at, whatever the range. Must be given, but for a constant."""
    constant: Constant | None = None
    """The value for good, which becomes part of the engine: one for the whole tensor, or as many as it has."""
    dtype: InputType = "float32"
    """Element type of the ONNX file's input."""
    shape_range: ShapeRange | None = None
    """Of a TensorRT engine, which then takes any shape in it; tuned for ``shape``."""
    topic: Topic | None = None
    from_output: Annotated[OutputRef | None, Field(alias="from")] = None
    type: MessageType = IMAGE
    adapter: PluginName | None = None
    """An input adapter of the user's own, for any message type."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Depend on the type, or on the adapter."""
    encoding: EncodingName = "rgb8"
    width: Annotated[int, Field(ge=1, le=16384)] | None = None
    height: Annotated[int, Field(ge=1, le=16384)] | None = None
    preprocess: ImagePreprocess = ImagePreprocess()
    stamp: Literal["header", "arrival"] = "header"
    """A frame's time: its message's own stamp, or its arrival, for a publisher whose clock is not the robot's."""
    offset: SignedSeconds = 0.0
    """Added to the stamps where they are compared with those of other inputs."""
    min_rate: Annotated[float, Field(gt=0)] | None = None
    """Hz; below it the robot says degraded."""

    @property
    def is_constant(self) -> bool:
        """Nothing feeds it: its value is in the engine."""
        return self.constant is not None

    @property
    def is_image(self) -> bool:
        """The engine takes the camera's bytes, preprocessing in front; otherwise a tensor as it is."""
        fed = self.from_output is not None or self.is_constant
        return not fed and self.adapter is None and self.type in IMAGE_TYPES

    @property
    def frame(self) -> tuple[int, int, int]:
        """Rows, columns and channels of an image's frames as the engine takes them."""
        return ENCODINGS[self.encoding].shape(self.height or 0, self.width or 0)[1:]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(1, channels, rows, columns) of an image's tensor, whatever its layout. ValueError for another rank."""
        return as_nchw(self.shape, self.preprocess.layout)

    @property
    def frame_dtype(self) -> str:
        """Of an image's frames as the engine takes them."""
        return ENCODINGS[self.encoding].dtype


class ModelState(Frozen):
    """What an output (or the end of an input) gives at one frame, and an input takes at the next. `check_state.py`."""

    input: Text
    """An input of the ONNX file, or a name that observations use."""
    output: Text | None = None
    tail_of: Text | None = None
    """Instead: an input or observation whose last values are kept."""
    shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Where the ONNX file leaves it open."""
    initial: Initial = 0.0
    reset: Literal["on_gap", "never"] = "on_gap"
    gap: Annotated[Seconds, Field(gt=0)] = DEFAULT_GAP_S
    """Frames further apart begin a new sequence."""
    failed_frame: Literal["reset", "keep"] | None = None
    """What a frame that came to nothing makes of it: reset when not given, keep with reset: never."""


class ModelObservationPart(Frozen):
    """Some values of an observation. In this order: chosen, less subtract, clipped, times scale. `check_state.py`."""

    input: Text | None = None
    """A declared input, or a state's."""
    fields: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Of a message whose numbers have names."""
    joints: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Of a JointState: these, in this order."""
    slice: Span | None = None
    """Of numbers without names: the first, and the first that is none of them."""
    projected_gravity: bool = False
    """Of a quaternion: the direction of gravity in the body's frame."""
    subtract: NumbersByName | None = None
    """Numbers, or by joint."""
    clip: Bounds | None = None
    scale: Numbers | None = None
    constant: Numbers | None = None


class ModelObservation(Frozen):
    """An input of the ONNX file that is composed in the engine: its parts one after another."""

    tensor: Text
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    parts: Annotated[tuple[ModelObservationPart, ...], Field(min_length=1)]
    clip: Bounds | None = None


class ModelTrigger(Frozen):
    """When the model runs. Nothing in it: once every input has something new."""

    input: Text | None = None
    """Tensor whose new frames it runs on."""
    rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Hz: by time instead."""
    unchanged: Literal["skip", "repeat"] = "skip"
    """What happens in a period in which no input has anything new."""


class ModelJoin(Frozen):
    """Which frames of several inputs belong together, by their stamps."""

    tolerance: Seconds | None = None
    max_age: Seconds | None = None
    clock_back: Annotated[Seconds, Field(gt=0)] = 1.0
    queue: Annotated[int, Field(ge=2, le=100)] = DEFAULT_QUEUE
    """Most frames of one input that wait for those of others."""
    match: Literal["nearest", "at_once"] | None = None
    """nearest: once nothing that may still come can lie closer; at_once: with what is there. Not given: at_once with a
    trigger, nearest without."""


class Decoder(Frozen):
    """How an output becomes a ROS message. Options depend on the decoder."""

    name: DecoderName
    options: dict[str, Any] = Field(default_factory=dict)


class ModelOutput(Frozen):
    """One output tensor, or several that one decoder reads, and the topic that the result is published on."""

    tensor: Text | None = None
    tensors: dict[Text, Text] = Field(default_factory=dict)
    """Role → tensor, of a decoder that reads several: boxes, scores, classes …"""
    topic: Topic
    decoder: Decoder

    @model_validator(mode="after")
    def _one_kind(self) -> ModelOutput:
        if (self.tensor is None) == (not self.tensors):
            raise ValueError("give tensor, or tensors with the role of each: one of the two")
        for role in self.tensors:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", role):
                raise ValueError(f"{role!r} is no role: write lower-case letters, digits and _, as in {{boxes: NAME}}")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the tensors that it reads, in the order of their roles."""
        return tensors_read(self.tensor or "", self.tensors)

    @property
    def output_name(self) -> str:
        """What messages and reports call it."""
        return output_name(self.tensor or "", self.tensors)


DEFAULT_LEVEL = BuildOptions().optimization_level
OptimizationLevel = Annotated[int, Field(ge=0, le=5)]
"""Of TensorRT's builder: how much it tries. Other backends have none."""


class Fp16Options(Frozen):
    """fp16: what stays in fp32."""

    keep_fp32_ops: tuple[str, ...] = ()
    keep_fp32_nodes: tuple[str, ...] = ()
    optimization_level: OptimizationLevel = DEFAULT_LEVEL


class Int8Options(Frozen):
    """int8: static Q/DQ from calibration data."""

    calibration: Text | None = None
    """Folder of images, or an .npz file, relative to the model's file. Not of a model that is quantized already."""
    method: Literal["entropy", "percentile", "minmax", "calibrator"] = DEFAULT_INT8_METHOD
    exclude_ops: tuple[str, ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    optimization_level: OptimizationLevel = DEFAULT_LEVEL


class Precisions(Frozen):
    """Options of the precisions a model may be built at. fp32 and fp16 need none; int8 needs calibration data."""

    fp16: Fp16Options = Fp16Options()
    int8: Int8Options | None = None


class Golden(Frozen):
    """Known inputs, and what a right model answers. Every robot runs them before it serves."""

    data: Text
    """.npz relative to the model's file: frames under each input tensor's name (N first), and, where a trusted answer
    is known, expected outputs under each output tensor's name."""
    expect: Literal["nothing"] | None = None
    """A right model finds nothing in these frames. Not given: every decoder must find something in one of them."""


class AccuracyGate(Frozen):
    """What outputs on golden inputs must satisfy, against the reference."""

    min_cosine: Annotated[float, Field(ge=-1, le=1)] = 0.99
    max_abs_error: Annotated[float, Field(gt=0)] | None = None
    max_relative_error: Annotated[float, Field(gt=0)] | None = None
    min_decoded: Annotated[float, Field(ge=0, le=1)] | None = None


class MetricGate(Frozen):
    """What the model is for, measured by the builder. What goes together: `check_metric.py`."""

    name: Annotated[Text, WithJsonSchema({"enum": list(METRICS)})]
    output: Text
    min: dict[Precision, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Of an agreement, by precision; others are measured and not judged."""
    max: dict[Precision, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Of an error, in the output's unit."""
    threshold: float = 0.5
    """mask_iou of one channel."""

    @property
    def limits(self) -> dict[Precision, float]:
        """What is asked, by precision."""
        return {**self.min, **self.max}


class ModelGates(Frozen):
    """When an engine of this model is good enough, by precision; and how fast it must be, by profile."""

    accuracy: dict[Precision, AccuracyGate] = Field(default_factory=dict)
    metric: MetricGate | None = None
    latency_p99: dict[str, Seconds] = Field(default_factory=dict)
    waive_build_accuracy: Text | None = None
    """A reason to publish although the build's accuracy gate fails. The robot's self-test is never waived."""


class Model(Frozen):
    """An ONNX model: source, inputs, outputs, precisions, golden data, gates."""

    name: Name
    source: Source
    inputs: Annotated[tuple[ModelInput, ...], Field(min_length=1)]
    outputs: Annotated[tuple[ModelOutput, ...], Field(min_length=1)]
    state: tuple[ModelState, ...] = ()
    observations: tuple[ModelObservation, ...] = ()
    trigger: ModelTrigger = ModelTrigger()
    join: ModelJoin = ModelJoin()
    precisions: Precisions = Precisions()
    golden: Golden
    gates: ModelGates = ModelGates()

    @property
    def fed(self) -> tuple[ModelInput, ...]:
        """The inputs that messages or other models feed: all but constants."""
        return tuple(value for value in self.inputs if not value.is_constant)
