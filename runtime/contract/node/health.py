"""HealthReport: what the agent in the runtime container says at ``/report``, and what a robot attests with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.engine.decoded import DecodedOutput
from runtime.contract.engine.facts import Percentiles
from runtime.contract.robot.power import PowerStatus

#: Overall verdict, three states: only ``UNHEALTHY`` reverts a release.
OK, DEGRADED, UNHEALTHY = "ok", "degraded", "unhealthy"
#: Words of :attr:`ModelHealth.serving` for what is not the configured engine, and is declared or was asked for.
STANDING_IN = ("fallback", "swapped", "zero", "hold")
#: State of a command output that sends what the model wants (which may be zero).
DRIVE = "drive"
#: Levels of one check, the words of diagnostic_msgs/DiagnosticStatus.
LEVEL_OK, LEVEL_WARN, LEVEL_ERROR, LEVEL_STALE = "ok", "warn", "error", "stale"


@dataclass(frozen=True)
class SelfTest:
    """The engine's outputs on golden inputs, on this robot."""

    passed: bool
    min_cosine: float
    required_cosine: float
    message: str
    decoded: Tuple[DecodedOutput, ...] = ()
    """What the decoders make of the engine's answers, here."""


@dataclass(frozen=True)
class CommandHealth:
    """What one command output (a velocity, joints) does to the robot now, and why it does not drive it."""

    topic: str
    """Resolved name."""
    state: str
    """drive | hold (the last command, the measured position, or damping) | stopped (zero is sent, or nothing, by the
    output's options) | held (nothing is sent: somebody else has the topic, or nobody listens)."""
    reason: str = ""
    """Why it does not drive; empty while it does."""
    driven: int = 0
    """Commands of a model's result that were sent since the executor started."""
    sent: int = 0
    """All commands that were sent, zeros included."""
    limited: int = 0
    """Results of which a joint was over a limit, and commands that were held back at one."""
    limit: str = ""
    """The last of them: joint, value and limit."""
    unmeasured: int = 0
    """Measurements of the joints that were refused: a joint missing, not finite, a jump, another clock."""


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
    causes: Dict[str, int] = field(default_factory=dict)
    """What drops and errors were, by name (``lost``, ``replaced``, ``unmatched``, ``stale``, ``late``; ``size``,
    ``encoding``, …), how often a publisher's clock was set back (``clock_back``), and how many frames had a stamp ahead
    of the robot's clock (``clock_ahead``) or far behind it (``clock_behind``). Names are few and fixed."""
    serving: str = ""
    """Whose engine answers: ``configured``, ``fallback`` (of ``serving_model``), ``swapped`` (put in while running), or
    ``zero`` | ``hold`` (no engine; the outputs that command answer). Empty: nothing does, or an older executor."""
    serving_model: str = ""
    """Name of the model that the serving engine was built from; another one only for a fallback."""
    serving_reason: str = ""
    """Why it is not the configured engine."""
    capped: int = 0
    """Findings that were not published, because a decoder's ``max_detections`` or ``max_boxes`` was reached."""
    by_udp: Tuple[str, ...] = ()
    """Large inputs that do not come through shared memory, ``<topic> from <node>``: their frames get lost."""
    held: str = ""
    """Why an output of it commands nothing: who else commands the topic, with participant and host. Empty:
    nobody does, or an older executor."""
    commands: Tuple[CommandHealth, ...] = ()
    """Of each output that commands. Empty: it has none, or an older executor."""
    clock: Tuple[str, ...] = ()
    """Inputs whose newest stamp does not fit the robot's clock, each with by how much, and what to do."""
    unheard: Tuple[str, ...] = ()
    """Listeners of its outputs that never hear them: another message type, or a quality of service that does not
    match."""
    mixed: Tuple[str, ...] = ()
    """Inputs on whose topic messages of several publishers are mixed, and whose."""
    state_resets: Dict[str, int] = field(default_factory=dict)
    """How often what it keeps from frame to frame began anew, by reason: ``gap``, ``clock_back``, ``failed_frame``,
    ``not_finite``, ``engine`` (another one serves), ``activated``."""
    last_state_reset: str = ""
    """The last of them, with which states and why."""


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
class Space:
    """Room on one volume, bytes."""

    total_bytes: int
    free_bytes: int
    """What an unprivileged process may use."""


@dataclass(frozen=True)
class SystemHealth:
    """The machine. A value that this machine does not offer is ``None`` or absent; nothing is guessed."""

    temperatures_c: Dict[str, float] = field(default_factory=dict)
    """Thermal zone by its type (``tj-thermal``)."""
    memory_total_bytes: Optional[int] = None
    memory_available_bytes: Optional[int] = None
    disk_free_bytes: Optional[int] = None
    """Of the container's root file system; ``disks`` has every volume."""
    load_1m: Optional[float] = None
    power_w: Optional[float] = None
    """The whole module: the rail VDD_IN, never a sum of rails (VDD_IN is the total already)."""
    throttling: Optional[bool] = None
    """The kernel slows a clock down because of heat. None: this machine does not say."""
    throttled_by: Tuple[str, ...] = ()
    """Cooling devices that do so now (``gpu-throttle-alert``)."""
    power_rails_w: Dict[str, float] = field(default_factory=dict)
    """Rail by its label (``VDD_CPU_GPU_CV``)."""
    gpu_load: Optional[float] = None
    """Share of time in which the GPU was busy, 0 to 1."""
    gpu_clock_hz: Optional[int] = None
    gpu_clock_max_hz: Optional[int] = None
    """What the power mode allows now."""
    emc_clock_hz: Optional[int] = None
    """Memory controller. Only root may read it on L4T 35 and 36."""
    cpu_clocks_hz: Dict[str, int] = field(default_factory=dict)
    """Cluster (``policy0``) → clock."""
    cpu_clocks_max_hz: Dict[str, int] = field(default_factory=dict)
    """Cluster → what the power mode allows now."""
    cpus_online: Optional[int] = None
    overcurrent_events: Dict[str, int] = field(default_factory=dict)
    """``oc1`` (under voltage), ``oc2`` (average over-current), ``oc3`` (instantaneous over-current) → since boot."""
    overcurrent_per_s: Dict[str, float] = field(default_factory=dict)
    """The same, per second over the last minute (less while the agent is younger)."""
    overcurrent_throttles: Dict[str, bool] = field(default_factory=dict)
    """Whether the hardware slows clocks down at such an event."""
    gpu_memory_bytes: Optional[int] = None
    """Held by the GPU's allocator out of the unified memory. Only where the kernel says so (L4T 35 and 36)."""
    swap_total_bytes: Optional[int] = None
    swap_free_bytes: Optional[int] = None
    disks: Dict[str, Space] = field(default_factory=dict)
    """Mount point in the container → room."""
    fan_duty: Optional[float] = None
    """What the fan is told, 0 to 1."""
    fan_rpm: Optional[int] = None
    """What its tachometer says."""
    left_out: int = 0
    """Zones, rails and volumes beyond the number that is reported."""
    sample_age_s: float = 0.0
    """Since this was read. It grows when a sensor's driver hangs."""


@dataclass(frozen=True)
class TurnHealth:
    """Of the two containers that a robot may have in a handover, what this one says of its turn."""

    slot: str
    """As ``RunningRelease.slot``."""
    exclusive: bool = False
    """Its executor takes turns: it serves under the serving lock alone."""
    standing_by: str = ""
    """Why it leaves the serving to the other one, although it could serve; empty: it does not."""
    memory_bytes: Optional[int] = None
    """Resident, of agent and executor together."""


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
    """Proven: every model loaded, warm, self-tested and serving. What a rollout waits for."""
    uptime_s: float
    executor: ExecutorHealth
    models: Tuple[ModelHealth, ...]
    checks: Tuple[Check, ...]
    """Every judged measurement; those not ok give the reasons of ``state``."""
    system: SystemHealth = SystemHealth()
    agent_version: str = ""
    in_service: Optional[bool] = None
    """Does its work now: ``ready``, a first real frame through every model, and rates within bounds. For people and
    load balancers (`/readyz`). A rollout judges ``ready`` and ``state``: a dead camera is no release's fault. None: an
    agent that does not know this yet."""
    waiting_for: Tuple[str, ...] = ()
    """Why ``in_service`` is False."""
    power: Optional[PowerStatus] = None
    """What the governor does. None: this robot's power is not governed."""
    turn: Optional[TurnHealth] = None
    """None: an agent that knows nothing of handovers."""
    schema: int = SCHEMA
