"""100,000 bent inputs for each socket of a robot: good requests are answered all the time, nothing is left behind."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from pathlib import Path

from tests.harness.fuzz import memory
from tests.harness.fuzz_sockets import doors, knock

LONG_PARTS = 4
INPUTS = 100_000
"""Of each socket, all parts together. JETFLEET_FUZZ says another number."""
GROWTH = 48 << 20
THREADS, FILES = 40, 40
"""More than at the start: connections that are ending."""


def test_every_socket_survives_a_hundred_thousand_inputs() -> None:
    number, _, of = os.environ.get("JETFLEET_PART", f"1/{LONG_PARTS}").partition("/")
    each = -(-int(os.environ.get("JETFLEET_FUZZ", INPUTS)) // int(of))
    with tempfile.TemporaryDirectory(prefix="jf-") as folder, doors(Path(folder)) as every:
        for door in every:
            knock(door, each // 10, seed=int(number) * 100)
            gc.collect()
            before, threads, files = memory(), threading.active_count(), _files()
            started = time.monotonic()
            knock(door, each - each // 10, seed=int(number) * 100 + 1)
            gc.collect()
            grown = memory() - before
            rate = (each - each // 10) / (time.monotonic() - started)
            print(f"{door.name}: {each} inputs, {rate:.0f} a second, {grown >> 20} MiB more")
            assert grown < GROWTH, door.name
            assert threading.active_count() - threads < THREADS, door.name
            assert _files() - files < FILES, door.name


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
