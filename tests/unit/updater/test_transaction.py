"""Every way an order can end, on a fake robot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.contract.engine.build import DeviceFacts
from runtime.contract.node.health import Check
from runtime.contract.robot.update import UpdateState
from runtime.updater.state.records import ABORT, Request
from runtime.updater.state.world import DockerFacts, Hardware, ImageFacts, WorldError
from runtime.updater.transaction.update_state import Rejected
from tests.fakes.robots.robot_world import COMPOSE, Behaviour, digest, order, reference, variant
from tests.unit.updater.robot import Robot

DOWN = WorldError("the robot's Docker Engine does not answer", "start it", engine_down=True)
NETWORK = WorldError("docker pull: no route to host", "check the link", transient=True)


def test_first_release_is_committed(robot: Robot) -> None:
    state = robot.run(order("1"))
    assert (state.outcome, state.state, state.reason) == ("committed", "idle", "")
    assert state.current is not None
    assert state.current.version == "1.1.0"
    assert state.previous is None
    assert state.fetched_bytes == 105_000_000
    robot.assert_whole()


def test_second_release_fetches_only_what_is_missing_and_keeps_the_first(robot: Robot) -> None:
    robot.on("1")
    state = robot.run(order("2"))
    assert state.outcome == "committed"
    assert state.fetched_bytes == 5_000_000
    assert state.previous is not None
    assert state.previous.version == "1.1.0"
    assert set(robot.world.images) == {reference("1"), reference("2")}
    robot.assert_whole()


def test_third_release_prunes_the_first_and_nothing_of_others(robot: Robot) -> None:
    robot.world.images["other/image@" + digest("f")] = ImageFacts("other", ("other/image@" + digest("f"),), "", ())
    for letter in "123":
        robot.on(letter)
    assert set(robot.world.images) == {reference("2"), reference("3"), "other/image@" + digest("f")}
    assert len(robot.world.releases()) == 2
    robot.assert_whole()


def test_same_content_under_a_new_version_leaves_the_container_alone(robot: Robot) -> None:
    robot.on("1")
    assert robot.world.runs is not None
    before, pulls = robot.world.runs.id, list(robot.world.pulls)
    state = robot.run(order("1", version="2.0.0", order_id="again", release_digest=digest("9")))
    assert state.outcome == "committed"
    assert state.fetched_bytes == 0
    assert state.current is not None
    assert state.current.version == "2.0.0"
    assert robot.world.runs.id == before
    assert robot.world.pulls == pulls
    robot.assert_whole()


def test_same_content_that_is_not_well_goes_the_long_way_and_keeps_its_container(robot: Robot) -> None:
    robot.on("1")
    assert robot.world.runs is not None
    before = robot.world.runs.id
    robot.world.runs.started = robot.world.time
    state = robot.run(order("1", version="2.0.0", order_id="again", release_digest=digest("9")))
    assert state.outcome == "committed"
    assert robot.world.runs.id == before


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(cosine=0.41), "sign_text: self-test cosine 0.41 < 0.97"),
        (Behaviour(exits=True), "the container was restarted 3 times (exit code 1)"),
        (Behaviour(silent=True), "not healthy within 20 s: the agent on port 9310 does not answer"),
        (Behaviour(ready_after_s=500.0), "not healthy within 20 s: sign_text: loading"),
        (Behaviour(executor="crash_loop"), "the executor is in a crash loop"),
        (Behaviour(model="failed"), "sign_text: failed"),
        (
            Behaviour(key=digest("7")),
            "sign_text: runs engine sha256:777777777777, the release says",
        ),
        (
            Behaviour(state="unhealthy", checks=(Check("latency", "error", "p99 90 ms > 50 ms"),)),
            "not healthy within 20 s: latency: p99 90 ms > 50 ms",
        ),
        (Behaviour(turns_bad_after_s=5.0), "latency: inference p99 900 ms"),
        (Behaviour(turns_bad_after_s=8.5), "was healthy, then not: latency: inference p99 900 ms"),
    ],
)
def test_bad_release_is_reverted_with_its_reason_and_banned(robot: Robot, behaviour: Behaviour, reason: str) -> None:
    robot.on("1")
    robot.confirms = False
    robot.world.behaviour[reference("2")] = behaviour
    state = robot.run(order("2"))
    assert state.outcome == "reverted"
    assert reason in state.reason
    assert "1.1.0 runs again" in state.reason
    assert state.current is not None
    assert state.current.version == "1.1.0"
    assert state.banned == (reference("2"),)
    assert reference("2") not in robot.world.images
    robot.assert_whole()


def test_banned_image_is_refused_until_forced(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.41)
    robot.run(order("2"))
    state = robot.run(order("2", order_id="again"))
    assert state.outcome == "refused"
    assert "failed here before: sign_text: self-test cosine 0.41 < 0.97" in state.reason
    robot.world.behaviour.clear()
    state = robot.run(order("2", order_id="forced", force=True))
    assert state.outcome == "committed"
    assert state.banned == ()


def test_bad_first_release_leaves_nothing_running(robot: Robot) -> None:
    robot.world.behaviour[reference("1")] = Behaviour(cosine=0.41)
    state = robot.run(order("1"))
    assert state.outcome == "reverted"
    assert "nothing ran before" in state.reason
    assert robot.world.runs is None
    robot.assert_whole()


def test_without_confirmation_the_robot_goes_back_and_bans_nothing(robot: Robot) -> None:
    robot.on("1")
    robot.confirms = False
    state = robot.run(order("2"))
    assert state.outcome == "reverted"
    assert "no confirmation within 15 s" in state.reason
    assert state.banned == ()
    robot.assert_whole()


def test_degraded_is_committed_and_told(robot: Robot) -> None:
    robot.on("1")
    warm = Check("temperature", "warn", "cpu 91 °C")
    robot.world.behaviour[reference("2")] = Behaviour(state="degraded", checks=(warm,))
    state = robot.run(order("2"))
    assert (state.outcome, state.reason) == ("committed", "degraded: temperature: cpu 91 °C")


def test_what_was_wrong_before_does_not_count(robot: Robot) -> None:
    robot.on("1")
    robot.world.room = Behaviour(state="unhealthy", checks=(Check("camera", "stale", "nothing arrives"),))
    state = robot.run(order("2"))
    assert state.outcome == "committed"
    assert "camera: nothing arrives" in state.reason


def test_revert_is_done_when_the_old_release_is_as_unwell_as_before(robot: Robot) -> None:
    robot.on("1")
    robot.world.room = Behaviour(state="unhealthy", checks=(Check("camera", "stale", "nothing arrives"),))
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    state = robot.run(order("2"))
    assert state.outcome == "reverted"
    assert "self-test cosine 0.1" in state.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"robot": "amr-002"}, "the order is for amr-002, this robot is amr-001"),
        ({"issued_at": 1_800_000_000.0 - 366 * 86400}, "the robot's clock is 366.0 days ahead of"),
        ({"issued_at": 1_800_000_000.0 + 366 * 86400}, "the robot's clock is 366.0 days behind"),
        ({"environment": {"A": "x\ny"}}, "the value of A cannot be written"),
        ({"environment": {"A B": "x"}}, "'A B' is not a name"),
        ({"environment": {"JETFLEET_HEALTH_PORT": "0"}}, "JETFLEET_HEALTH_PORT is '0', not a port"),
        ({"compose": {}}, "names the compose file robot.compose.yaml and does not carry it"),
        ({"variant": variant("2", compose_files=("../x",))}, "'../x' is not a plain file name"),
        ({"variant": variant("2", image="registry.test/x:latest")}, "not a digest"),
        (
            {"variant": variant("2", requires=DeviceFacts("linux/arm64"))},
            "needs platform linux/arm64, this",
        ),
        (
            {"variant": variant("2", requires=DeviceFacts("linux/amd64", module="p3767-0003", l4t="36.4.3"))},
            "needs module p3767-0003, this robot is p3767-0005",
        ),
        (
            {"variant": variant("2", requires=DeviceFacts("linux/amd64", l4t="36.3.0"))},
            "needs L4T 36.3.0, this robot is 36.4.3",
        ),
    ],
)
def test_preflight_refuses_and_changes_nothing(robot: Robot, change: dict[str, object], reason: str) -> None:
    robot.on("1")
    robot.world.machine = Hardware(module="p3767-0005", l4t="36.4.3")
    before = robot.world.runs
    if "issued_at" in change:
        robot.world.time = 1_800_000_000.0
    state = robot.run(replace(order("2"), **change))  # type: ignore[arg-type]
    assert state.outcome == "refused"
    assert reason in state.reason
    assert state.hint
    assert robot.world.runs is before
    assert reference("2") not in robot.world.pulls
    robot.assert_whole()


@pytest.mark.parametrize("l4t", ["36.4", "R36.4.7", "36.5.0"])
def test_a_release_of_the_robot_s_l4t_line_is_taken(robot: Robot, l4t: str) -> None:
    robot.on("1")
    robot.world.machine = Hardware(module="p3767-0005", l4t="36.4.3")
    state = robot.run(replace(order("2"), variant=variant("2", requires=DeviceFacts("linux/amd64", l4t=l4t))))
    assert state.outcome == "committed", state.reason


def test_too_little_disk_is_refused_with_both_numbers(robot: Robot) -> None:
    robot.on("1")
    robot.world.free = 100 * 1024 * 1024
    state = robot.run(order("2"))
    assert state.outcome == "refused"
    # 5 MB of engine in the store, and twice in the Engine; 256 MiB margin, 16 MiB reserve on the same volume
    assert "287 MiB needed, 100 MiB free" in state.reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (DockerFacts("19.3.1", "2.40.3", "linux/amd64", "/"), "Docker Engine is 19.3.1, at least 20.10 is needed"),
        (DockerFacts("20.10.24", "1.29.2", "linux/amd64", "/"), "Docker Compose is 1.29.2, at least 2.0 is needed"),
        (DockerFacts("20.10.24", "", "linux/amd64", "/"), "Docker Compose is unknown"),
    ],
)
def test_old_docker_is_refused(robot: Robot, facts: DockerFacts, reason: str) -> None:
    robot.world.facts = facts
    state = robot.run(order("1"))
    assert state.outcome == "refused"
    assert reason in state.reason


def test_unset_clock_is_refused(robot: Robot) -> None:
    robot.world.time = 1000.0
    assert "was never set" in robot.run(order("1")).reason


def test_fetch_tries_again_and_counts_every_byte(robot: Robot) -> None:
    robot.world.fail("pull", NETWORK, NETWORK)
    state = robot.run(order("1"))
    assert state.outcome == "committed"
    assert len(robot.world.pulls) == 3
    assert state.fetched_bytes == 105_000_000


def test_fetch_gives_up_after_its_tries(robot: Robot) -> None:
    robot.on("1")
    robot.world.fail("pull", *[NETWORK] * 20)
    state = robot.run(order("2"))
    assert (state.outcome, state.reason) == ("refused", "fetching: docker pull: no route to host")
    assert state.hint == "check the link"
    assert robot.world.pulls.count(reference("2")) == 5
    robot.assert_whole()


def test_image_that_is_not_what_the_order_says_is_refused(robot: Robot) -> None:
    robot.on("1")
    image = robot.world.published[reference("2")]
    robot.world.published[reference("2")] = replace(image, layers=image.layers[:1])
    state = robot.run(order("2"))
    assert state.outcome == "refused"
    assert "lacks the engine layer of sign_text" in state.reason
    robot.assert_whole()


def test_compose_that_would_run_something_else_is_refused(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robot.world, "compose_image", lambda folder: "other:latest")
    state = robot.run(order("1"))
    assert state.outcome == "refused"
    assert "would run other:latest" in state.reason


def test_switch_that_fails_goes_back(robot: Robot) -> None:
    robot.on("1")
    robot.world.fail("compose_up", WorldError("docker compose up: exec: python3: not found"))
    state = robot.run(order("2"))
    assert state.outcome == "reverted"
    assert "switching: docker compose up: exec: python3: not found" in state.reason
    assert state.banned == (reference("2"),)
    robot.assert_whole()


def test_engine_that_is_away_during_the_switch_is_waited_for(robot: Robot) -> None:
    robot.on("1")
    robot.world.fail("compose_up", *[DOWN] * 20)
    assert robot.run(order("2")).outcome == "committed"


def test_engine_that_stays_away_ends_in_failed_with_what_to_do(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.41)
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "reverting")
    robot.world.fail("compose_up", *[DOWN] * 5000)
    state = robot.drive(5000)
    assert state.outcome == "failed"
    assert "the revert failed too" in state.reason
    assert "docker compose up -d" in state.hint


def test_old_release_that_does_not_come_back_ends_in_failed(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.41)
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == "reverting")
    robot.world.behaviour[reference("1")] = Behaviour(silent=True)
    state = robot.drive()
    assert state.outcome == "failed"
    assert "1.1.0 is not healthy after 60 s" in state.reason
    assert robot.world.runs is not None
    assert robot.world.runs.image == reference("1")


@pytest.mark.parametrize("where", ["preflight", "fetching", "verifying"])
def test_abort_before_the_switch_changes_nothing(robot: Robot, where: str) -> None:
    robot.on("1")
    before = robot.world.runs
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == where)
    robot.updater.leave(Request(ABORT, "order-2", "wrong release"))
    state = robot.drive()
    assert (state.outcome, state.reason) == ("refused", "aborted: wrong release")
    assert robot.world.runs is before
    assert reference("2") not in robot.world.images
    robot.assert_whole()


@pytest.mark.parametrize("where", ["switching", "probation"])
def test_abort_after_the_switch_goes_back(robot: Robot, where: str) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    robot.drive(until=lambda state: state.state == where)
    robot.updater.leave(Request(ABORT, "order-2", "wrong release"))
    state = robot.drive()
    assert state.outcome == "reverted"
    assert state.reason.startswith("aborted: wrong release")
    assert state.banned == ()
    robot.assert_whole()


def test_submitting_twice_is_one_order(robot: Robot) -> None:
    robot.updater.submit(order("1"))
    robot.updater.submit(order("1"))
    assert robot.drive().outcome == "committed"
    assert robot.updater.submit(order("1")).outcome == "committed"
    assert len(robot.history(10)) == 1
    with pytest.raises(Rejected, match="submitted before with other content"):
        robot.updater.submit(order("1", version="9.9.9"))


def test_another_order_while_one_is_active_is_refused_with_whose(robot: Robot) -> None:
    robot.updater.submit(order("1"))
    with pytest.raises(Rejected, match=r"order-1 \(1.1.0 of fleet warehouse\) is in progress: preflight") as caught:
        robot.updater.submit(order("2"))
    assert caught.value.kind == "busy"
    assert "abort order-1" in caught.value.hint


def test_confirm_is_taken_only_when_awaited(robot: Robot) -> None:
    robot.confirms = False
    with pytest.raises(Rejected, match="does not await confirmation"):
        robot.updater.confirm("order-1")
    robot.updater.submit(order("1"))
    state = robot.drive(until=lambda state: state.awaiting_confirmation)
    assert state.progress == "probation: healthy for 5 s, waiting for confirmation"
    with pytest.raises(Rejected, match="order other does not await"):
        robot.updater.confirm("other")
    robot.confirms = True
    robot.drive()
    assert robot.updater.confirm("order-1").outcome == "committed"


def _version(state: UpdateState) -> str:
    return state.current.version if state.current else ""


def test_revert_by_hand_goes_to_the_release_before_and_back_again(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.confirms = False  # nobody is there to confirm: the robot's own verdict counts
    robot.updater.revert("it sees ghosts")
    state = robot.drive()
    assert (state.outcome, _version(state), state.fetched_bytes) == ("reverted", "1.1.0", 0)
    assert state.reason == "reverted to 1.1.0: it sees ghosts"
    robot.assert_whole()
    robot.updater.revert("")
    assert _version(robot.drive()) == "1.2.0"


def test_asking_twice_to_undo_an_order_undoes_it_once(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.updater.revert("the rollout failed elsewhere", "to-2")
    assert robot.updater.revert("the answer was lost", "to-2").state == "preflight"
    assert _version(robot.drive()) == "1.1.0"
    assert robot.updater.revert("the answer was lost again", "to-2").state == "idle"
    assert _version(robot.drive()) == "1.1.0"


def test_revert_by_hand_to_a_release_that_is_not_well_stays(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.world.behaviour[reference("1")] = Behaviour(cosine=0.3)
    robot.updater.revert("")
    state = robot.drive()
    assert (state.outcome, _version(state)) == ("failed", "1.2.0")
    assert "could not revert: sign_text: self-test" in state.reason
    robot.assert_whole()


@pytest.mark.parametrize("where", ["switching", "probation"])
def test_a_revert_by_hand_that_somebody_ends_leaves_what_ran_and_needs_no_hands(robot: Robot, where: str) -> None:
    robot.on("1")
    robot.on("2")
    order_id = robot.updater.revert("").order_id
    robot.drive(until=lambda state: state.state == where)
    robot.updater.leave(Request(ABORT, order_id, "the wrong robot"))
    state = robot.drive()
    assert (state.outcome, _version(state)) == ("refused", "1.2.0")
    assert state.reason == "aborted: the wrong robot; 1.2.0 runs again"
    robot.assert_whole()


def test_revert_without_a_release_before_is_refused(robot: Robot) -> None:
    robot.on("1")
    with pytest.raises(Rejected, match="no previous release"):
        robot.updater.revert("")


def test_revert_of_an_order_that_changed_nothing_undoes_its_version_only(robot: Robot) -> None:
    robot.on("1")
    assert robot.world.runs is not None
    before = robot.world.runs.id
    robot.run(order("1", version="2.0.0", order_id="again", release_digest=digest("9")))
    robot.updater.revert("the rollout failed elsewhere", "again")
    state = robot.drive()
    assert (state.outcome, _version(state)) == ("reverted", "1.1.0")
    assert robot.world.runs.id == before


def test_revert_of_an_order_that_ended_without_a_commit_does_nothing(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.world.behaviour[reference("3")] = Behaviour(cosine=0.3)
    robot.run(order("3"))
    state = robot.updater.revert("late", "order-3")
    assert (state.state, _version(state)) == ("idle", "1.2.0")
    with pytest.raises(Rejected, match="order to-1 is not the last one here"):
        robot.updater.revert("later", "to-1")


def test_unused_compose_content_changes_the_folder(robot: Robot) -> None:
    robot.on("1")
    state = robot.run(order("1", order_id="new", compose={"robot.compose.yaml": COMPOSE + "# more\n"}))
    assert state.outcome == "committed"
    assert state.current is not None
    assert state.previous is not None
    assert state.current.folder != state.previous.folder
    assert state.fetched_bytes == 0
    robot.assert_whole()
