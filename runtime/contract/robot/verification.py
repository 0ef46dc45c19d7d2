"""Verification: what a robot finds when it checks itself, on demand. The agent makes it, the updater carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from runtime.contract.codec import SCHEMA

#: What is checked of every model, in this order.
ENGINE, MODEL, SENSORS, INFERENCE, OUTPUTS = "engine", "model", "sensors", "inference", "outputs"
CHECKS = (ENGINE, MODEL, SENSORS, INFERENCE, OUTPUTS)

DEFAULT_SECONDS = 5.0
MAX_SECONDS = 60.0
#: Beyond the seconds of listening: starting a ROS process on a busy robot, finding topics, hashing large engines.
VERIFY_MARGIN_S = 60.0


@dataclass(frozen=True)
class Finding:
    """One thing checked, and why it is as it is."""

    check: str
    """engine | model | sensors | inference | outputs (and whatever later agents check)."""
    model: str
    """Empty when it is about the whole robot."""
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verification:
    """What ``/verify`` answers."""

    time: float
    """Unix seconds, robot's clock, when it was done."""
    seconds: float
    """How long was listened."""
    passed: bool
    findings: Tuple[Finding, ...]
    schema: int = SCHEMA
