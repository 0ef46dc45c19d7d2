"""HealthReport: what the agent in the runtime container says at ``/report``, and what a robot attests with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from runtime.contract.build import Percentiles
from runtime.contract.codec import SCHEMA

#: Overall verdict, three states: only ``UNHEALTHY`` reverts a release.
OK, DEGRADED, UNHEALTHY = "ok", "degraded", "unhealthy"
#: Levels of one check, the words of diagnostic_msgs/DiagnosticStatus.
LEVEL_OK, LEVEL_WARN, LEVEL_ERROR, LEVEL_STALE = "ok", "warn", "error", "stale"


@dataclass(frozen=True)
class SelfTest:
    """The engine's outputs on golden inputs, on this robot."""

    passed: bool
    min_cosine: float
    required_cosine: float
    message: str


@dataclass(frozen=True)
class ModelHealth:
    """One model as it runs now."""

    name: str
    precision: str
    engine_key: str
    """From the engine's sidecar."""
    engine_sha256: str
    """Hash of the file as found on the robot when it was loaded."""
    state: str
    """loading | inactive | active | failed."""
    self_test: Optional[SelfTest] = None
    inference_ms: Optional[Percentiles] = None
    frame_age_ms: Optional[Percentiles] = None
    input_rate_hz: float = 0.0
    output_rate_hz: float = 0.0
    frames: int = 0
    drops: int = 0
    errors: int = 0
    last_error: str = ""


@dataclass(frozen=True)
class ExecutorHealth:
    """The executor process, as its supervisor sees it."""

    state: str
    """starting | running | restarting | crash_loop | stopped."""
    lifecycle: str
    """unconfigured | inactive | active | finalized | unknown (REP: managed nodes)."""
    restarts: int
    heartbeat_age_s: Optional[float] = None
    pid: Optional[int] = None
    last_exit: str = ""


@dataclass(frozen=True)
class Check:
    """One measurement, judged."""

    name: str
    level: str
    message: str


@dataclass(frozen=True)
class SystemHealth:
    """The machine. A value that this machine does not offer is ``None`` or absent."""

    temperatures_c: Dict[str, float] = field(default_factory=dict)
    memory_total_bytes: Optional[int] = None
    memory_available_bytes: Optional[int] = None
    disk_free_bytes: Optional[int] = None
    load_1m: Optional[float] = None
    power_w: Optional[float] = None
    throttling: Optional[bool] = None


@dataclass(frozen=True)
class HealthReport:
    """The whole truth of one moment."""

    time: float
    """Unix seconds, UTC, robot's clock."""
    robot: str
    release: str
    """Version, where the container is told; empty under Compose (docs/decisions/0006)."""
    image: str
    """Image reference with digest, as told to the container. The updater checks it against the Engine."""
    state: str
    """ok | degraded | unhealthy."""
    live: bool
    ready: bool
    uptime_s: float
    executor: ExecutorHealth
    models: Tuple[ModelHealth, ...]
    checks: Tuple[Check, ...]
    """Every judged measurement; those not ok give the reasons of ``state``."""
    system: SystemHealth = SystemHealth()
    agent_version: str = ""
    schema: int = SCHEMA
