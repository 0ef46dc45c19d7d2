"""What a robot keeps for its node, and when it must not be updated: a robot's settings, as JSON in its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.node.runtime_config import NODE_DIR

#: A robot's ResourcePolicy. Absent: nothing is pinned or reserved.
ENV_RESOURCES = "JETFLEET_RESOURCES"
#: Bytes that the container may take, for ``mem_limit`` of the compose file; 0 is no limit.
ENV_MEMORY = "JETFLEET_MEMORY"
#: A robot's InhibitPolicy. Absent: nothing holds an update back.
ENV_INHIBIT = "JETFLEET_UPDATE_INHIBIT"

#: The update lock. The container holds it (``flock``) while a rule says so; in memory, in a folder that the updater
#: makes, that the container may write to, and that both see.
LOCK_FILE = NODE_DIR + "/update.lock"
LOCK_STALE_S = 10.0
"""A heartbeat in the file older than this counts as locked: silence means no."""

VELOCITY, BOOL, SERVICE = "velocity", "bool", "service"


@dataclass(frozen=True)
class ResourcePolicy:
    """CPUs and memory of one robot's node."""

    worker_cpus: Tuple[int, ...] = ()
    """CPUs of the thread that owns the engines, and of the threads of engines that run on the CPU. Empty: any."""
    spin_cpus: Tuple[int, ...] = ()
    """CPUs of the thread that takes messages."""
    keep_free_bytes: Optional[int] = None
    """Memory (on a Jetson the GPU's too) that must be left when an engine is loaded; ``None``: 64 MiB."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class InhibitRule:
    """The robot must not be updated while this is so."""

    kind: str
    """velocity: a Twist or TwistStamped that is not zero came within ``within_s`` · bool: the last Bool was true ·
    service: a Trigger that answered no, or not at all."""
    name: str
    """Of the topic or service."""
    within_s: float = 10.0
    """velocity: how long after the last command the robot counts as moving. service: how often it is asked."""
    message: str = "Twist"
    """velocity: ``Twist`` or ``TwistStamped``."""


@dataclass(frozen=True)
class InhibitPolicy:
    """All rules of one robot. Any of them inhibits."""

    rules: Tuple[InhibitRule, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class LockState:
    """What the holder writes into the lock's file, once a second."""

    boot_s: float
    """CLOCK_BOOTTIME when it was written: one clock for container and host."""
    pid: int
    reasons: Tuple[str, ...] = ()
    """Why the robot must not be updated; empty: it may."""
    schema: int = SCHEMA
