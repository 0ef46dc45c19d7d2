"""What a soak's readings prove, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.soak.judge import LIFE, SWAP, Row, judge
from benchmarks.soak.readings import Held, Shared

HELD = Held(30_000, 0, 7, 3)
ROWS = [
    Row(60.0 * index, LIFE if index < 10 else SWAP, "", HELD, Held(130_000, 20_000, 54, 20), HELD,
        Shared(22, 36_000_000), 900, 0, 0)
    for index in range(20)
]  # fmt: skip


def failing(rows: Sequence[Row], unanswered: int = 0) -> list[str]:
    return [claim for claim, holds in judge(rows, unanswered) if not holds]


def test_what_stays_as_it_is_holds() -> None:
    assert failing(ROWS) == []


def test_one_probe_without_an_answer_fails() -> None:
    assert failing(ROWS, 1) == ["1 health probes without an answer"]


def test_memory_that_grows_fails_for_the_process_that_holds_it() -> None:
    agent = [replace(row, agent=replace(HELD, own_kb=30_000 + 300 * index)) for index, row in enumerate(ROWS)]
    assert [claim.split(":")[0] for claim in failing(agent)] == ["agent's memory"]
    swaps = [
        replace(row, executor=replace(row.executor, own_kb=130_000 + 700 * max(0, index - 10)))
        for index, row in enumerate(ROWS)
    ]
    assert [claim.split(":")[0] for claim in failing(swaps)] == ["executor's memory over the swaps"]


def test_a_single_reading_with_frames_in_it_is_no_growth() -> None:
    rows = [*ROWS[:-1], replace(ROWS[-1], executor=replace(ROWS[-1].executor, own_kb=134_000))]
    assert failing(rows) == []


def test_the_warm_up_counts_for_nothing_and_one_descriptor_more_at_the_end_does() -> None:
    warm = [replace(ROWS[0], agent=replace(HELD, own_kb=20_000, descriptors=5)), *ROWS[1:]]
    assert failing(warm) == []
    leaking = [*ROWS[:-1], replace(ROWS[-1], agent=replace(HELD, descriptors=8))]
    assert [claim.split(":")[0] for claim in failing(leaking)] == ["agent's descriptors"]


def test_a_file_that_is_left_in_shared_memory_and_a_frame_in_error_fail() -> None:
    rows = [*ROWS[:-1], replace(ROWS[-1], shared=Shared(24, 36_000_000), errors=1)]
    assert [claim.split(":")[0] for claim in failing(rows)] == ["files in /dev/shm", "1 frames in error"]


def test_a_run_without_readings_proves_nothing() -> None:
    assert len(failing(ROWS[:1])) > 5
