"""``runtime.json``: what the runtime container runs. Part of the image, so it holds nothing of one robot alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA

#: Where things are inside a runtime image.
CONFIG_PATH = "/opt/jetfleet/config/runtime.json"
ENGINES_DIR = "/opt/jetfleet/engines"

#: Environment of the runtime container, set by the compose file from the release folder's ``.env``.
ENV_ROBOT = "JETFLEET_ROBOT"
ENV_RELEASE = "JETFLEET_RELEASE"
ENV_IMAGE = "JETFLEET_IMAGE"
ENV_HEALTH_PORT = "JETFLEET_HEALTH_PORT"
DEFAULT_HEALTH_PORT = 9310


@dataclass(frozen=True)
class InputBinding:
    """A ROS topic that feeds one engine input."""

    tensor: str
    topic: str
    type: str
    """ROS message type, ``sensor_msgs/msg/Image``."""
    encoding: str = ""
    height: int = 0
    width: int = 0
    network_height: int = 0
    """Rows of the network's own input, after the resize in the graph; 0 where that is not an image, or not known."""
    network_width: int = 0


@dataclass(frozen=True)
class OutputBinding:
    """An engine output that a decoder turns into a ROS message on a topic."""

    tensor: str
    topic: str
    decoder: str
    """A name of ``runtime.contract.decoders.DECODER_OPTIONS``, or ``package:name`` of an entry point."""
    options: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """When a model's behaviour on the robot stops being fine. ``None`` means not judged."""

    max_latency_p99_ms: Optional[float] = None
    min_input_rate_hz: Optional[float] = None
    max_frame_age_p99_ms: Optional[float] = None


@dataclass(frozen=True)
class ModelRuntime:
    """One model: its engine (in ``ENGINES_DIR/<name>/``) and what it is wired to."""

    name: str
    precision: str
    engine_key: str
    inputs: Tuple[InputBinding, ...]
    outputs: Tuple[OutputBinding, ...]
    thresholds: Thresholds = Thresholds()
    threads: int = 1
    """CPU threads of the engine, where the backend runs on the CPU."""


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
