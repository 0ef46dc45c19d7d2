"""The soak, shortened: kills, hangs and exchanged engines under frames, and no probe goes unanswered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import share

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

ROOT = Path(__file__).parents[2]
LIMIT_S = 900.0


def test_a_minute_of_kills_and_swaps_loses_no_probe_and_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.7", "--kills", "2", "--swaps", "3"]
    ran = subprocess.run(
        [*command, "--domain", str(share.ros_domain())], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert [row["kind"] for row in found["rows"]] == ["life", "life", "swap", "swap", "swap"]
    assert found["probes"]["asked"] > 60
    assert found["camera"]["answers"] > 0
