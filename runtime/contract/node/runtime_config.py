"""``runtime.json``: what the runtime container runs. Part of the image, so it holds nothing of one robot alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.engine.decoded import tensors_read

#: Where things are inside a runtime image.
CONFIG_PATH = "/opt/jetfleet/config/runtime.json"
ENGINES_DIR = "/opt/jetfleet/engines"

#: Shared with the robot's host (compose/robot.compose.yaml); memory, so that nothing in it outlives a reboot.
NODE_DIR = "/run/jetfleet/node"
#: ``<model>/`` in here is an engine that is put in while the node runs.
SWAP_DIR = NODE_DIR + "/swap"

#: Environment of the runtime container, set by the compose file from the release folder's ``.env``.
ENV_ROBOT = "JETFLEET_ROBOT"
ENV_RELEASE = "JETFLEET_RELEASE"
ENV_IMAGE = "JETFLEET_IMAGE"
ENV_HEALTH_PORT = "JETFLEET_HEALTH_PORT"
DEFAULT_HEALTH_PORT = 9310


@dataclass(frozen=True)
class InputBinding:
    """What feeds one engine input: a ROS topic, or another model's output."""

    tensor: str
    topic: str
    """Empty where ``from_model`` feeds it."""
    type: str
    """ROS message type, ``sensor_msgs/msg/Image``. Empty where ``from_model`` feeds it."""
    encoding: str = ""
    height: int = 0
    width: int = 0
    network_height: int = 0
    """Rows of the network's own input, after the resize in the graph; 0 where that is not an image, or not known."""
    network_width: int = 0
    shape: Tuple[int, ...] = ()
    """Of the engine's tensor, where the input is no image."""
    dtype: str = "float32"
    """Of that tensor, as the model declares it: an engine of TensorRT takes int32 where that is int64."""
    options: Dict[str, Any] = field(default_factory=dict)
    """Of the type (``runtime.contract.node.inputs.INPUT_OPTIONS``), or of the adapter."""
    adapter: str = ""
    """``package:name`` of an adapter of somebody's own, for any message type; empty: the built-in one."""
    from_model: str = ""
    from_tensor: str = ""
    """Name of the output tensor of ``from_model``."""
    stamp: str = "header"
    """``header``: the message's own stamp; ``arrival``: when it arrived, for a publisher whose clock is not the
    robot's."""
    offset_s: float = 0.0
    """Added to the stamps where they are compared with those of other inputs, seconds."""

    @property
    def source(self) -> str:
        """What feeds it, for a person: the topic, or ``model/tensor``."""
        return "{}/{}".format(self.from_model, self.from_tensor) if self.from_model else self.topic


@dataclass(frozen=True)
class Trigger:
    """When a model runs. By default: once every input has a frame that it has not seen."""

    input: str = ""
    """Tensor whose new frames it runs on; the newest of the others goes along, seen or not."""
    rate_hz: float = 0.0
    """Runs so often instead, on the newest of every input. 0: not by time."""
    repeat: bool = False
    """With ``rate_hz``: also when no input has anything new."""


DEFAULT_GAP_S = 1.0


@dataclass(frozen=True)
class StateRule:
    """When a state, which is kept from frame to frame, begins anew. The engine's sidecar says from what and at what."""

    input: str
    reset: str = "on_gap"
    """``on_gap``: frames more than ``gap_s`` apart, or a clock that was set back, begin a new sequence; ``never``."""
    gap_s: float = DEFAULT_GAP_S
    failed_frame: str = "reset"
    """``reset``: a frame that came to nothing begins a new sequence; ``keep``: it is as if it had not been."""


MATCH_NEAREST, MATCH_AT_ONCE = "nearest", "at_once"
DEFAULT_QUEUE = 10


@dataclass(frozen=True)
class JoinRule:
    """Which frames of several inputs belong together. Times are of the frames' stamps, in seconds."""

    tolerance_s: Optional[float] = None
    """Largest difference between two stamps; ``None``: any."""
    max_age_s: Optional[float] = None
    """Frames older than this when the model would run are not used; ``None``: of any age."""
    clock_back_s: float = 1.0
    """A stamp that lies further back than this behind the one before is a clock that was set back: everything waiting
    is forgotten. One that lies back by less came late, and is not used."""
    queue: int = DEFAULT_QUEUE
    """Most frames of one input that wait for those of others."""
    match: str = ""
    """``nearest``: a set is used once nothing that may still come can lie closer. ``at_once``: it is used with the
    nearest that are there. Empty: ``at_once`` with a trigger, ``nearest`` without."""


@dataclass(frozen=True)
class OutputBinding:
    """An engine output that a decoder turns into a ROS message on a topic."""

    tensor: str
    """Empty where the decoder reads several."""
    topic: str
    decoder: str
    """A name of ``runtime.contract.node.decoders.DECODER_OPTIONS``, or ``package:name`` of an entry point."""
    options: Dict[str, Any] = field(default_factory=dict)
    tensors: Dict[str, str] = field(default_factory=dict)
    """Role → tensor, of a decoder that reads several."""

    @property
    def sources(self) -> Tuple[str, ...]:
        """Names of the tensors that it reads, in the order of their roles."""
        return tensors_read(self.tensor, self.tensors)


@dataclass(frozen=True)
class Thresholds:
    """When a model's behaviour on the robot stops being fine. ``None`` means not judged."""

    max_latency_p99_ms: Optional[float] = None
    min_input_rate_hz: Optional[float] = None
    max_frame_age_p99_ms: Optional[float] = None


@dataclass(frozen=True)
class FallbackEngine:
    """What serves in a model's place when its own engine fails: the same model otherwise built, or another model."""

    model: str
    precision: str
    engine_key: str
    inputs: Tuple[InputBinding, ...]
    """Its own tensors, on the topics that feed the model it stands in for."""
    outputs: Tuple[OutputBinding, ...]
    """Its own tensors, in the order of the outputs whose topics they take over."""
    threads: int = 1
    state: Tuple[StateRule, ...] = ()


@dataclass(frozen=True)
class ModelRuntime:
    """One model: its engine (in ``ENGINES_DIR/<name>/<precision>/``) and what it is wired to."""

    name: str
    precision: str
    engine_key: str
    inputs: Tuple[InputBinding, ...]
    outputs: Tuple[OutputBinding, ...]
    thresholds: Thresholds = Thresholds()
    threads: int = 1
    """CPU threads of the engine, where the backend runs on the CPU."""
    trigger: Trigger = Trigger()
    join: JoinRule = JoinRule()
    fallback: Optional[FallbackEngine] = None
    on_failure: str = ""
    """``zero`` or ``hold``: the outputs that command (velocity, joints) answer for it when no engine does, and that is
    declared to be enough: degraded, not unhealthy. Empty: a model without an engine is unhealthy."""
    state: Tuple[StateRule, ...] = ()


@dataclass(frozen=True)
class RuntimeConfig:
    """Everything the executor node and the health agent need to know."""

    models: Tuple[ModelRuntime, ...]
    node_name: str = "jetfleet"
    heartbeat_timeout_s: float = 5.0
    """The worker's heartbeat older than this means the executor is not alive."""
    startup_timeout_s: float = 120.0
    """From the executor's start to a lifecycle node that is active; within it a missing heartbeat is not held against
    the executor, because loading an engine may take long."""
    max_restarts: int = 5
    """Executor restarts within ``restart_window_s`` after which the agent says crash loop and stops restarting."""
    restart_window_s: float = 120.0
    schema: int = SCHEMA
