"""Both containers at once on a real robot: Compose, the kernel's lock, rclpy, and who published each command."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.cli.wiring import Wiring
from fleet.link.robot import RobotClient
from fleet.oci.releases import load_release
from fleet.rollout.orders import order_for
from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import ENV_HOST_NODE_DIR
from runtime.contract.robot.switching import HANDOVER_AUTO, SwitchRules
from tests.lab.bays import WorkerBay
from tests.lab.handover import ROBOT, Pair
from tests.lab.road import spoil

pytestmark = pytest.mark.xdist_group("lab-handover")

COMPOSE = Path(__file__).parents[2] / "compose"


@pytest.fixture
def pair(bay: WorkerBay) -> Pair:
    """Idle, well, with one container."""
    return Pair(bay.on_first(ROBOT, version="1.0.0").site)


def test_the_old_container_serves_until_the_new_one_takes_over_and_goes_after_the_commit(pair: Pair) -> None:
    old = pair.only()
    pair.publish()
    pair.site.fleet("publish")
    pair.listen()
    rollout = pair.begin()
    pair.until("probation", pair.in_probation)
    both = pair.runtimes()
    assert {runtime.state for runtime in both} == {"running"}, "the old one stands by in probation"
    assert len(both) == 2
    result = pair.end(rollout)
    assert result["outcome"] == "committed"
    pair.until("the old one's end", lambda: len(pair.runtimes()) == 1)
    pair.until_turned(1)
    heard = pair.heard()
    new = pair.only()
    assert new.project != old.project
    assert new.id != old.id
    assert heard.turns == 1, "one took over from the other, once"
    print(f"\nlongest time without an answer: {heard.gap_s:.2f} s, of {heard.answers} answers")

    by_hand = "cd /var/lib/jetfleet/{} && docker compose up --detach 2>&1"
    pair.sh(by_hand.format("current"), 120)
    assert pair.only() == new, "by hand, what runs is left alone"
    pair.sh(by_hand.format("previous"), 120)
    assert pair.only().project == new.project, "by hand, the release before takes the place of the one that runs"
    pair.sh(by_hand.format("current"), 120)


def test_one_that_turns_out_bad_in_probation_gives_way_to_the_same_old_container(pair: Pair) -> None:
    old = pair.only()
    since = pair.started(old.id)
    manifest = pair.site.manifest()
    manifest["rollout"]["soak"] = "120s"  # it is aborted in the middle, once it has answered
    pair.site.save(manifest)
    pair.publish()
    pair.site.fleet("publish")
    pair.listen()
    rollout = pair.begin()
    pair.until("probation", pair.in_probation)
    pair.until_turned(1)
    pair.sh(f"fleet-updater abort {pair.journal()['order']['order_id']} --reason 'seen enough'", 120)
    result = pair.end(rollout, 4)
    assert result["outcome"] == "reverted"
    pair.until("idle", lambda: pair.journal()["state"] == "idle")
    assert pair.only() == old
    assert pair.started(old.id) == since
    assert pair.site.until_well()[pair.robot]["health"] == "ok"
    pair.until_turned(2)
    heard = pair.heard()
    assert heard.turns == 2, "there and back"


def test_too_little_memory_for_both_stops_the_old_one_first(pair: Pair) -> None:
    old = pair.only()
    pair.publish(resources={"memory": "8000GiB"})
    pair.site.fleet("publish")
    assert pair.end(pair.begin())["outcome"] == "committed"
    assert pair.said("switching by stop and start")
    assert pair.said("MiB of memory are free, the new one may take 8192256 MiB")
    new = pair.only()
    assert (new.project, new.id != old.id) == (old.project, True)


def test_a_power_cut_in_the_middle_leaves_one_that_serves(pair: Pair) -> None:
    pair.publish()
    pair.site.fleet("publish")
    rollout = pair.begin()
    pair.until("probation", pair.in_probation)
    assert len(pair.runtimes()) == 2
    pair.site.lab.power_cycle(pair.robot)
    rollout.communicate()
    pair.until("idle", lambda: pair.journal()["state"] == "idle")
    pair.until("one container", lambda: len(pair.runtimes()) == 1)
    assert pair.journal()["last"]["outcome"] in ("committed", "reverted")
    pair.site.until_well()
    pair.listen()
    assert pair.heard().turns == 0


def test_a_release_that_fails_its_self_test_never_stops_the_old_one(pair: Pair) -> None:
    old = pair.only()
    since = pair.started(old.id)
    spoil(pair.site)
    pair.publish()
    pair.site.fleet("build")
    pair.site.fleet("publish")
    pair.listen()
    result = pair.end(pair.begin(), 4)
    assert result["outcome"] == "reverted"
    assert "next to the old release: sign_text: self-test" in result["reason"]
    pair.until("idle", lambda: pair.journal()["state"] == "idle")
    assert pair.only() == old
    assert pair.started(old.id) == since
    heard = pair.heard()
    assert heard.turns == 0
    assert "standing by" not in pair.sh(f"docker logs --since {since} {old.id} 2>&1")


def test_a_release_from_before_whose_containers_share_a_folder_is_replaced_and_can_be_gone_back_to(
    pair: Pair,
) -> None:
    text = (COMPOSE / "robot.compose.yaml").read_text()
    of_before = text.replace(f"${{{ENV_HOST_NODE_DIR}:-{NODE_DIR}}}:", f"{NODE_DIR}:")
    assert of_before != text
    wiring = Wiring(pair.site.folder)
    release = load_release(wiring.registry, wiring.desired.registry.prefix, "1.0.0")
    given = order_for(release.document, release.digest, wiring.desired.robot(ROBOT), issued_at=time.time())
    assert given is not None
    by_itself = replace(given.probation, autonomy=True)
    compose, both = {**given.compose, "robot.compose.yaml": of_before}, SwitchRules(handover=HANDOVER_AUTO)
    before = replace(given, compose=compose, probation=by_itself, switch=both)
    client = RobotClient(wiring.desired.robot(ROBOT).address, wiring.shells, wiring.clock)
    try:
        client.submit(before)
        ended = lambda state: state.state == "idle" and state.order_id == before.order_id  # noqa: E731
        state = client.wait_for(ended, what="its end", deadline=wiring.clock.monotonic() + 240.0)
    finally:
        client.close()
    assert state.outcome == "committed"
    folder = "docker inspect --format '{{range .Mounts}}{{.Source}} {{end}}' "
    assert "/run/jetfleet/node " in pair.sh(folder + pair.only().id)
    assert pair.said("switching by stop and start: its compose files give its container no folder of its own")
    pair.publish()
    pair.site.fleet("publish")
    assert pair.end(pair.begin())["outcome"] == "committed"
    assert pair.said("switching by stop and start: the release that runs does not support handover")
    assert "/run/jetfleet/slots/a-" in pair.sh(folder + pair.only().id)
    pair.sh("fleet-updater revert --wait", 240)
    assert "/run/jetfleet/node " in pair.sh(folder + pair.only().id)
