"""`/diagnostics`: one status a model, once a second and whenever one changes, as diagnostic tools expect them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from runtime.contract.engine.build import Percentiles
from runtime.contract.judgement import FAILED, idle_commands, is_active, stands_in
from runtime.contract.node.health import ModelHealth

TOPIC = "/diagnostics"
PERIOD_S = 1.0
SERIAL_FILES = (Path("/proc/device-tree/serial-number"), Path("/sys/class/dmi/id/product_serial"))

Row = tuple[int, str, str, tuple[tuple[str, str], ...]]
"""Level, name, message, key and value of each fact."""


class Diagnostics:
    """Publishes what the models say of themselves. Polled by a timer of the node."""

    def __init__(
        self,
        node: Node,
        models: Callable[[], Iterable[ModelHealth]],
        hardware_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self._models, self._hardware_id, self._clock = node, models, hardware_id, clock
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, 10)
        self._said: tuple[tuple[int, str], ...] = ()
        self._last: float | None = None

    def poll(self) -> None:
        """Publish when it is time, or when a level or message changed."""
        now = self._clock()
        models = tuple(self._models())
        said = tuple(verdict(model) for model in models)
        if self._last is not None and now - self._last < PERIOD_S and said == self._said:
            return
        self._last, self._said = now, said
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [_status(row(self._node.get_name(), model), self._hardware_id) for model in models]
        self._publisher.publish(message)


def verdict(model: ModelHealth) -> tuple[int, str]:
    """Return level (0 ok, 1 warning, 2 error, 3 stale) and message of a model."""
    if stands_in(model):
        who = {"zero": "its outputs send zero", "hold": "its outputs hold as declared"}.get(
            model.serving, f"{model.serving} engine {model.serving_model} {model.precision} serves"
        )
        return 1, f"{who}: {model.serving_reason}" if model.serving_reason else who
    if model.state == FAILED:
        return 2, model.last_error or "failed"
    if not is_active(model):
        return 1, model.state
    if model.input_rate_hz <= 0.0:
        return 3, "no input"
    if model.output_rate_hz <= 0.0:
        return 1, f"no results: {model.last_error or 'none yet'}"
    if model.held:
        return 1, f"commands nothing: {model.held}"
    if found := [*idle_commands(model), *model.clock, *model.unheard, *model.mixed]:
        return 1, "; ".join(found)
    return 0, f"active at {model.precision}"


def row(node: str, model: ModelHealth) -> Row:
    """Return one status as plain values; the names of times are Autoware's."""
    level, message = verdict(model)
    facts: list[tuple[str, str]] = [
        ("state", model.state),
        ("serving", model.serving),
        ("engine_key", model.engine_key),
        ("precision", model.precision),
        ("input_rate_hz", f"{model.input_rate_hz:.1f}"),
        ("output_rate_hz", f"{model.output_rate_hz:.1f}"),
        ("frames", str(model.frames)),
        ("drops", str(model.drops)),
        ("errors", str(model.errors)),
        *((f"command {each.topic}", each.state) for each in model.commands),
        *((f"limited {each.topic}", f"{each.limited}: {each.limit}") for each in model.commands if each.limited),
        *((f"cause {name}", str(count)) for name, count in sorted(model.causes.items())),
        *((f"state_reset {name}", str(count)) for name, count in sorted(model.state_resets.items())),
        *_times("processing_time", model.inference_ms),
        *_times("pipeline_latency", model.frame_age_ms),
    ]
    return level, f"{node}: {model.name}", message, tuple(facts)


def hardware_id(robot: str, files: Sequence[Path] = SERIAL_FILES) -> str:
    """Return the device's serial number, or the robot's name where the machine does not tell."""
    for file in files:
        try:
            found = file.read_bytes().rstrip(b"\0\n ").decode("ascii", "replace")
        except OSError:
            continue
        if found:
            return found
    return robot


def _times(name: str, found: Percentiles | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [(f"{name}_ms_{key}", f"{getattr(found, key):.2f}") for key in ("p50", "p90", "p99")]


def _status(found: Row, hardware: str) -> Any:
    level, name, message, facts = found
    return DiagnosticStatus(
        level=bytes([level]),
        name=name,
        message=message,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=value) for key, value in facts],
    )
