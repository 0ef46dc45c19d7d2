"""Runs ``benchmarks.soak`` in a domain of its own. Not a test module."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness import share

ROOT = Path(__file__).parents[2]
MORE_S = 600.0


def soak(minutes: float, kills: int, swaps: int) -> dict[str, Any]:
    """Return what the soak measured, all of whose claims have to hold."""
    asked = {"minutes": minutes, "kills": kills, "swaps": swaps, "domain": share.ros_domain()}
    command = [sys.executable, "-m", "benchmarks.soak"]
    for name, value in asked.items():
        command += [f"--{name}", str(value)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=minutes * 60 + MORE_S, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found
