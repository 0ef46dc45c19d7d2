"""The lab for tests: every worker has robots of its own, a bay; registry, images and the first releases are shared.

Nothing is skipped in silence: without a Docker Engine these tests fail. JETFLEET_NO_LAB=1 skips them by name.
What a test may share, and how it gets a robot, is in docs/lab.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

HERE = Path(__file__).parent
TIMEOUT_S = 1500
"""For one test, with all that it is the first to need: what the workers share may have to be made by a busy machine."""

if TYPE_CHECKING:
    from fleetbox.running import RunningLab

    from tests.lab.bays import WorkerBay
    from tests.lab.faults.releases import Releases
    from tests.lab.faults.robot import KillRobot
    from tests.lab.road import Road


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `lab`."""
    unwanted = os.environ.get("JETFLEET_NO_LAB") == "1"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            if unwanted:
                item.add_marker(pytest.mark.skip(reason="JETFLEET_NO_LAB=1"))


_BAY = pytest.StashKey["WorkerBay"]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Cut the robots' power after this worker's last lab test: what runs then needs the processors."""
    yield
    worker = item.config.stash.get(_BAY, None)
    if worker is not None and (nextitem is None or HERE not in nextitem.path.parents):
        worker.rest()


@pytest.fixture(scope="session")
def bay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBay]:
    """This worker's robots, none of which runs before a test puts it somewhere; gone at the end of the session."""
    from fleetbox.spec import LabError, LabSpec

    from tests.lab.bays import claimed_bay

    # All workers of a run share what is made once; JETFLEET_LAB_SHARED=NAME lets later runs of the same code do so too.
    run = getattr(request.config, "workerinput", {}).get("testrunuid") or f"{os.getpid()}"
    key = os.environ.get("JETFLEET_LAB_SHARED") or run[:12]
    try:
        claim = claimed_bay(LabSpec.from_environment(), tmp_path_factory.mktemp("bay"), key)
        worker = claim.__enter__()
        request.config.stash[_BAY] = worker
    except LabError as error:
        pytest.fail(f"the lab does not come up: {error}. {error.hint} (JETFLEET_NO_LAB=1 skips these tests)")
    yield worker
    claim.__exit__(None, None, None)


@pytest.fixture(scope="session")
def lab(bay: WorkerBay) -> RunningLab:
    """This worker's robots and the shared registry, to look at and to break; `bay` says which robots run."""
    return bay.running


@pytest.fixture
def road(bay: WorkerBay) -> Road:
    """A checkout with a registry prefix of its own, in which 1.0.0, 1.1.0 and the bad 1.2.0 are published."""
    return bay.road()


@pytest.fixture
def on_first(bay: WorkerBay) -> Road:
    """The same, with all three robots bootstrapped, well and on 1.0.0."""
    return bay.on_first()


@pytest.fixture
def published(bay: WorkerBay) -> Road:
    """A checkout of where the shared releases were published: nothing may be changed there."""
    return bay.published()


@pytest.fixture(scope="module")
def releases(bay: WorkerBay) -> Releases:
    """A good release that can be ordered of a robot past `fleet`."""
    from tests.lab.faults.releases import GOOD, publish_releases

    return publish_releases(bay.road("1.0.0"), GOOD[:1])


@pytest.fixture
def robot(bay: WorkerBay, releases: Releases) -> KillRobot:
    """The scout, on 1.0.0."""
    from tests.lab.faults.robot import KillRobot

    bay.put("scout-001")
    return KillRobot(releases.site.lab, "scout-001")
