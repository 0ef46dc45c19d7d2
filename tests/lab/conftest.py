"""The lab for tests: brought up once a session when it is not up, and left up (`make lab-down` takes it down).

Nothing is skipped in silence: without a Docker Engine these tests fail. JETFLEET_NO_LAB=1 skips them by name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent

if TYPE_CHECKING:
    from fleetbox.running import RunningLab

    from tests.lab.road import Road


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `lab`."""
    unwanted = os.environ.get("JETFLEET_NO_LAB") == "1"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if unwanted:
                item.add_marker(pytest.mark.skip(reason="JETFLEET_NO_LAB=1"))


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    """The running lab. Whoever breaks something in it mends it, or uses `breakable_lab`."""
    from fleetbox.lab import Lab
    from fleetbox.running import RunningLab
    from fleetbox.spec import LabError, LabSpec

    box = Lab(LabSpec.from_environment(), lambda text: print(f"lab: {text}", file=sys.stderr))
    try:
        box.up()
    except LabError as error:
        pytest.fail(f"the lab does not come up: {error}. {error.hint} (JETFLEET_NO_LAB=1 skips these tests)")
    yield RunningLab(box)
    box.client.close()


@pytest.fixture
def breakable_lab(lab: RunningLab) -> Iterator[RunningLab]:
    """The same lab; every break is mended after the test, whether it passed or not."""
    yield lab
    lab.repair()


@pytest.fixture(scope="session")
def road(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Three releases of the example fleet in the lab's registry."""
    from tests.lab.road import make_road

    return make_road(lab, tmp_path_factory.mktemp("road") / "manifests")


@pytest.fixture
def on_first(road: Road) -> Road:
    """Every robot bootstrapped, healthy and on 1.0.0."""
    road.site.lab.repair()
    road.site.fleet("bootstrap")
    # A robot that a test left on a mission would wait for its lock; nobody drives in the lab.
    road.site.fleet("rollout", "1.0.0", "--yes", "--force", "--override", "between two tests")
    return road
