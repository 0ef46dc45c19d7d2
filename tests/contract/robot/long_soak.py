"""The soak of most of an hour: twenty executors killed or hung, twenty engines exchanged, no probe without answer."""

from __future__ import annotations

from tests.contract.robot.soak import soak


def test_kills_and_swaps_lose_no_probe_and_leave_nothing_behind() -> None:
    found = soak(minutes=48, kills=20, swaps=20)
    assert len(found["rows"]) == 40
    assert found["camera"]["answers"] > 0
