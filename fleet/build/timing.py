"""Timing caches on their way: into a builder's job before it starts, and what it measured back to where they are kept.

A cache only saves time. So whatever goes wrong with one here is a note next to the engine, never a failed build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fleet.resolve.desired import EngineSpec
from runtime.contract.codec import ContractError, from_dict
from runtime.contract.device import same_fact
from runtime.contract.engine.build import TIMING_CACHE_FILE, DeviceFacts, EngineReport
from runtime.contract.engine.timing import TimingFacts


class TimingCaches(Protocol):
    """Where timing caches are kept between builds. Neither method raises for what fails outside: it returns notes."""

    def fetch(self, device: DeviceFacts, folder: Path) -> list[str]:
        """Put the caches of all power modes of ``device`` into ``folder``, which exists; return notes."""
        ...

    def keep(self, facts: TimingFacts, given: Path, cache: Path) -> list[str]:
        """Store the file ``cache``, which holds all that the files of ``facts`` in ``given`` hold; return notes."""
        ...


def fetch_timings(caches: TimingCaches | None, spec: EngineSpec, folder: Path) -> list[str]:
    """Make ``folder`` with what may help to build ``spec``; return notes. Raises OSError."""
    folder.mkdir()
    if caches is None or spec.job.backend != "tensorrt":
        return []
    return caches.fetch(spec.job.device, folder)


def keep_timings(
    caches: TimingCaches | None, spec: EngineSpec, report: EngineReport, given: Path, result: Path
) -> list[str]:
    """Store what the builder measured, when it left any; return notes."""
    cache = result / TIMING_CACHE_FILE
    if caches is None or spec.job.backend != "tensorrt" or not cache.is_file():
        return []
    try:
        facts = from_dict(TimingFacts, report.extra["timing_cache"]["facts"])
    except (ContractError, KeyError, TypeError) as error:
        return [f"the timing cache was not kept: the report does not say what it belongs to ({error})"]
    wrong = _differences(spec.job.device, facts)
    if wrong:
        return [f"the timing cache was not kept: it comes from another device than the profile's ({', '.join(wrong)})"]
    try:
        return caches.keep(facts, given, cache)
    except OSError as error:
        return [f"the timing cache was not kept: {error}"]


def _differences(device: DeviceFacts, facts: TimingFacts) -> list[str]:
    pairs = (("tensorrt", device.tensorrt), ("module", device.module), ("sm_count", device.sm_count))
    return [
        f"{name} {getattr(facts, name)}, not {wanted}"
        for name, wanted in pairs
        if wanted is not None and not same_fact(name, wanted, getattr(facts, name))
    ]
