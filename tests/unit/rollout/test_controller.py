"""Waves, gates, failures, offline robots and interruptions, against updaters that play along."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from fleet.errors import LockHeld, OutsideError, PlanOutdated, RobotsOffline, RolloutFailed, UsageError
from fleet.ports import CommandResult
from fleet.rollout.gate import Outcome
from fleet.rollout.limits import Limits
from fleet.rollout.orders import orders_for
from fleet.rollout.result import RolloutEvent, RolloutResult
from fleet.rollout.undo import undo_update
from runtime.contract.robot.switching import SwitchRules
from tests.fakes.robots.rollout_site import RolloutSite, no_rollout_threads, release


def outcomes(result: RolloutResult) -> dict[str, str]:
    return {robot.name: robot.outcome.value for robot in result.robots}


def waves_seen(site: RolloutSite) -> list[str]:
    return [event.message for event in site.events if event.kind == "wave"]


def committed(site: RolloutSite, version: str = "1.0.0", content: str = "a") -> None:
    assert site.roll(release(version, site.content(content))).error() is None
    site.events.clear()


def test_every_robot_commits_wave_by_wave() -> None:
    site = RolloutSite(10)
    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": [1, "30%", "100%"], "parallel": 4})
    assert set(outcomes(result).values()) == {"committed"}
    assert result.error() is None
    assert [verdict.committed for verdict in result.waves] == [1, 2, 7]
    assert set(site.versions().values()) == {"1.0.0"}
    assert all(updater.verbs.count("confirm") == 1 for updater in site.updaters.values())
    assert site.open_connections() == 0
    assert no_rollout_threads()


def test_the_attestation_goes_over_a_connection_of_its_own() -> None:
    site = RolloutSite(1)
    site.roll(release("1.0.0", site.content("a")))
    assert site.host("r0").connections == 3  # looking, the update, attesting and confirming


def test_events_tell_each_robots_states_and_outcome() -> None:
    site = RolloutSite(1)
    site.roll(release("1.0.0", site.content("a")))
    states = [event.state for event in site.events if event.kind == "robot"]
    assert states == ["preflight", "fetching", "verifying", "waiting", "switching", "probation", "idle"]
    assert [event.kind for event in site.events if event.kind != "robot"] == [
        "looked",
        "wave",
        "robot-done",
        "wave-done",
    ]


def test_a_wave_that_fails_stops_the_rollout_and_takes_back_what_it_changed() -> None:
    site = RolloutSite(6)
    committed(site)
    site.updaters["r3"].revert_in = "probation"
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [2, 4, "100%"]})
    assert outcomes(result) == {
        "r0": "rolled back",
        "r1": "rolled back",
        "r2": "rolled back",
        "r3": "reverted",
        "r4": "skipped",
        "r5": "skipped",
    }
    assert set(site.versions().values()) == {"1.0.0"}
    assert site.updaters["r4"].verbs.count("submit") == 1  # only the first release's
    error = result.error()
    assert isinstance(error, RolloutFailed)
    assert error.exit_code == 4
    assert "wave 2 of 3: 1 of 2 robots committed, required 100%; r3 reverted: because the test says so" in error.message


def test_on_failure_stop_leaves_committed_robots_where_they_are() -> None:
    site = RolloutSite(3)
    committed(site)
    site.updaters["r1"].refuse = True
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"], "on_failure": "stop"})
    assert outcomes(result) == {"r0": "committed", "r1": "refused", "r2": "skipped"}
    assert site.versions()["r0"] == "1.1.0"


def test_a_robot_that_cannot_be_taken_back_needs_a_person() -> None:
    site = RolloutSite(2)
    site.updaters["r1"].revert_in = "switching"
    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "failed", "r1": "reverted"}
    assert "no previous release" in result.robots[0].reason


def test_the_success_share_is_of_robots_that_answered() -> None:
    site = RolloutSite(10)
    site.host("r0").online = False
    site.updaters["r9"].refuse = True
    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": ["100%"], "success": "85%"})
    assert result.counts == {"offline": 1, "committed": 8, "refused": 1}
    assert not result.failed
    assert isinstance(result.error(), RobotsOffline)


def test_a_wave_that_cannot_pass_any_more_spares_its_other_robots() -> None:
    site = RolloutSite(20)
    for updater in site.updaters.values():
        updater.refuse = True
    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": ["100%"], "success": "90%"})
    tried = sum(len(updater.submitted) for updater in site.updaters.values())
    assert result.failed
    assert tried == 3  # the third refusal makes 90% of 20 impossible
    assert result.counts == {"refused": 3, "skipped": 17}


def test_offline_robots_are_counted_apart_and_caught_up_by_the_next_run() -> None:
    site = RolloutSite(4)
    site.host("r0").online = False
    document = release("1.0.0", site.content("a"))
    result = site.roll(document, policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "offline", "r1": "committed", "r2": "committed", "r3": "committed"}
    error = result.error()
    assert isinstance(error, RobotsOffline)
    assert error.exit_code == 6
    site.host("r0").online = True
    again = site.roll(document, policy={"waves": [1, "100%"]})
    assert again.error() is None
    assert [len(updater.submitted) for updater in site.updaters.values()] == [1, 1, 1, 1]
    assert again.robots[1].reason == "already there"


def test_all_robots_offline_is_not_a_success_and_changes_nothing() -> None:
    site = RolloutSite(2)
    for host in site.hosts.values():
        host.online = False
    result = site.roll(release("1.0.0", site.content("a")))
    assert result.counts == {"offline": 2}
    assert not result.succeeded
    assert result.nobody_reached
    error = result.error()
    assert isinstance(error, RobotsOffline)
    assert error.exit_code == 6
    assert "no robot was reached: 2 of 2 robots were offline" in error.message


def test_robots_that_cannot_be_asked_are_no_success_either() -> None:
    site = RolloutSite(2)
    for host in site.hosts.values():
        host.login = False
    result = site.roll(release("1.0.0", site.content("a")))
    assert result.counts == {"refused": 2}
    assert not result.succeeded
    assert result.nobody_reached
    assert isinstance(result.error(), OutsideError)


def test_a_robot_without_updater_is_told_and_does_not_stop_the_others() -> None:
    site = RolloutSite(3)
    site.host("r1").programs.clear()
    result = site.roll(release("1.0.0", site.content("a")))
    assert outcomes(result) == {"r0": "committed", "r1": "refused", "r2": "committed"}
    error = result.error()
    assert isinstance(error, OutsideError)
    assert error.exit_code == 3
    assert "r1: has no updater" in error.message
    assert error.hint == "fleet bootstrap --robots r1"


def test_unchanged_robots_keep_their_container_and_only_learn_the_version() -> None:
    site = RolloutSite(3)
    committed(site)
    starts = {name: updater.container_starts for name, updater in site.updaters.items()}
    result = site.roll(release("1.1.0", {"r0": "a", "r1": "a", "r2": "b"}), policy={"waves": [1, "100%"]})
    assert result.error() is None
    assert waves_seen(site) == ["1 robots: r2", "2 robots: r0, r1"]  # the canary is one that changes
    assert set(site.versions().values()) == {"1.1.0"}
    assert site.updaters["r0"].container_starts == starts["r0"]
    assert site.updaters["r2"].container_starts == starts["r2"] + 1
    assert [robot.fetched_bytes for robot in result.robots] == [0, 0, 1000]


def test_a_changed_compose_file_is_a_change() -> None:
    site = RolloutSite(2)
    committed(site)
    result = site.roll(release("1.1.0", site.content("a"), compose="services: {new: 1}"), policy={"waves": [1, "100%"]})
    assert waves_seen(site) == ["1 robots: r0", "1 robots: r1"]
    assert result.counts == {"committed": 2}


def test_at_most_so_many_robots_of_a_site_at_a_time() -> None:
    site = RolloutSite(6)
    busy: dict[str, int] = {}
    most: dict[str, int] = {}
    label = {robot.name: robot.labels["site"] for robot in site.robots}

    def watch(event: RolloutEvent) -> None:
        if event.kind == "robot" and event.state == "preflight":
            place = label[event.robot]
            busy[place] = busy.get(place, 0) + 1
            most[place] = max(most.get(place, 0), busy[place])
        if event.kind == "robot-done":
            busy[label[event.robot]] -= 1

    policy = {"waves": ["100%"], "parallel": 6, "max_unavailable": {"per": "site", "robots": 1}}
    result = site.roll(release("1.0.0", site.content("a")), policy=policy, on_event=watch)
    assert result.error() is None
    assert most == {"s0": 1, "s1": 1}


# ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_runs_another_engine_is_sent_back_although_its_updater_is_content() -> None:
    site = RolloutSite(1)
    committed(site)
    site.updaters["r0"].attested_key = "sha256:wrong"
    result = site.roll(release("1.1.0", site.content("b")))
    assert outcomes(result) == {"r0": "reverted"}
    assert "runs engine sha256:wrong, the release says" in result.robots[0].reason
    assert "confirm" not in site.updaters["r0"].verbs[site.updaters["r0"].verbs.index("revert") :]
    assert site.versions() == {"r0": "1.0.0"}


def test_an_unhealthy_robot_is_not_confirmed() -> None:
    site = RolloutSite(1)
    committed(site)
    site.updaters["r0"].unhealthy = "yes"
    result = site.roll(release("1.1.0", site.content("b")))
    assert outcomes(result) == {"r0": "reverted"}
    assert "health is unhealthy" in result.robots[0].reason


def test_what_was_wrong_before_does_not_stop_a_release_that_leaves_the_container_alone() -> None:
    site = RolloutSite(1)
    committed(site)
    site.updaters["r0"].unhealthy = "its camera is dead"
    result = site.roll(release("1.1.0", site.content("a")))
    assert outcomes(result) == {"r0": "committed"}
    assert "health is unhealthy" in result.robots[0].reason


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_is_away_for_a_while_during_its_update_is_waited_for() -> None:
    site = RolloutSite(1)
    host, start = site.host("r0"), site.clock.sleep

    def sleep(seconds: float) -> None:
        start(seconds)
        host.online = not 4 < site.clock.monotonic() < 40

    site.clock.sleep = sleep  # type: ignore[method-assign]
    result = site.roll(release("1.0.0", site.content("a")))
    assert outcomes(result) == {"r0": "committed"}


def test_an_updater_that_restarts_during_its_update_is_waited_for() -> None:
    site = RolloutSite(1)
    updater, start = site.updaters["r0"], site.clock.sleep

    def sleep(seconds: float) -> None:
        start(seconds)
        updater.silent = 4 < site.clock.monotonic() < 40

    site.clock.sleep = sleep  # type: ignore[method-assign]
    result = site.roll(release("1.0.0", site.content("a")))
    assert outcomes(result) == {"r0": "committed"}


def test_a_canary_that_is_never_seen_again_stops_the_rollout_and_is_not_called_offline() -> None:
    site = RolloutSite(2)

    def cut(event: RolloutEvent) -> None:
        if event.robot == "r0" and event.state == "switching":
            site.host("r0").online = False

    result = site.roll(release("1.0.0", site.content("a")), policy={"waves": [1, "100%"]}, on_event=cut)
    assert outcomes(result) == {"r0": "lost", "r1": "skipped"}
    assert isinstance(result.error(), RolloutFailed)


def test_a_confirmation_that_comes_too_late_is_told_as_what_the_robot_did() -> None:
    site = RolloutSite(1)
    host = site.host("r0")

    def cut(event: RolloutEvent) -> None:
        if event.state == "probation":
            host.online = False

    start = site.clock.sleep

    def sleep(seconds: float) -> None:
        start(seconds)
        if site.clock.monotonic() > 100:
            host.online = True

    site.clock.sleep = sleep  # type: ignore[method-assign]
    result = site.roll(release("1.0.0", site.content("a")), on_event=cut)
    assert outcomes(result) == {"r0": "reverted"}


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_planned_is_applied_without_another_look() -> None:
    site = RolloutSite(3)
    document = release("1.0.0", site.content("a"))
    changes = site.plan(document)
    asked = {name: len(updater.verbs) for name, updater in site.updaters.items()}

    def tell(event: RolloutEvent) -> None:
        if event.kind == "wave" and event.wave == 1:
            assert {name: len(updater.verbs) for name, updater in site.updaters.items()} == asked

    assert site.roll(document, changes=changes, on_event=tell).succeeded


def moves(site: RolloutSite, name: str) -> None:
    """Somebody else brings another release onto a robot."""
    other = release("0.9.0", site.content("other"))
    client = site.client(site.robots[int(name[1:])])
    client.submit(orders_for(other, "sha256:other", site.robots, issued_at=0.0, force=False)[name])
    site.clock.sleep(30.0)
    client.confirm(client.status().order_id)
    client.close()


def test_a_robot_that_moved_since_the_plan_is_left_alone_and_ends_the_rollout() -> None:
    site = RolloutSite(3)
    committed(site)
    document = release("1.1.0", site.content("b"))
    changes = site.plan(document)
    moves(site, "r1")
    result = site.roll(document, changes=changes, policy={"waves": [1, 2, "100%"]})
    assert outcomes(result) == {"r0": "committed", "r1": "outdated", "r2": "skipped"}
    assert site.versions() == {"r0": "1.1.0", "r1": "0.9.0", "r2": "1.0.0"}
    assert not result.succeeded
    error = result.error()
    assert isinstance(error, PlanOutdated)
    assert error.exit_code == 4
    assert "r1 changed since the plan was made: it ran 1.0.0 then, and runs 0.9.0" in error.message


def test_a_plan_whose_first_robot_moved_changes_nothing() -> None:
    site = RolloutSite(2)
    committed(site)
    document = release("1.1.0", site.content("b"))
    changes = site.plan(document)
    moves(site, "r0")
    result = site.roll(document, changes=changes, policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "outdated", "r1": "skipped"}
    assert isinstance(result.error(), PlanOutdated)
    assert all(order.version != "1.1.0" for updater in site.updaters.values() for order in updater.submitted)


def test_a_robot_that_reached_the_planned_release_by_itself_has_not_moved() -> None:
    site = RolloutSite(1)
    committed(site)
    document = release("1.1.0", site.content("b"))
    changes = site.plan(document)
    assert site.roll(document).succeeded
    assert outcomes(site.roll(document, changes=changes)) == {"r0": "committed"}
    assert len(site.updaters["r0"].submitted) == 2


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_sends_back_the_robots_at_work_and_starts_no_others() -> None:
    site = RolloutSite(3)
    committed(site)
    raised = []

    def lock() -> None:
        if site.updaters["r0"].state.state == "switching" and not raised:
            raised.append(1)
            raise KeyboardInterrupt

    hold_until(site, "r0", "switching", lambda: bool(raised))
    result = site.roll(release("1.1.0", site.content("b")), keep_lock=lock)
    assert outcomes(result) == {"r0": "aborted", "r1": "skipped", "r2": "skipped"}
    assert result.interrupted
    assert set(site.versions().values()) == {"1.0.0"}
    error = result.error()
    assert isinstance(error, RolloutFailed)
    assert "was interrupted: 1 aborted, 2 skipped" in error.message
    assert no_rollout_threads()
    again = site.roll(release("1.1.0", site.content("b")))
    assert again.counts == {"committed": 3}


def test_a_lost_lock_ends_the_rollout_like_an_interruption() -> None:
    site = RolloutSite(2)
    lost = []

    def lock() -> None:
        if site.updaters["r0"].state.state == "fetching":
            lost.append(1)
            raise LockHeld("the rollout lock was taken over")

    hold_until(site, "r0", "fetching", lambda: bool(lost))
    result = site.roll(release("1.0.0", site.content("a")), keep_lock=lock)
    assert outcomes(result) == {"r0": "aborted", "r1": "skipped"}
    assert "interrupted" in [event.kind for event in site.events]


def test_ctrl_c_while_robots_go_back_lets_them() -> None:
    site = RolloutSite(3)
    committed(site)
    site.updaters["r1"].revert_in = "probation"
    interrupted = threading.Event()
    go_back = site.updaters["r0"]._revert

    def lock() -> None:
        if site.events[-1].kind == "reverting":
            raise KeyboardInterrupt

    def slow(order_id: str, reason: str) -> CommandResult:
        assert interrupted.wait(20.0)
        return go_back(order_id, reason)

    def tell(event: RolloutEvent) -> None:
        if event.kind == "interrupted":
            interrupted.set()

    site.updaters["r0"]._revert = slow  # type: ignore[method-assign]
    policy = {"waves": [1, "100%"]}
    result = site.roll(release("1.1.0", site.content("b")), policy=policy, keep_lock=lock, on_event=tell)
    assert outcomes(result) == {"r0": "rolled back", "r1": "reverted", "r2": "skipped"}
    assert result.interrupted
    assert result.failed
    assert no_rollout_threads()


def test_a_robot_left_on_its_way_back_is_told_as_such() -> None:
    site = RolloutSite(1)
    committed(site)
    order = site.updaters["r0"].submitted[-1]
    abandon = threading.Event()
    abandon.set()
    problem = undo_update(
        site.client(site.robots[0]),
        order,
        order.order_id,
        reason="it failed elsewhere",
        clock=site.clock,
        limits=Limits(),
        on_state=lambda _state: None,
        abandon=abandon,
    )
    assert problem == "never reached, so not rolled back"
    assert "revert" not in site.updaters["r0"].verbs


def test_the_next_run_finishes_what_a_dead_one_began() -> None:
    """The operator's machine died while the robot waited for confirmation: the same order is gone on with."""
    site = RolloutSite(1)
    document = release("1.0.0", site.content("a"))
    client = site.client(site.robots[0])
    from fleet.rollout.orders import orders_for
    from runtime.contract.codec import digest_of

    order = orders_for(document, digest_of(document), site.robots, issued_at=0.0, force=False)["r0"]
    client.submit(order)
    client.close()
    site.clock.sleep(9.0)
    result = site.roll(document)
    assert outcomes(result) == {"r0": "committed"}
    assert len(site.updaters["r0"].submitted) == 1


def test_another_order_in_progress_is_waited_for_first() -> None:
    site = RolloutSite(1)
    other = release("0.9.0", site.content("old"))
    from fleet.rollout.orders import orders_for
    from runtime.contract.codec import digest_of

    client = site.client(site.robots[0])
    client.submit(orders_for(other, digest_of(other), site.robots, issued_at=0.0, force=False)["r0"])
    client.close()
    result = site.roll(release("1.0.0", site.content("a")))
    assert outcomes(result) == {"r0": "committed"}
    assert [order.version for order in site.updaters["r0"].submitted] == ["0.9.0", "1.0.0"]


def test_a_defect_in_one_worker_ends_the_rollout_and_leaves_no_thread() -> None:
    site = RolloutSite(2)

    def broken(event: RolloutEvent) -> None:
        if event.state == "fetching":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        site.roll(release("1.0.0", site.content("a")), on_event=broken)
    assert no_rollout_threads()


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_that_does_not_know_a_robot_is_a_usage_error() -> None:
    site = RolloutSite(2)
    with pytest.raises(UsageError, match=r"release 1\.0\.0 does not know r1") as caught:
        site.roll(release("1.0.0", {"r0": "a"}))
    assert "--robots" in caught.value.hint
    assert site.updaters["r0"].verbs == []


def test_force_submits_although_the_robot_is_there() -> None:
    site = RolloutSite(1)
    document = release("1.0.0", site.content("a"))
    site.roll(document)
    site.roll(document, force=True)
    assert [order.force for order in site.updaters["r0"].submitted] == [False, True]


def test_an_order_carries_only_what_its_robot_needs() -> None:
    site = RolloutSite(1)
    document = release("1.0.0", site.content("a"))
    document = dataclasses.replace(document, compose={**document.compose, "jetson.compose.yaml": "x"})
    document = dataclasses.replace(document, environment={"r0": {"ROS_DOMAIN_ID": "7"}, "r1": {"ROS_DOMAIN_ID": "8"}})
    # What the manifest at hand says is another version's matter: going back brings the old variables back.
    robot = dataclasses.replace(site.robots[0], environment={"ROS_DOMAIN_ID": "9"})
    site.roll(document, [robot])
    order = site.updaters["r0"].submitted[0]
    assert order.compose == {"robot.compose.yaml": "services: {}"}
    assert order.environment == {"ROS_DOMAIN_ID": "7"}
    assert (order.fleet, order.robot, order.issued_at) == ("warehouse", "r0", 1_800_000_000.0)


def hold_until(site: RolloutSite, robot: str, state: str, done: object) -> None:
    """Let time stand still while ``robot`` is in ``state``, until the main thread has seen it."""
    import time

    start = site.clock.sleep

    def sleep(seconds: float) -> None:
        limit = time.monotonic() + 20
        while site.updaters[robot].state.state == state and not done():  # type: ignore[operator]
            assert time.monotonic() < limit, "the main thread did not look"
            time.sleep(0.01)
        start(seconds)

    site.clock.sleep = sleep  # type: ignore[method-assign]


def test_outcomes_have_words_of_their_own() -> None:
    assert len({each.value for each in Outcome}) == len(Outcome)


def test_a_robot_that_says_not_now_counts_apart_and_the_rollout_goes_on() -> None:
    site = RolloutSite(3)
    committed(site)
    site.updaters["r1"].defer = True
    site.updaters["r1"].why = "the update lock is held for 600 s: the robot drives"
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "committed", "r1": "deferred", "r2": "committed"}
    assert result.succeeded
    assert (result.waves[1].committed, result.waves[1].deferred) == (1, 1)
    error = result.error()
    assert isinstance(error, RobotsOffline)
    assert error.exit_code == 6
    assert (
        "1 of 3 robots robots deferred the update: r1: the update lock is held for 600 s: the robot drives"
        in error.message
    )


def test_a_canary_that_says_not_now_proves_nothing() -> None:
    site = RolloutSite(2)
    committed(site)
    site.updaters["r0"].defer = True
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "deferred", "r1": "skipped"}
    assert not result.succeeded
    error = result.error()
    assert isinstance(error, RobotsOffline)
    assert "wave 1 of 2: none of 1 robots took it (1 deferred, 0 offline): the release is not proven" in error.message


def test_a_wave_that_says_not_now_takes_nothing_from_those_before_it() -> None:
    site = RolloutSite(3)
    committed(site)
    site.updaters["r1"].defer = site.updaters["r2"].defer = True
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"]})
    assert outcomes(result) == {"r0": "committed", "r1": "deferred", "r2": "deferred"}
    assert site.versions()["r0"] == "1.1.0"


def test_an_override_is_in_every_order() -> None:
    site = RolloutSite(2)
    committed(site)
    site.updaters["r0"].defer = True
    result = site.roll(release("1.1.0", site.content("b")), override="fire drill")
    assert set(outcomes(result).values()) == {"committed"}
    assert site.updaters["r1"].submitted[-1].override == "fire drill"


def test_a_robot_waits_longer_for_its_window_than_the_controller_for_the_robot() -> None:
    site = RolloutSite(1)
    plain, patient = release("1.0.0", site.content("a")), release("1.0.0", site.content("a"))
    patient = dataclasses.replace(patient, switch={"r0": SwitchRules(wait_s=7200.0)})
    short, long = (
        orders_for(document, "sha256:0", site.robots, issued_at=0.0, force=False)["r0"] for document in (plain, patient)
    )
    assert Limits().update_s(long) - Limits().update_s(short) == 2 * (7200.0 - 600.0)


@pytest.mark.parametrize(("rate", "more_s"), [(0, 0.0), (10**9, 0.0), (10_000, 2 * 1_000_000_000 / 10_000 - 3600.0)])
def test_a_robot_with_a_rate_is_given_the_time_that_its_image_takes(rate: int, more_s: float) -> None:
    site = RolloutSite(1)
    made = release("1.0.0", site.content("a"))
    variants = tuple(dataclasses.replace(variant, image_bytes=1_000_000_000) for variant in made.variants)
    slow = dataclasses.replace(made, variants=variants, switch={"r0": SwitchRules(bytes_per_s=rate)})
    plain, limited = (
        orders_for(document, "sha256:0", site.robots, issued_at=0.0, force=False)["r0"] for document in (made, slow)
    )
    assert Limits().update_s(limited) - Limits().update_s(plain) == more_s
