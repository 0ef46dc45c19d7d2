"""Minutes of a policy at 50 Hz that leans, says NaN, sees late, and is measured badly, at random: the bounds hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.contract.commands.executor_site import Site
from tests.contract.commands.policy_folder import write_policy
from tests.fakes.nodes.policy_engine import HIGH, LOW, MAX_VELOCITY, OPTIONS

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

SECONDS = 60.0
SLACK_S = 0.25
DEADLINE_S = 0.4
STALE_S = 0.2


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, write_policy, "tests.contract.commands.plant_peer")
    yield one
    one.end()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_minute_of_faults(site: Site, seed: int) -> None:
    assert OPTIONS["deadline"] == "400ms"
    site.executor()
    seen = site.told(site.peer("soak", "--seconds", str(SECONDS), "--seed", str(seed)))
    commands, arrived = np.array(seen["commands"]), np.array(seen["arrived"])
    measured = np.array(seen["measured"])
    print(f"seed {seed}: {len(commands)} commands, {len(seen['phases'])} phases")
    assert commands.min() >= LOW
    assert commands.max() <= HIGH
    assert len(commands) > SECONDS * 5  # it drove most of the time
    steps, passed = np.abs(np.diff(commands, axis=0)).max(axis=1), np.diff(arrived)
    to_hold = np.abs(commands[1:] - np.clip(measured[1:], LOW, HIGH)).max(axis=1) < 0.1  # a hold is not a ramp
    assert np.all((steps <= MAX_VELOCITY * (passed + SLACK_S)) | to_hold)
    for phase in seen["phases"]:
        late = arrived[phase["from"] : phase["to"]]
        if phase["name"] == "unmeasured":
            assert not (late > phase["begun"] + STALE_S + SLACK_S).any(), phase
        if phase["name"] in ("NaN", "late"):
            rest = slice(phase["from"], phase["to"])
            held = late > phase["begun"] + DEADLINE_S + SLACK_S
            away = np.abs(commands[rest] - np.clip(measured[rest], LOW, HIGH))[held]
            assert not (away > 0.1).any(), phase  # where the joints are, as nothing else is known to be wanted
