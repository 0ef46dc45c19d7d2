"""Shared by the agent's tests."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.contract.engine.build import Percentiles
from runtime.contract.node.health import ModelHealth, SelfTest
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig, Thresholds
from runtime.health.process.status import SERVING, ExecutorStatus
from runtime.health.process.supervisor import RUNNING, Snapshot

KEY = "sha256:k"


def percentiles(p99: float) -> Percentiles:
    return Percentiles(p99 / 2, p99 * 0.9, p99, p99 / 2, 100)


def model_health(**changes: Any) -> ModelHealth:
    values: dict[str, Any] = {
        "name": "signs",
        "precision": "fp16",
        "engine_key": KEY,
        "engine_sha256": "ff",
        "state": "active",
        "self_test": SelfTest(True, 0.9999, 0.99, "cosine 0.9999"),
        "inference_ms": percentiles(20.0),
        "frame_age_ms": percentiles(40.0),
        "input_rate_hz": 5.0,
        "output_rate_hz": 5.0,
        "frames": 100,
    }
    return ModelHealth(**{**values, **changes})


def snapshot(model: ModelHealth | None = None, **changes: Any) -> Snapshot:
    lifecycle = changes.pop("lifecycle", "active")
    phase = changes.pop("phase", SERVING)
    status = ExecutorStatus(42, phase, lifecycle, 0.0, () if model is None else (model,))
    values: dict[str, Any] = {
        "state": RUNNING, "pid": 42, "heartbeat_age_s": 0.1, "run_age_s": 60.0, "status": status, "live": True,
    }  # fmt: skip
    return Snapshot(**{**values, **changes})


@pytest.fixture
def config() -> RuntimeConfig:
    model = ModelRuntime(
        name="signs",
        precision="fp16",
        engine_key=KEY,
        inputs=(InputBinding("x", "/camera", "sensor_msgs/msg/Image", "rgb8", 4, 4),),
        outputs=(OutputBinding("y", "~/out", "tensor"),),
        thresholds=Thresholds(max_latency_p99_ms=50.0, min_input_rate_hz=2.0, max_frame_age_p99_ms=100.0),
    )
    return RuntimeConfig(models=(model,))
