"""Robots that go silent, in every way there is: waited for, then lost, and never a reason to undo what others run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.errors import OutsideError, RobotsOffline, RolloutFailed
from fleet.ports import CommandResult
from fleet.rollout.gate import may_be_lost
from fleet.rollout.limits import Limits
from fleet.rollout.orders import orders_for
from fleet.rollout.result import RolloutEvent, RolloutResult
from tests.fakes.robots.rollout_site import RolloutSite, release
from tests.fakes.robots.updater import FakeUpdater

Break = Callable[[RolloutSite, str], None]


def vanish(site: RolloutSite, name: str) -> None:
    site.host(name).online = False


def hang(site: RolloutSite, name: str) -> None:
    site.updaters[name].hang = True


def stop(site: RolloutSite, name: str) -> None:
    site.updaters[name].silent = True


def refuse_login(site: RolloutSite, name: str) -> None:
    site.host(name).login = False
    site.host(name).programs.clear()  # the connection that is open yet brings nothing either


def show_another_key(site: RolloutSite, name: str) -> None:
    site.host(name).host_key = "ssh-ed25519 SHA256:another"
    site.host(name).programs.clear()


def answer_noise(site: RolloutSite, name: str) -> None:
    for program in [*site.host(name).programs]:
        site.host(name).programs[program] = lambda _args, _in: CommandResult(0, "motd: welcome\n", "")


def answer_a_traceback(site: RolloutSite, name: str) -> None:
    for program in [*site.host(name).programs]:
        site.host(name).programs[program] = lambda _args, _in: CommandResult(1, "", "OSError: [Errno 28]\n")


KINDS = [vanish, hang, stop, refuse_login, show_another_key, answer_noise, answer_a_traceback]


def roll(
    site: RolloutSite, broken: Break, name: str = "r9", state: str = "probation", **policy: object
) -> RolloutResult:
    """Roll out 1.1.0; ``name`` goes silent in ``state``."""

    def tell(event: RolloutEvent) -> None:
        if event.robot == name and event.state == state:
            broken(site, name)

    document = release("1.1.0", site.content("b"))
    return site.roll(document, policy={"waves": [1, "100%"], **policy}, on_event=tell)


def on_1_0(count: int) -> RolloutSite:
    site = RolloutSite(count)
    assert site.roll(release("1.0.0", site.content("a"))).succeeded
    site.events.clear()
    return site


@pytest.mark.parametrize("broken", KINDS)
def test_nothing_that_committed_goes_back_because_another_robot_is_silent(broken: Break) -> None:
    site = on_1_0(10)
    result = roll(site, broken)
    assert result.counts == {"committed": 9, "lost": 1}
    assert {name: version for name, version in site.versions().items() if name != "r9"} == {
        f"r{n}": "1.1.0" for n in range(9)
    }
    assert all("revert" not in updater.verbs for updater in site.updaters.values())
    assert not result.succeeded
    error = result.error()
    assert isinstance(error, RolloutFailed)
    assert error.exit_code == 4
    assert "1 of 10 robots are lost, at most 0 may be (rollout/lost/at_most: 5%)" in error.message
    assert "; r9 lost: took the order" in error.message


@pytest.mark.parametrize("broken", KINDS)
def test_as_many_as_the_manifest_says_may_be_lost(broken: Break) -> None:
    site = on_1_0(10)
    result = roll(site, broken, "r3", waves=[1, "50%", "100%"], lost={"at_most": "10%"})
    assert result.counts == {"committed": 9, "lost": 1}
    assert result.succeeded
    error = result.error()
    assert isinstance(error, RobotsOffline)
    assert "1 of 10 robots are lost: r3: took the order, then did not answer" in error.message
    assert "fleet status --robots r3" in error.hint


def test_only_where_the_manifest_says_so_the_others_go_back() -> None:
    site = on_1_0(10)
    result = roll(site, hang, lost={"then": "revert"})
    assert result.counts == {"rolled back": 9, "lost": 1}
    assert set(site.versions().values()) == {"1.0.0"}


def test_a_release_that_fails_elsewhere_goes_back_whoever_is_silent() -> None:
    site = on_1_0(10)
    site.updaters["r8"].revert_in = "probation"
    result = roll(site, hang, "r3", lost={"at_most": "10%"})
    assert result.counts == {"rolled back": 7, "reverted": 1, "lost": 1, "skipped": 1}


@pytest.mark.parametrize("broken", KINDS)
@pytest.mark.parametrize("state", ["preflight", "fetching", "waiting", "switching", "probation"])
def test_a_robot_that_answers_again_before_its_deadline_is_not_lost(broken: Break, state: str) -> None:
    site = on_1_0(2)
    host, programs, key = site.host("r1"), dict(site.host("r1").programs), site.host("r1").host_key
    start, broken_at = site.clock.sleep, []

    def breaks(its_site: RolloutSite, name: str) -> None:
        if not broken_at:
            broken_at.append(site.clock.monotonic())
            broken(its_site, name)

    def sleep(seconds: float) -> None:
        start(seconds)
        if broken_at and site.clock.monotonic() > broken_at[0] + 40:
            host.online, host.login, host.host_key = True, True, key
            host.programs.update(programs)
            site.updaters["r1"].hang = site.updaters["r1"].silent = False

    site.clock.sleep = sleep  # type: ignore[method-assign]
    result = roll(site, breaks, "r1", state)
    assert result.counts == {"committed": 2}
    assert result.error() is None


def test_lost_counts_from_the_robots_own_deadline() -> None:
    """Seen in probation last: ready 60 s, soak 5 s, confirmation 60 s, way back 180 + 60 + 5 s; then lost/after."""
    for after, wanted in (("0s", 370.0), ("10m", 970.0)):
        site = on_1_0(2)
        result = roll(site, vanish, "r1", lost={"after": after})
        assert result.robots[1].outcome.value == "lost"
        assert wanted <= result.robots[1].seconds <= wanted + 30.0


def test_what_was_seen_last_narrows_the_wait_down() -> None:
    site = RolloutSite(1)
    order = orders_for(release("1.0.0", site.content("a")), "sha256:0", site.robots, issued_at=0.0, force=False)["r0"]
    limits, updater = Limits(), FakeUpdater("r0", site.clock)
    left = []
    for state in ("waiting", "switching", "probation", "reverting"):
        updater._enter(state, 0.0)
        left.append(limits.left_s(order, updater.state))
    assert all(one is not None and one < limits.update_s(order) for one in left)
    assert left == sorted(left, key=lambda seconds: -(seconds or 0))  # each later state leaves less
    updater._enter("fetching", 0.0)
    assert limits.left_s(order, updater.state) is None
    assert limits.left_s(order, None) is None


@pytest.mark.parametrize(("robots", "share", "lost"), [(3, 0.05, 0), (20, 0.05, 1), (39, 0.05, 1), (100, 0.07, 7)])
def test_the_share_is_of_the_whole_rollout_rounded_down(robots: int, share: float, lost: int) -> None:
    assert may_be_lost(robots, share) == lost


def test_a_submit_that_hangs_leaves_open_whether_it_arrived() -> None:
    site = on_1_0(2)
    updater = site.updaters["r1"]
    submit = updater._submit

    def hangs(text: str) -> CommandResult:
        submit(text)  # it arrived
        updater.hang = True
        return updater([""], "")

    updater._submit = hangs  # type: ignore[method-assign]
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"]})
    assert [robot.outcome.value for robot in result.robots] == ["committed", "lost"]
    assert "may have taken the order" in result.robots[1].reason
    assert site.versions()["r0"] == "1.1.0"


def test_silence_when_it_is_asked_what_runs_leaves_the_confirmation_to_the_robots_own_limit() -> None:
    """`attest` hangs while `status` answers: nobody confirms, and the robot goes back by itself. It is not lost."""
    site = on_1_0(2)
    updater, attest = site.updaters["r1"], site.updaters["r1"]._attest
    updater._attest = lambda text: updater_hangs(updater) if updater.state.awaiting_confirmation else attest(text)  # type: ignore[method-assign]
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"], "on_failure": "stop"})
    assert [robot.outcome.value for robot in result.robots] == ["committed", "reverted"]
    assert result.robots[1].reason == "nobody confirmed"


def updater_hangs(updater: FakeUpdater) -> CommandResult:
    from tests.fakes.robots.robot_shell import Hangs

    raise Hangs(updater.robot)


def test_a_robot_that_committed_and_then_says_nothing_is_lost_with_that_word() -> None:
    site = on_1_0(2)
    updater, commit = site.updaters["r1"], site.updaters["r1"]._confirm

    def confirm(order_id: str) -> CommandResult:
        done = commit(order_id)
        updater._attest = lambda _text: updater_hangs(updater)  # type: ignore[method-assign]
        return done

    updater._confirm = confirm  # type: ignore[method-assign]
    result = site.roll(release("1.1.0", site.content("b")), policy={"waves": [1, "100%"]})
    assert result.robots[1].outcome.value == "lost"
    assert "it reported the commit, then stopped answering" in result.robots[1].reason


def test_a_robot_that_goes_silent_in_an_update_of_somebody_else_is_offline_after_a_minute() -> None:
    site = on_1_0(2)
    other = release("0.9.0", site.content("old"))
    client = site.client(site.robots[1])
    client.submit(orders_for(other, "sha256:old", site.robots, issued_at=0.0, force=False)["r1"])
    client.close()

    def tell(event: RolloutEvent) -> None:
        if event.robot == "r1" and event.state == "probation":
            vanish(site, "r1")

    document = release("1.1.0", site.content("b"))
    result = site.roll(document, policy={"waves": [1, "100%"]}, on_event=tell)
    assert [robot.outcome.value for robot in result.robots] == ["committed", "offline"]
    assert result.robots[1].seconds < 120.0


# ── before anything was handed over ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("broken", "outcome", "error"),
    [
        (vanish, "offline", RobotsOffline),
        (hang, "offline", RobotsOffline),
        (stop, "offline", RobotsOffline),
        (refuse_login, "refused", OutsideError),
        (show_another_key, "refused", OutsideError),
        (answer_noise, "refused", OutsideError),
    ],
)
def test_a_robot_that_cannot_be_asked_at_its_turn_says_nothing_about_the_release(
    broken: Break, outcome: str, error: type[Exception]
) -> None:
    site = on_1_0(3)

    def tell(event: RolloutEvent) -> None:
        if event.kind == "wave-done" and event.wave == 1:
            broken(site, "r1")

    document = release("1.1.0", site.content("b"))
    result = site.roll(document, policy={"waves": [1, "100%"]}, on_event=tell)
    assert [robot.outcome.value for robot in result.robots] == ["committed", outcome, "committed"]
    assert "submit" not in site.updaters["r1"].verbs[-2:]
    assert isinstance(result.error(), error)
    assert result.succeeded


def test_a_canary_that_is_lost_stops_the_rollout_as_it_proved_nothing() -> None:
    site = on_1_0(40)
    result = roll(site, vanish, "r0")
    assert result.counts == {"lost": 1, "skipped": 39}
    error = result.error()
    assert isinstance(error, RolloutFailed)
    assert "none of 1 robots committed it (1 lost, 0 offline): the release is not proven" in error.message


# ── when it comes back ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_robot_that_comes_back_is_planned_and_updated_as_what_it_is() -> None:
    site = on_1_0(3)
    result = roll(site, hang, "r2")
    assert result.counts == {"committed": 2, "lost": 1}
    site.updaters["r2"].hang = False
    document = release("1.1.0", site.content("b"))
    changes = {change.robot: change for change in site.plan(document)}
    assert (changes["r2"].from_version, changes["r2"].action.value) == ("1.0.0", "update")  # it went back by itself
    assert changes["r0"].action.value == "none"
    again = site.roll(document)
    assert again.counts == {"committed": 3}
    assert again.error() is None


def test_silence_is_told_while_it_lasts_with_the_time_that_is_left() -> None:
    site = on_1_0(1)
    roll(site, hang, "r0")
    told = [event.message for event in site.events if "no answer" in event.message and event.kind == "robot"]
    assert len(told) == 1
    assert told[0].startswith("no answer, lost in ")
    assert "did not end within 30 s" in told[0]
