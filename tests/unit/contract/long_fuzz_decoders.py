"""Ten million bent inputs over every decoder: no other error than the declared ones, and memory stays flat."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from tests.harness.fuzz import memory, survive
from tests.harness.fuzz_targets import targets

LONG_PARTS = 8
INPUTS = 10_400_000
"""Of all parts together. JETFLEET_FUZZ says another number."""
GROWTH = 48 << 20
"""Bytes by which the process may grow after its first tenth: what the allocator keeps, not what inputs leave."""


def test_every_decoder_survives_ten_million_inputs(tmp_path: Path) -> None:
    number, _, of = os.environ.get("JETFLEET_PART", f"1/{LONG_PARTS}").partition("/")
    every = list(targets(tmp_path))
    here = int(os.environ.get("JETFLEET_FUZZ", INPUTS)) // int(of)
    each = here / sum(target.share for target in every)
    started, done, first = time.monotonic(), 0, 0
    for turn in range(10):
        for target in every:
            done += survive(target, max(1, int(each * target.share / 10)), seed=int(number) * 100 + turn).inputs
        gc.collect()
        first = first or memory()
        assert memory() - first < GROWTH, f"grew by {(memory() - first) >> 20} MiB in {done} inputs"
    seconds = time.monotonic() - started
    print(
        f"{done} inputs over {len(every)} decoders, {done / seconds:.0f} a second, {(memory() - first) >> 20} MiB more"
    )
    assert done >= here * 0.98
