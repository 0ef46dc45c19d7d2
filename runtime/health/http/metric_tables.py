"""Which numbers of a report are metrics: name (after the prefix), help, where the number is. `None` is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.contract.engine.build import Percentiles
from runtime.contract.judgement import stands_in
from runtime.contract.node.health import HealthReport, ModelHealth, SystemHealth

_LEVELS = {"ok": 0, "warn": 1, "stale": 1, "error": 2}

Number = float | int | None
OfReport = tuple[str, str, Callable[[HealthReport], Number]]
OfMachine = tuple[str, str, Callable[[SystemHealth], Number]]
OfModel = tuple[str, str, Callable[[ModelHealth], Number]]
ByLabel = tuple[str, str, str, Callable[[HealthReport], Mapping[str, Number]]]
Quantiles = tuple[str, str, Callable[[ModelHealth], Percentiles | None]]

REPORT: tuple[OfReport, ...] = (
    ("live", "1 while the executor process makes progress.", lambda report: report.live),
    ("ready", "1 while every model is loaded, tested and serving.", lambda report: report.ready),
    ("in_service", "1 while ready, and real frames come through at their rates.", lambda report: report.in_service),
    ("agent_uptime_seconds", "Since the agent started.", lambda report: report.uptime_s),
    (
        "executor_heartbeat_age_seconds",
        "Since the executor made progress.",
        lambda report: report.executor.heartbeat_age_s,
    ),
)

MACHINE: tuple[OfMachine, ...] = (
    ("memory_total_bytes", "Memory of the machine.", lambda system: system.memory_total_bytes),
    ("memory_available_bytes", "Memory available without swapping.", lambda system: system.memory_available_bytes),
    ("gpu_memory_bytes", "Memory held by the GPU's allocator.", lambda system: system.gpu_memory_bytes),
    ("swap_size_bytes", "Swap of the machine.", lambda system: system.swap_total_bytes),
    ("swap_free_bytes", "Swap that is not used.", lambda system: system.swap_free_bytes),
    ("load1", "Load average over one minute.", lambda system: system.load_1m),
    ("power_watts", "Power of the whole module.", lambda system: system.power_w),
    ("throttling", "1 while clocks are lowered because of heat.", lambda system: system.throttling),
    ("gpu_load_ratio", "Share of time in which the GPU was busy.", lambda system: system.gpu_load),
    ("gpu_clock_hertz", "The GPU's clock.", lambda system: system.gpu_clock_hz),
    ("gpu_clock_max_hertz", "What the power mode allows the GPU.", lambda system: system.gpu_clock_max_hz),
    ("emc_clock_hertz", "The memory controller's clock.", lambda system: system.emc_clock_hz),
    ("cpus_online", "CPUs that run.", lambda system: system.cpus_online),
    ("fan_duty_ratio", "Duty set for the fan, 0 to 1.", lambda system: system.fan_duty),
    ("fan_speed_rpm", "Speed by the fan's tachometer.", lambda system: system.fan_rpm),
    ("machine_sample_age_seconds", "Since the machine's sensors were read.", lambda system: system.sample_age_s),
    ("machine_left_out", "Zones and rails of the machine that are not reported.", lambda system: system.left_out),
)

LABELLED: tuple[ByLabel, ...] = (
    (
        "check_level",
        "0 ok, 1 warning or stale, 2 error.",
        "check",
        lambda report: {check.name: _LEVELS.get(check.level, 2) for check in report.checks if check.name != "note"},
    ),
    ("temperature_celsius", "Thermal zones.", "zone", lambda report: report.system.temperatures_c),
    ("power_rail_watts", "VDD_IN is the total: do not sum.", "rail", lambda report: report.system.power_rails_w),
    ("cpu_clock_hertz", "Clock of a CPU cluster.", "cluster", lambda report: report.system.cpu_clocks_hz),
    ("cpu_clock_max_hertz", "What the power mode allows.", "cluster", lambda report: report.system.cpu_clocks_max_hz),
    ("overcurrent_rate_hertz", "Events, last minute.", "event", lambda report: report.system.overcurrent_per_s),
    (
        "disk_size_bytes",
        "Size of a volume.",
        "volume",
        lambda report: {name: volume.total_bytes for name, volume in report.system.disks.items()},
    ),
    (
        "disk_free_bytes",
        "Free on a volume.",
        "volume",
        lambda report: {name: volume.free_bytes for name, volume in report.system.disks.items()},
    ),
)

MODEL_GAUGES: tuple[OfModel, ...] = (
    (
        "model_self_test_cosine",
        "Smallest cosine on golden data at load.",
        lambda model: None if model.self_test is None else model.self_test.min_cosine,
    ),
    (
        "model_standing_in",
        "1 while another engine serves the model.",
        stands_in,
    ),
    ("model_input_rate_hertz", "Frames arriving.", lambda model: model.input_rate_hz),
    ("model_output_rate_hertz", "Results published.", lambda model: model.output_rate_hz),
)

MODEL_COUNTERS: tuple[OfModel, ...] = (
    ("model_frames", "Frames turned into results since the executor started.", lambda model: model.frames),
    ("model_dropped_frames", "Frames that were dropped.", lambda model: model.drops),
    ("model_errors", "Frames refused, and inferences that failed.", lambda model: model.errors),
    (
        "model_state_resets",
        "Sequences of a model with state that ended early.",
        lambda model: sum(model.state_resets.values()),
    ),
    ("model_capped_findings", "Findings over a decoder's most, not published.", lambda model: model.capped),
)

MODEL_QUANTILES: tuple[Quantiles, ...] = (
    ("model_inference_seconds", "Inference, copies included.", lambda model: model.inference_ms),
    ("model_frame_age_seconds", "From the frame's stamp to its result.", lambda model: model.frame_age_ms),
)
