"""Both containers at once, where that can be: the old one serves until the new one is tested, and never do two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.contract.codec import from_json
from runtime.contract.node.health import HealthReport, SystemHealth
from runtime.contract.node.resources import ENV_INHIBIT, ENV_MEMORY
from runtime.contract.node.serving import ENV_HOST_NODE_DIR, LABEL_HANDOVER, node_folder
from runtime.contract.robot.switching import HANDOVER_AUTO, HANDOVER_NEVER, SwitchRules
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.state.lock_answer import FREE, HELD, LockAnswer
from runtime.updater.state.records import HANDED, STANDBY, Request
from runtime.updater.state.release_folder import environment_of, files_of, target_of
from runtime.updater.state.world import Hardware, WorldError
from runtime.updater.transaction.handover import HAND_S, memory_needed
from tests.fakes.robots.robot_turns import Behaviour
from tests.fakes.robots.robot_world import COMPOSE, OLD_COMPOSE, reference
from tests.unit.updater.cuts import Watched, cut_at_places, order

MOVING = LockAnswer(HELD, ("/cmd_vel: the robot moves",))


@pytest.fixture
def robot(tmp_path: Any) -> Watched:
    made = Watched(tmp_path)
    made.world.take_turns(made.world.published)
    return made


@pytest.fixture
def on_one(robot: Watched) -> Watched:
    robot.on("1")
    return robot


def until(robot: Watched, takeover: str) -> None:
    """Drive until the switch has come so far, on disk."""
    robot.drive(until=lambda _state: robot.journal.takeover == takeover)
    assert robot.journal.takeover == takeover


def test_the_old_one_serves_until_the_new_one_is_tested_and_goes_after_probation(on_one: Watched) -> None:
    old = on_one.serving()
    on_one.updater.submit(order("2"))
    until(on_one, STANDBY)
    on_one.drive(until=lambda state: state.state == "probation")
    assert [one.stopped for one in on_one.world.containers] == [False, False], "the old one stands by in probation"
    assert on_one.serving().image == reference("2")
    state = on_one.drive()
    assert (state.outcome, state.reason) == ("committed", "")
    assert [one.slot for one in on_one.world.containers] == ["b"]
    assert old not in on_one.world.containers
    assert state.current is not None
    assert state.current.slot == "b"
    assert on_one.world.serving() == "b"
    on_one.assert_whole()


def test_slots_take_turns_and_a_folder_s_name_is_without_them(on_one: Watched) -> None:
    for letter, slot in (("2", "b"), ("1", ""), ("2", "b")):
        state = on_one.run(order(letter, order_id=f"{letter}-{slot}-{on_one.world.time}"))
        assert state.outcome == "committed"
        assert (on_one.serving().slot, on_one.serving().image) == (slot, reference(letter))
        on_one.assert_whole()


def test_both_kept_folders_mean_by_hand_the_container_that_runs(on_one: Watched) -> None:
    on_one.run(order("2"))
    journal = on_one.journal
    assert journal.current is not None
    assert journal.previous is not None
    for folder in (journal.current.folder, journal.previous.folder):
        told = on_one.world._environment(folder)
        assert (told["COMPOSE_PROJECT_NAME"], told["JETFLEET_SLOT"]) == ("jetfleet-b", "b")
    on_one.run(order("3"))
    journal = on_one.journal
    assert journal.previous is not None
    assert "COMPOSE_PROJECT_NAME" not in on_one.world._environment(journal.previous.folder)


def test_an_order_cannot_choose_its_slot() -> None:
    text = files_of(order("1", environment={"JETFLEET_SLOT": "b", "COMPOSE_PROJECT_NAME": "x"}))[".env"].content
    assert "SLOT" not in text
    assert "PROJECT" not in text


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(cosine=0.4), "next to the old release: sign_text: self-test cosine 0.4 < 0.97"),
        (Behaviour(exits=True), "next to the old release: the container was restarted 3 times"),
        (Behaviour(key="sha256:" + "9" * 64), "next to the old release: sign_text: runs engine"),
        (Behaviour(ready_after_s=500.0), "not ready next to the old release within 20 s"),
        (Behaviour(silent=True), "not ready next to the old release within 20 s"),
    ],
)
def test_a_release_that_fails_beside_the_old_one_never_stops_it(
    on_one: Watched, behaviour: Behaviour, why: str
) -> None:
    old = on_one.serving()
    started, stops = old.started, []
    on_one.world.behaviour[reference("2")] = behaviour
    on_one.updater.submit(order("2"))

    def serves_still(_state: UpdateState) -> bool:
        stops.append(on_one.serving() is not old)
        return False

    state = on_one.drive(until=serves_still)
    assert state.outcome == "reverted"
    assert state.reason.startswith(why), state.reason
    assert not any(stops), "the old one was interrupted"
    assert on_one.world.containers == [old]
    assert (old.started, old.stopped) == (started, False)
    assert reference("2") in state.banned
    on_one.assert_whole()


def test_one_that_turns_bad_once_it_serves_gives_way_to_the_same_old_container(on_one: Watched) -> None:
    old = on_one.serving()
    on_one.world.behaviour[reference("2")] = Behaviour(turns_bad_after_s=1.0, only_when_serving=True)
    state = on_one.run(order("2"))
    assert state.outcome == "reverted"
    assert "inference p99 900 ms" in state.reason
    assert on_one.world.containers == [old]
    assert on_one.serving() is old
    on_one.assert_whole()


def test_no_confirmation_goes_back_to_the_same_container(on_one: Watched) -> None:
    old = on_one.serving()
    on_one.confirms = False
    state = on_one.run(order("2"))
    assert (state.outcome, on_one.serving() is old) == ("reverted", True)
    assert state.banned == ()


def test_an_old_one_that_hangs_is_ended_and_comes_back_when_the_new_one_fails(on_one: Watched) -> None:
    on_one.world.behaviour[reference("1")] = Behaviour(hangs_after_s=0.0)
    on_one.updater.submit(order("2"))
    until(on_one, HANDED)
    before = on_one.world.time
    on_one.drive(until=lambda state: state.state == "probation")
    assert on_one.world.time - before >= HAND_S
    assert "1.1.0 does not release its topics within 15 s: stopping it" in on_one.world.notes
    assert on_one.serving().image == reference("2")
    on_one.updater.leave(Request("abort", "order-2", "no"))
    on_one.world.behaviour.clear()
    state = on_one.drive()
    assert (state.outcome, on_one.serving().image) == ("reverted", reference("1"))
    on_one.assert_whole()


def test_a_new_one_that_never_serves_is_taken_back(on_one: Watched) -> None:
    on_one.updater.submit(order("2"))
    until(on_one, HANDED)
    on_one.world.behaviour[reference("2")] = Behaviour(ready_after_s=10_000.0)
    state = on_one.drive()
    assert state.outcome == "reverted"
    assert "did not take over within 60 s" in state.reason
    assert on_one.serving().image == reference("1")


# ── when not ─────────────────────────────────────────────────────────────────────────────────────────────────────


def runs_alone(robot: Watched, told: UpdateOrder, why: str) -> None:
    state = robot.run(told)
    assert state.outcome == "committed", state
    assert any(note.startswith(f"switching by stop and start: {why}") for note in robot.world.notes)
    assert [one.slot for one in robot.world.containers] == [""]
    robot.assert_whole()


def test_the_first_release_is_started(robot: Watched) -> None:
    runs_alone(robot, order("1"), "nothing runs yet")
    assert robot.world.serving() == ""


def test_the_manifest_may_say_never(on_one: Watched) -> None:
    runs_alone(on_one, order("2", switch=SwitchRules(handover=HANDOVER_NEVER)), "the manifest says stop-start")


def test_an_image_that_takes_no_turns_is_never_started_beside_another(on_one: Watched) -> None:
    on_one.world.published[reference("2")].labels.clear()
    runs_alone(on_one, order("2"), "the new image does not support handover")
    runs_alone(on_one, order("3"), "the release that runs does not support handover")


def test_an_older_release_whose_containers_share_a_folder_is_replaced_and_never_has_another_beside_it(
    robot: Watched,
) -> None:
    old = {"robot.compose.yaml": OLD_COMPOSE}
    robot.run(order("1", compose=old))
    assert "HOST_NODE_DIR" not in robot.serving().content, "its .env stays as it was, and so its container"
    runs_alone(robot, order("2"), "the release that runs does not support handover")
    runs_alone(robot, order("3", compose=old), "its compose files give its container no folder of its own")
    for letter in "456":
        robot.world.published[reference(letter)].labels[LABEL_HANDOVER] = "1"
    runs_alone(robot, order("4"), "the new image does not support handover")
    runs_alone(robot, order("7"), "the release that runs does not support handover")


def test_two_containers_never_have_one_folder(on_one: Watched) -> None:
    folders = [on_one.world._environment(on_one.journal.current.folder)[ENV_HOST_NODE_DIR]]  # type: ignore[union-attr]
    on_one.updater.submit(order("2"))
    until(on_one, STANDBY)
    both = [on_one.world.container(slot) for slot in ("", "b")]
    assert [one.node_dir.rpartition("/")[2][:2] for one in both if one is not None] == ["a-", "b-"]
    on_one.drive()
    never = SwitchRules(handover=HANDOVER_NEVER)
    for letter, rules in (("3", never), ("4", SwitchRules(handover=HANDOVER_AUTO))):
        on_one.run(order(letter, switch=rules))
        assert on_one.journal.current is not None
        folders.append(on_one.world._environment(on_one.journal.current.folder)[ENV_HOST_NODE_DIR])
    assert len(set(folders)) == 3, "not in one slot after another either"


def test_an_order_may_say_that_the_old_one_has_no_say(on_one: Watched) -> None:
    """The old release does what it likes to the one beside it: takes its memory, fills what both share."""
    on_one.world.behaviour[reference("2")] = Behaviour(silent=True)
    assert on_one.run(order("2")).outcome == "reverted"
    on_one.world.behaviour.clear()
    assert on_one.run(order("2", order_id="again")).reason.startswith("this image failed here before")
    runs_alone(on_one, order("2", order_id="forced", force=True, stop_start=True), "the order says so")


def test_an_order_cannot_choose_its_folder() -> None:
    told = order("1", environment={ENV_HOST_NODE_DIR: "/etc"})
    assert environment_of(told, "b")[ENV_HOST_NODE_DIR] == node_folder("b", target_of(told).folder)


def test_compose_files_that_share_no_token_rule_it_out(on_one: Watched) -> None:
    text = COMPOSE.replace("      - /var/lib/jetfleet/serve:/run/jetfleet/serve:ro\n", "")
    assert text != COMPOSE
    told = order("2", compose={"robot.compose.yaml": text})
    runs_alone(on_one, told, "its compose files do not share /var/lib/jetfleet/serve")


def test_too_little_memory_rules_it_out_with_both_numbers(on_one: Watched) -> None:
    on_one.world.memory = 500 * 1024**2
    runs_alone(on_one, order("2"), "500 MiB of memory are free, the new one may take 732 MiB")


def test_a_declared_limit_is_what_the_new_one_may_take(on_one: Watched) -> None:
    told = order("2", environment={ENV_MEMORY: str(16 * 1024**3)})
    runs_alone(on_one, told, "8192 MiB of memory are free, the new one may take 16640 MiB")


def test_a_jetson_that_does_not_say_what_its_gpu_holds_needs_a_declared_limit(on_one: Watched) -> None:
    report = from_json(HealthReport, on_one.world.report(9310, ""))
    assert memory_needed(report, order("2"), is_jetson=True) is None
    known = replace(report, system=SystemHealth(gpu_memory_bytes=1_000_000_000))
    assert memory_needed(known, order("2"), is_jetson=True) == int(1_400_000_000 * 1.25) + (256 << 20)
    on_one.world.machine = Hardware("p3767-0003", "36.4.3")
    runs_alone(on_one, order("2"), "how much memory both need is not known: set resources/memory in the manifest")


def test_a_new_one_that_cannot_hold_the_lock_replaces_the_old_one(on_one: Watched) -> None:
    on_one.world.behaviour[reference("2")] = Behaviour(shares_lock=False)
    runs_alone(on_one, order("2"), "the new release cannot hold the serving lock")
    assert on_one.updater.status().reason == "", "nobody changed .env but the updater itself"


# ── the update lock ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_begins_to_move_while_the_new_one_loads_keeps_its_old_one_until_it_stands(robot: Watched) -> None:
    rules = {ENV_INHIBIT: "{}"}
    robot.run(order("1", environment=rules))
    robot.updater.submit(order("2", environment=rules))
    until(robot, STANDBY)
    robot.world.lock = MOVING
    for _ in range(30):
        if not robot.updater.step():
            robot.world.sleep(1.0)
    assert robot.journal.takeover == STANDBY
    assert robot.serving().image == reference("1")
    robot.world.lock = LockAnswer(FREE)
    assert robot.drive().outcome == "committed"
    assert not robot.world.lock_held


def test_a_new_process_asks_again_before_it_moves_the_token(robot: Watched) -> None:
    rules = {ENV_INHIBIT: "{}"}
    robot.run(order("1", environment=rules))
    robot.updater.submit(order("2", environment=rules))
    until(robot, HANDED)
    robot.world.lock, robot.world.lock_held = MOVING, False
    robot.boot()
    for _ in range(5):
        if not robot.updater.step():
            robot.world.sleep(1.0)
    assert (robot.journal.takeover, robot.world.serving()) == (HANDED, "")
    robot.world.lock = LockAnswer(FREE)
    assert robot.drive().outcome == "committed"


def test_a_power_cut_of_minutes_gives_the_new_one_its_time_anew(on_one: Watched) -> None:
    on_one.world.behaviour[reference("2")] = Behaviour(ready_after_s=10.0)
    on_one.updater.submit(order("2"))
    until(on_one, STANDBY)
    on_one.world.reboot(away_s=300.0)
    on_one.boot()
    assert on_one.drive().outcome == "committed"


# ── cuts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fault", "reboots"), [("well", True), ("turns-bad", False)])
def test_a_cut_leaves_one_whole_release_and_never_two_publishers(fault: str, reboots: bool) -> None:
    # Some places; long_crashes.py cuts at every one.
    assert cut_at_places(fault, reboots, first=1 + reboots, step=15) > 40


def test_an_old_container_that_cannot_be_removed_is_tried_until_it_is_gone(on_one: Watched) -> None:
    on_one.world.fail("compose_down", *[WorldError("docker compose down: device busy")] * 3)
    state = on_one.run(order("2"))
    assert state.outcome == "committed"
    assert [one.slot for one in on_one.world.containers] == ["b"]
    assert "the old container is not removed yet: docker compose down: device busy" in on_one.world.notes
