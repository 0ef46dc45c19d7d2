"""What a robot's updater sends, the hub keeps and the controller judges: all of it real but the robot's Engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fleet.adapters.http_hub import RequestsHub
from fleet.adapters.system_clock import SystemClock
from fleet.cli.pull_steps import PullSteps
from fleet.cli.wiring import Wiring
from fleet.link.reported import Asked, read_reports
from fleet.manifest.schema.manifest_schema import Rollout
from fleet.manifest.schema.pull_schema import Pull
from fleet.rollout.pull import decision
from fleet.signing.pins import publish_pins
from runtime.contract.codec import canonical_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.desired import Pins, Stage
from runtime.contract.robot.update import UpdateState
from runtime.updater.robot.pull_file import ask_child
from tests.contract.hub.served import Served, served
from tests.contract.signing.test_signatures import keys
from tests.contract.updater.pull_site import FLEET, ROBOT, PullSite
from tests.contract.updater.test_pull import daemon, registry, site
from tests.contract.updater.test_updater_process import Daemon

__all__ = ["daemon", "keys", "registry", "site"]
DEADLINE_S = 120.0
FOUND = Attestation(UpdateState(ROBOT, "idle", "test"))


@pytest.fixture
def hub(site: PullSite, tmp_path: Path) -> Iterator[Served]:
    with served(str(tmp_path / "hub.sqlite")) as running:
        site.configure(hub=running.url)
        yield running


def pins(site: PullSite) -> Pins:
    return Pins(FLEET, 1, {ROBOT: site.keys.public("host")})


def report(site: PullSite) -> dict[str, Any]:
    return ask_child(site.robot, Path("/"), ["report", "--at", str(time.time())], canonical_json(FOUND))


def standing(site: PullSite, hub: Served) -> str:
    asked = Asked(pins(site), time.time(), 900.0, {})
    return read_reports(RequestsHub(hub.url), [ROBOT], asked)[ROBOT].standing


def test_a_robots_own_report_is_kept_and_verified(site: PullSite, hub: Served) -> None:
    assert report(site).items() >= {"sent": True, "waiting": 0}.items()
    assert standing(site, hub) == "verified"


def test_a_robot_goes_on_after_the_number_that_the_hub_knows(site: PullSite, hub: Served) -> None:
    """Its disk was lost, and with it its count: the hub's answer says where to go on."""
    for _ in range(3):
        report(site)
    for path in sorted((site.robot / "reports").rglob("*"), reverse=True):
        path.unlink()
    assert report(site).items() >= {"sent": True, "waiting": 0}.items()
    row = RequestsHub(hub.url).robot(ROBOT)
    assert row is not None
    assert row.envelope is not None
    assert row.envelope.sequence == 4


def test_a_retired_robot_hears_it(site: PullSite, hub: Served) -> None:
    hub.pin(Pins(FLEET, 2, {}, (ROBOT,)))
    assert "this robot is retired" in report(site)["failed"]


def test_reports_wait_on_the_robots_disk_while_the_hub_is_away(site: PullSite, tmp_path: Path) -> None:
    database = str(tmp_path / "hub.sqlite")
    with served(database) as first:
        site.configure(hub=first.url)
        report(site)
    assert "failed" in report(site)
    with served(database) as second:
        site.configure(hub=second.url)
        assert report(site)["waiting"] == 0
        row = RequestsHub(second.url).robot(ROBOT)
        assert row is not None
        assert row.envelope is not None
        assert row.envelope.sequence == 3


def wiring_of(site: PullSite, hub: Served) -> Wiring:
    """What a verb would be given, without a manifest on disk."""
    desired = SimpleNamespace(
        fleet=FLEET,
        registry=SimpleNamespace(prefix=site.prefix),
        rollout=Rollout.model_validate({}),
        pull=Pull(),
        trust=SimpleNamespace(advance_with=site.keys.path("carl"), sign_with=site.keys.path("anna")),
        robots=[SimpleNamespace(name=ROBOT, link="pull")],
        hooks=(),
        root=site.folder,
    )
    made = SimpleNamespace(
        registry=site.registry,
        clock=SystemClock(),
        hub=RequestsHub(hub.url),
        desired=desired,
        signer=site.signer,
        root_standing=SimpleNamespace(wanted=site.root),
        poster=None,
    )
    return cast(Wiring, made)


def test_a_rollout_is_judged_from_what_a_real_updater_reports(site: PullSite, hub: Served, daemon: Daemon) -> None:
    """There is no Engine here, so the robot refuses its order in preflight, and the canary fails."""
    publish_pins(site.office, pins(site), site.keys.path("anna"))
    site.begin("1", stages=(Stage((ROBOT,)), Stage(("other",))))
    site.configure(poll_s=1.0)
    daemon.start()
    daemon.wait(lambda: RequestsHub(hub.url).robot(ROBOT), "first report")
    wiring = wiring_of(site, hub)
    assert PullSteps(wiring, "r-1").step().kind == decision.ADVANCE
    until = time.monotonic() + DEADLINE_S
    while (found := PullSteps(wiring, "r-1").step()).kind == decision.WAIT:  # each step as another process
        assert time.monotonic() < until, found.reason
        time.sleep(0.2)
    assert found.kind == decision.TAKE_BACK
    assert "wave 1 of 2: 0 of 1 robots committed, required 100%; amr-001 refused" in found.reason
    assert PullSteps(wiring, "r-1").standing().followed.desired.standing == "reverting"  # type: ignore[union-attr]
    daemon.wait(lambda: (state := daemon.state().pull) is not None and state.generation > 0 and not state.held, "it")
    assert PullSteps(wiring, "r-1").step().kind == decision.OVER
