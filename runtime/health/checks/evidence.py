"""What a separate process finds: engine files hashed again, topics listened to (executor/evidence)."""

from __future__ import annotations

from dataclasses import dataclass, field

COMMAND = ("-m", "runtime.executor.checks.evidence")


@dataclass(frozen=True)
class EngineEvidence:
    """One engine's files as they are on disk now."""

    key: str = ""
    sha256: str = ""
    """Of the engine file, read again from first to last byte."""
    size: int = 0
    error: str = ""
    """Why they are not what the sidecar says; empty when they are."""


@dataclass(frozen=True)
class TopicEvidence:
    """One output topic as another process hears it."""

    publishers: int = 0
    messages: int = 0


@dataclass(frozen=True)
class Evidence:
    """Everything found."""

    engines: dict[str, EngineEvidence] = field(default_factory=dict)
    """By model; a declared fallback's under :func:`fallback_of`."""
    topics: dict[str, TopicEvidence] = field(default_factory=dict)
    """By topic, as the configuration writes it."""
    seconds: float = 0.0
    """How long was listened."""
    error: str = ""
    """Why nothing could be heard: ROS is missing, or does not start."""


def fallback_of(model: str) -> str:
    """Return the name under which evidence has the fallback's engine of ``model``."""
    return f"{model} (fallback)"
