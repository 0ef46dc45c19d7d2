"""What measured kernel timings belong to, and how their files are called where several kinds travel together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from runtime.contract.codec import SCHEMA, digest_of

TIMING_DIR = "timing"
"""Folder of a job archive: timing caches of every power mode of the profile, since `fleet` does not know the builder's
mode. The builder takes those whose name starts with :func:`timing_name` of what it is, and looks at no others."""
MAX_TIMING_BYTES = 32 * 1024 * 1024
"""A larger cache is neither kept nor used. What a Jetson's models leave is well below a tenth of it."""


@dataclass(frozen=True)
class TimingFacts:
    """Timings of one of these say nothing of another: another clock, or count of SMs, gives other winners."""

    tensorrt: str
    """As full as the builder knows it."""
    module: str
    """Part number, ``p3767-0003``; where there is none (a PC), the GPU's name."""
    sm_count: int
    power_mode: Optional[str] = None
    """By name: numbers mean other modes on other modules. None: the machine does not say."""
    schema: int = SCHEMA


def timing_name(facts: TimingFacts) -> str:
    """Return 32 hex digits that stand for ``facts``."""
    return digest_of([facts.tensorrt, facts.module, facts.sm_count, facts.power_mode])[7:39]


def timing_file(facts: TimingFacts, number: int) -> str:
    """Return the name of a cache in ``TIMING_DIR``; there may be several of the same facts, not merged yet."""
    return "{}.{}.cache".format(timing_name(facts), number)
