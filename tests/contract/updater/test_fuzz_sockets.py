"""Bent inputs for every socket of a robot: a few here, 100,000 each in `long_fuzz_sockets.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.harness.fuzz_sockets import doors, knock

INPUTS = 80


def test_every_socket_survives() -> None:
    with tempfile.TemporaryDirectory(prefix="jf-") as folder, doors(Path(folder)) as every:
        for door in every:
            knock(door, INPUTS, seed=0)
        assert len(every) == 8
