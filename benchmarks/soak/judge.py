"""What a soak's readings prove. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.soak.readings import Held, Shared

FLAT_KB = 2000
LIFE, SWAP = "life", "swap"


@dataclass(frozen=True)
class Row:
    """Everything at one moment. Rows of one kind are taken at the same age: of an executor, or of an engine."""

    at_s: float
    kind: str
    """life: in the middle of an executor's life; swap: some time after an engine was put in or taken away."""
    event: str
    """What had been done before, for a person."""
    agent: Held
    executor: Held
    camera: Held
    shared: Shared
    frames: int
    drops: int
    errors: int


def judge(rows: Sequence[Row], unanswered: int) -> Iterator[tuple[str, bool]]:
    """Yield each claim with whether it holds.

    The first tenth of the run is the warm-up and counts for nothing; so does the first reading after a swap, for from
    then on the executor has held two engines at once.
    """
    yield f"{unanswered} health probes without an answer", unanswered == 0
    warm = [row for row in rows[1:] if row.at_s > rows[-1].at_s / 10]
    yield _flat("agent's memory", [row.agent.own_kb for row in warm])
    yield _no_more("agent's descriptors", [row.agent.descriptors for row in warm])
    yield _no_more("agent's threads", [row.agent.threads for row in warm])
    swapped = [row for row in warm if row.kind == SWAP][1:]
    for what, alike in (("from life to life", [row for row in warm if row.kind == LIFE]), ("over the swaps", swapped)):
        yield _flat(f"executor's memory {what}", [row.executor.own_kb for row in alike])
        yield _no_more(f"executor's descriptors {what}", [row.executor.descriptors for row in alike])
        yield _no_more(f"executor's threads {what}", [row.executor.threads for row in alike])
    yield _no_more("files in /dev/shm", [row.shared.files for row in warm])
    yield _flat("bytes in /dev/shm", [row.shared.allocated // 1000 for row in warm])
    yield f"{sum(row.errors for row in rows)} frames in error", all(row.errors == 0 for row in rows)


def _flat(what: str, kilobytes: Sequence[int]) -> tuple[str, bool]:
    """The last third holds at most ``FLAT_KB`` more than the first: medians, for a single reading has frames in it."""
    if not kilobytes:
        return f"{what}: no reading", False
    first, last = (median(third) for third in _ends(kilobytes))
    said = (
        f"{what}: {first / 1000:.1f} MB, in the end {last / 1000:.1f} MB "
        f"({min(kilobytes) / 1000:.1f} to {max(kilobytes) / 1000:.1f} over {len(kilobytes)} readings)"
    )
    return said, last - first <= FLAT_KB


def _no_more(what: str, counts: Sequence[int]) -> tuple[str, bool]:
    """The last third has at no time more than the first third had at most."""
    if not counts:
        return f"{what}: no reading", False
    first, last = _ends(counts)
    return f"{what}: at most {max(first)}, in the end {max(last)} ({len(counts)} readings)", max(last) <= max(first)


def _ends(values: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The first and the last third; of few values the first and the last."""
    third = max(1, len(values) // 3)
    return values[:third], values[-third:]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the readings as lines."""
    yield (
        f"{'min':>6} {'what':34}{'agent MB':>9}{'fd':>4}{'executor MB':>12}{'fd':>4}{'thr':>4}"
        f"{'camera MB':>10}{'fd':>4}{'shm files':>10}{'shm MB':>8}{'frames':>8}{'drops':>6}{'errors':>7}"
    )
    megabytes: Callable[[int], str] = lambda kilobytes: f"{kilobytes / 1000:.1f}"  # noqa: E731
    for row in rows:
        yield (
            f"{row.at_s / 60:>6.1f} {row.event:34}{megabytes(row.agent.own_kb):>9}{row.agent.descriptors:>4}"
            f"{megabytes(row.executor.own_kb):>12}{row.executor.descriptors:>4}{row.executor.threads:>4}"
            f"{megabytes(row.camera.own_kb):>10}{row.camera.descriptors:>4}{row.shared.files:>10}"
            f"{row.shared.allocated / 1e6:>8.1f}{row.frames:>8}{row.drops:>6}{row.errors:>7}"
        )
