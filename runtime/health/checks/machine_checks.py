"""What of the machine is judged, and where its limits are. Pure: a sample in, readings out.

Nothing here makes a robot unhealthy: no release causes heat or a weak power supply, and none repairs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.contract.node.health import Space, SystemHealth

TEMPERATURE_LIMIT_C = 90.0
"""Below where Orin lowers its clocks (99 °C)."""
MEMORY_LIMIT = 0.05
"""Share of memory still available under which the machine is short of it."""
DISK_LIMIT_BYTES = 500 * 1024 * 1024
VOLUME_LIMIT = 0.1
"""Share of another volume still free under which it is short: /dev/shm may be 64 MiB in all."""
OVERCURRENT_LIMITS_PER_S = {"oc1": 0.0, "oc2": 0.0, "oc3": 1.0}
"""More than this over the last minute is too much. Under voltage (oc1) and average over-current (oc2) should never
happen. The comparator of oc3 catches spikes of microseconds: counts of a few a minute under load are usual and cost
nothing measurable; several a second are clocks being cut all the time."""
OVERCURRENT_WORDS = {"oc1": "under voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}
SAMPLE_LIMIT_S = 10.0
ROOT = "/"


@dataclass(frozen=True)
class Reading:
    """One thing that may be over its limit."""

    name: str
    bad: bool
    text: str


def readings(system: SystemHealth) -> Iterator[Reading]:
    """Yield what can be judged of this machine; what it does not offer is not judged."""
    if system.sample_age_s > SAMPLE_LIMIT_S:
        yield Reading("sensors", True, f"the machine's sensors have not been read for {system.sample_age_s:.0f} s")
    if system.temperatures_c:
        zone, hottest = max(system.temperatures_c.items(), key=lambda item: item[1])
        yield Reading("temperature", hottest > TEMPERATURE_LIMIT_C, f"{zone} {hottest:.0f} °C")
    if system.throttling is not None:
        slowed = f"clocks are lowered because of heat: {', '.join(system.throttled_by)}"
        yield Reading("throttling", system.throttling, slowed if system.throttling else "no clock is lowered by heat")
    if system.overcurrent_per_s:
        yield _overcurrent(system)
    if system.memory_total_bytes and system.memory_available_bytes is not None:
        share = system.memory_available_bytes / system.memory_total_bytes
        text = f"{system.memory_available_bytes >> 20} of {system.memory_total_bytes >> 20} MiB available"
        yield Reading("memory", share < MEMORY_LIMIT, text)
    if system.disk_free_bytes is not None:
        text = f"{system.disk_free_bytes >> 20} MiB free"
        yield Reading("disk", system.disk_free_bytes < DISK_LIMIT_BYTES, text)
    yield from (_volume(name, space) for name, space in system.disks.items() if name != ROOT)


def _overcurrent(system: SystemHealth) -> Reading:
    rates = system.overcurrent_per_s
    over = [name for name, rate in rates.items() if rate > OVERCURRENT_LIMITS_PER_S.get(name, 0.0)]
    said = ", ".join(f"{name} ({OVERCURRENT_WORDS.get(name, 'event')}) {rates[name]:.3g}/s" for name in over or rates)
    cut = [name for name in over if system.overcurrent_throttles.get(name)]
    end = f"; each {'/'.join(cut)} cuts clocks: check the power supply, or choose a lower power mode" if cut else ""
    return Reading("overcurrent", bool(over), said + end)


def _volume(name: str, space: Space) -> Reading:
    text = f"{space.free_bytes >> 20} of {space.total_bytes >> 20} MiB free"
    return Reading(f"disk:{name}", space.free_bytes < VOLUME_LIMIT * space.total_bytes, text)
