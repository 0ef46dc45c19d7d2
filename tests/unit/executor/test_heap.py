"""What an engine took and freed goes back to the machine, although the image's malloc settings keep freed memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MEGABYTES = 32
PROGRAM = f"""
import sys
from pathlib import Path
from runtime.executor.serving.heap import give_back

def own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

before = own()
blocks = [bytearray(b"x" * 100_000) for _ in range({MEGABYTES * 10})]
pin = bytearray(b"x" * 100_000)  # at the top of the heap, as an engine that stays
taken = own()
del blocks
kept = own()
give_back()
print(before, taken, kept, own())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_freed_memory_is_kept_by_the_images_settings_until_it_is_given_back() -> None:
    lines = (ROOT / "images/runtime/runtime.env").read_text().splitlines()
    image = dict(line.split("=", 1) for line in lines if line.startswith("MALLOC_"))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **image, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    before, taken, kept, after = (int(word) for word in ran.stdout.split())
    assert taken - before > 0.8 * MEGABYTES * 1000
    assert kept - before > 0.8 * MEGABYTES * 1000  # or there would be nothing to give back
    assert after - before < 0.2 * MEGABYTES * 1000
