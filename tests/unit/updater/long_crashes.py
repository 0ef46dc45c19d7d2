"""Every story of an update, cut at every place by a dead process or by the power; ``test_crashes.py`` has some."""

from __future__ import annotations

import pytest

from tests.unit.updater import cuts
from tests.unit.updater.crash_stories import POWERS, STORIES, crash_at_places


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("story", STORIES)
def test_crash_anywhere_ends_wholly_old_or_wholly_new(story: str, power: str) -> None:
    crash_at_places(story, power)


@pytest.mark.parametrize("reboots", [False, True])
@pytest.mark.parametrize("fault", cuts.FAULTS)
def test_a_cut_anywhere_in_a_handover_leaves_one_whole_release_and_never_two_publishers(
    fault: str, reboots: bool
) -> None:
    assert cuts.cut_at_places(fault, reboots) > 40
