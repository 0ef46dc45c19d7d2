"""bootstrap, rollout, rollback, status, exec and logs: the verbs that speak to robots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import RegistryError
from fleet.ports import CommandResult, LogLine
from fleet.rollout.lock import RolloutLock
from runtime.contract.robot.power import PowerStatus
from tests.fakes.robots.robot_shell import FakeShell
from tests.unit.cli.conftest import Desk


def outcomes(document: dict[str, object]) -> dict[str, str]:
    robots = document["robots"]
    assert isinstance(robots, list)
    return {robot["name"]: robot["outcome"] for robot in robots}


# ── bootstrap ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bootstrap_makes_robots_and_says_so(desk: Desk) -> None:
    desk.installable()
    document = desk.json("bootstrap")
    assert [robot["ready"] for robot in document["robots"]] == [True, True, True]
    assert {*document["robots"][0]} == {"name", "ready", "fingerprint", "updater", "changed", "notes", "login"}
    assert "SHA256" in desk.fleet("bootstrap", "--robots", "amr-001").out


def test_bootstrap_with_offline_robots_is_exit_6_and_with_others_exit_3(desk: Desk) -> None:
    desk.installable()
    desk.hosts["amr-002"].online = False
    document = desk.json("bootstrap", code=6)
    assert [robot["ready"] for robot in document["robots"]] == [True, False, True]
    desk.hosts["scout-001"].login = False
    document = desk.json("bootstrap", code=3)
    (refused,) = [robot for robot in document["robots"] if robot["name"] == "scout-001"]
    assert refused["error"] == "refused the login"
    assert refused["hint"]


# ── rollout ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rollout_moves_the_tags_and_leaves_a_record(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    document = desk.json("rollout", "--yes")
    assert document["succeeded"]
    assert set(outcomes(document).values()) == {"committed"}
    assert {move["tag"].rpartition(":")[2] for move in document["tags"]} == {"current-amr", "current-scout", "current"}
    assert desk.json("history")["current"] == "1.0.0"
    assert all(host.open_connections == 0 for host in desk.hosts.values())


def test_rollout_to_some_robots_moves_no_tags(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    document = desk.json("rollout", "--yes", "--robots", "group:amr")
    assert outcomes(document) == {"amr-001": "committed", "amr-002": "committed"}
    assert document["tags"] == []
    assert desk.json("history")["current"] is None


def test_rollout_of_what_is_not_published_names_what_is(desk: Desk) -> None:
    assert "no release 1.0.0" in desk.error("rollout", "--yes", code=2)
    desk.publish()
    assert desk.json("rollout", "9.9.9", "--yes", code=2)["error"]["hint"] == "published: 1.0.0"


def test_rollout_asks_nobody_without_a_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.publish()
    desk.bootstrapped()
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert "3 × update" in desk.error("rollout", code=2)
        desk.fleet("rollout", "--yes")
        assert outcomes(desk.json("rollout"))  # Nothing would change, so there is nothing to ask.


def test_the_plan_is_shown_and_a_no_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.publish()
    desk.bootstrapped()
    answers = [False, True]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_args, **_options: answers.pop(0))
    result = desk.fleet("rollout", code=3)
    assert "amr-001" in result.err
    assert "3 × update" in result.err
    assert "nothing was changed" in result.err
    assert all(not updater.submitted for updater in desk.updaters.values())
    assert "is rolled out" in desk.fleet("rollout").out


def test_a_robot_that_moved_while_the_question_stood_outdates_the_plan(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.running()
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})

    def meanwhile(*_args: object, **_options: object) -> bool:
        desk.set_version("1.0.0")
        desk.updaters["amr-001"].state = replace(desk.updaters["amr-001"].state, current=None)
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", meanwhile)
    assert "amr-001 changed since the plan was shown" in desk.fleet("rollout", code=4).err


def test_a_release_that_fails_is_exit_4_and_robots_go_back(desk: Desk) -> None:
    desk.running()
    desk.publish("1.1.0", groups={"amr": {"models": [{"model": "detector", "precision": "int8"}]}})
    desk.updaters["amr-001"].revert_in = "probation"
    result = desk.fleet("rollout", "--yes", code=4)
    assert "reverted" in result.out
    assert "because the test says so" in result.out
    assert "was stopped" in result.err
    assert desk.json("history")["current"] == "1.0.0"
    assert desk.json("history")["history"][0]["outcome"] == "failed"


def test_a_rollout_that_reached_nobody_is_no_success(desk: Desk) -> None:
    desk.running()
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    for host in desk.hosts.values():
        host.online = False
    document = desk.json("rollout", "--yes", code=6)
    assert document["succeeded"] is False
    assert document["tags"] == []
    assert "no robot was reached" in document["error"]["message"]
    assert "1.1.0 reached nobody: 3 offline" in desk.fleet("rollout", "--yes", code=6).out
    history = desk.json("history")
    assert (history["current"], history["history"][0]["outcome"]) == ("1.0.0", "nobody reached")
    for host in desk.hosts.values():
        host.online = True
    assert "no earlier successful rollout" in desk.error("rollback", "--yes", code=2)


def test_a_rollout_without_any_usable_key_is_no_success(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    for host in desk.hosts.values():
        host.login = False
    document = desk.json("rollout", "--yes", code=3)
    assert (document["succeeded"], document["tags"]) == (False, [])
    assert desk.json("history")["current"] is None


def test_a_plan_with_robots_that_did_not_answer_is_not_empty(desk: Desk) -> None:
    desk.running()
    assert desk.json("plan")["empty"] is True
    desk.hosts["amr-002"].online = False
    assert desk.json("plan")["empty"] is False
    assert "Nothing to do" not in desk.fleet("plan").out


def test_a_robot_that_moved_between_plan_and_turn_is_refused_with_yes_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.running()
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    acquire = RolloutLock.acquire

    def meanwhile(lock: RolloutLock) -> None:
        desk.updaters["amr-001"].state = replace(desk.updaters["amr-001"].state, current=None)
        acquire(lock)

    monkeypatch.setattr(RolloutLock, "acquire", meanwhile)
    document = desk.json("rollout", "--yes", code=4)
    assert document["error"]["kind"] == "PlanOutdated"
    assert (
        "amr-001 changed since the plan was made: it ran 1.0.0 then, and runs nothing now"
        in document["error"]["message"]
    )
    assert outcomes(document)["amr-001"] == "outdated"
    assert desk.json("history")["history"][0]["outcome"] == "failed"


def test_a_silent_robot_is_lost_and_status_says_what_became_of_it(desk: Desk) -> None:
    one_by_one = {"waves": [1, "100%"], "parallel": 1}  # The clock is everybody's: one's waiting is another's time.
    desk.running()
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}}, rollout=one_by_one)
    updater = desk.updaters["scout-001"]
    enter = updater._enter

    def stops(state: str, since: float, **changes: object) -> None:
        enter(state, since, **changes)
        updater.hang = state == "probation"

    updater._enter = stops  # type: ignore[method-assign]
    document = desk.json("rollout", "--yes", code=4)
    assert outcomes(document) == {"amr-001": "committed", "amr-002": "committed", "scout-001": "lost"}
    assert document["succeeded"] is False
    assert desk.json("history")["current"] == "1.0.0"
    rows = {robot["name"]: robot for robot in desk.json("status", code=3)["robots"]}
    assert rows["scout-001"]["state"] == "unknown"
    assert "did not end within" in rows["scout-001"]["error"]
    del updater._enter
    updater.hang = False
    rows = {robot["name"]: robot for robot in desk.json("status")["robots"]}
    assert (rows["scout-001"]["release"], rows["scout-001"]["reason"]) == ("1.0.0", "nobody confirmed")
    assert desk.json("rollout", "--yes")["succeeded"]


def test_offline_robots_are_exit_6_and_those_without_updater_exit_3(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    desk.hosts["scout-001"].online = False
    document = desk.json("rollout", "--yes", code=6)
    assert outcomes(document)["scout-001"] == "offline"
    assert document["error"]["kind"] == "RobotsOffline"
    desk.hosts["scout-001"].online = True
    desk.hosts["scout-001"].programs.clear()
    document = desk.json("rollout", "--yes", code=3)
    assert outcomes(document)["scout-001"] == "refused"
    assert document["error"]["message"].count("scout-001") == 1


def test_a_registry_that_goes_away_does_not_hide_what_robots_did(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()

    def hook(verb: str, target: str) -> None:
        if verb == "put_manifest" and "/audit" in target:
            raise RegistryError("registry.test:5000 is not reachable", hint="check it")

    desk.registry.hook = hook
    document = desk.json("rollout", "--yes", code=3)
    assert set(outcomes(document).values()) == {"committed"}
    assert "could not be written" in document["error"]["message"]
    desk.registry.hook = None
    desk.fleet("rollout", "--yes")
    assert desk.json("history")["current"] == "1.0.0"


# ── rollback ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rollback_goes_to_the_release_before(desk: Desk) -> None:
    desk.running()
    desk.running("1.1.0", groups={"scout": {"models": [{"model": "detector", "precision": "int8"}]}})
    document = desk.json("rollback", "--yes")
    assert document["version"] == "1.0.0"
    assert {robot["release"] for robot in desk.json("status")["robots"]} == {"1.0.0"}
    assert desk.json("history")["history"][0]["kind"] == "rollback"


def test_rollback_by_name_to_what_nobody_ran_says_so(desk: Desk) -> None:
    desk.publish("0.9.0")
    desk.running()
    document = desk.json("rollback", "0.9.0", "--yes")
    assert document["notes"] == ["no robot is known to have committed 0.9.0 (looked at 1 entries of fleet history)"]
    assert desk.json("rollback", "1.0.0", "--yes")["notes"] == []


def test_rollback_brings_the_old_environment_back(desk: Desk) -> None:
    desk.running(defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    desk.running("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "8"}})
    desk.fleet("rollback", "--yes")
    order = desk.updaters["amr-001"].order
    assert order is not None
    assert order.environment == {"ROS_DOMAIN_ID": "7"}


def test_rollback_with_nothing_to_go_back_to(desk: Desk) -> None:
    assert "no earlier" in desk.error("rollback", "--yes", code=2)
    assert "not published" in desk.error("rollback", "1.0.0", "--yes", code=2)
    desk.running()
    assert "published, and committed by robots, are 1.0.0" in desk.error("rollback", "--yes", code=2)


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_has_the_documented_keys(desk: Desk) -> None:
    desk.running()
    document = desk.json("status")
    assert {*document} == {"fleet", "release", "robots", "paused", "paused_error", "desired"}
    robot = document["robots"][0]
    assert {*robot} >= {"name", "state", "release", "image_digest", "engines", "health", "last_seen", "error"}
    assert [robot["state"], robot["release"], robot["health"]] == ["idle", "1.0.0", "ok"]
    assert {*robot["engines"][0]} == {"model", "precision", "key"}
    assert robot["image_digest"].startswith("sha256:")
    assert "detector fp32" in desk.fleet("status").out


def test_status_has_what_the_governor_does(desk: Desk) -> None:
    desk.running()
    desk.updaters["amr-001"].power = PowerStatus("25W", "25W", ("25W", "40W"), 1, 4, 0.5, reason="hot")
    power = {robot["name"]: robot["power"] for robot in desk.json("status")["robots"]}
    assert (power["amr-001"]["mode"], power["amr-001"]["rate"], power["amr-001"]["reason"]) == ("25W", 0.5, "hot")
    assert power["amr-002"] is None


def test_status_with_a_robot_off_is_exit_6(desk: Desk) -> None:
    desk.running()
    desk.hosts["amr-002"].online = False
    document = desk.json("status", code=6)
    states = {robot["name"]: robot["state"] for robot in document["robots"]}
    assert states == {"amr-001": "idle", "amr-002": "offline", "scout-001": "idle"}
    assert document["error"]["kind"] == "RobotsOffline"
    assert "amr-002" in desk.fleet("status", code=6).err


def test_status_of_robots_that_cannot_be_asked_is_exit_3(desk: Desk) -> None:
    desk.running()
    desk.hosts["amr-001"].host_key = "ssh-ed25519 SHA256:another"
    desk.hosts["amr-002"].programs.clear()
    document = desk.json("status", code=3)
    rows = {robot["name"]: robot for robot in document["robots"]}
    assert [rows["amr-001"]["state"], rows["amr-002"]["state"]] == ["unknown", "no updater"]
    assert "--accept-new-host-key" in rows["amr-001"]["hint"]
    assert "2 of 3 robots" in document["error"]["message"]


def test_status_says_what_is_wrong_with_a_robot(desk: Desk) -> None:
    desk.running()
    desk.updaters["scout-001"].unhealthy = "yes"
    result = desk.fleet("status")
    assert "unhealthy" in result.out


def test_a_selector_that_matches_nobody_is_exit_2(desk: Desk) -> None:
    assert "amr-01" in desk.error("status", "--robots", "amr-01", code=2)


# ── exec and logs ────────────────────────────────────────────────────────────────────────────────────────────────


def test_exec_passes_arguments_as_they_are(desk: Desk) -> None:
    desk.bootstrapped()
    document = desk.json("exec", "--", "echo", "a  b", "$HOME", "--json")
    assert document["command"] == ["echo", "a  b", "$HOME", "--json"]
    assert {robot["stdout"] for robot in document["robots"]} == {"a  b $HOME --json\n"}
    assert "amr-001: [bold]" in desk.fleet("exec", "--robots", "amr-001", "echo", "[bold]").out


def test_exec_of_a_command_that_fails_is_exit_3(desk: Desk) -> None:
    desk.bootstrapped()
    document = desk.json("exec", "--robots", "amr-*", "--", "false", code=3)
    assert [robot["exit_code"] for robot in document["robots"]] == [1, 1]
    assert "exit code 1" in desk.fleet("exec", "--", "false", code=3).out


def test_exec_with_robots_off_is_exit_6(desk: Desk) -> None:
    desk.bootstrapped()
    desk.hosts["amr-001"].online = False
    document = desk.json("exec", "--", "echo", "hi", code=6)
    assert [robot["exit_code"] for robot in document["robots"]] == [None, 0, 0]
    assert document["robots"][0]["error"] == "10.0.0.11 did not answer"


def says(*lines: str, code: int = 0) -> CommandResult:
    return CommandResult(code, "".join(f"{line}\n" for line in lines), "")


def test_logs_prints_lines_as_they_are(desk: Desk) -> None:
    desk.bootstrapped()
    asked: list[Sequence[str]] = []

    def compose(args: Sequence[str], _stdin: str) -> CommandResult:
        asked.append(args)
        return says("[agent] one", "two")

    desk.hosts["amr-001"].programs["sh"] = compose
    assert desk.fleet("logs", "amr-001", "--tail", "5").out == "[agent] one\ntwo\n"
    assert list(asked[0])[-2:] == ["--tail", "5"]
    assert desk.json("logs", "amr-001") == {"robot": "amr-001", "lines": ["[agent] one", "two"]}


def test_logs_of_a_robot_without_a_release_is_exit_3(desk: Desk) -> None:
    desk.bootstrapped()
    desk.hosts["amr-001"].programs["sh"] = lambda _args, _in: says("no configuration file", code=14)
    assert "exit code 14: no configuration file" in desk.error("logs", "amr-001", code=3)
    desk.hosts["amr-001"].programs["sh"] = lambda _args, _in: says(
        "noise", "cannot connect to \x1b[31mDocker", "", code=1
    )
    message = desk.error("logs", "amr-001", code=3)
    assert message == "amr-001: docker compose logs ended with exit code 1: cannot connect to Docker"
    assert "exit code 1: cannot connect" in desk.fleet("logs", "amr-001", "--follow", code=3).err
    desk.hosts["amr-001"].programs["sh"] = lambda _args, _in: says(code=66)
    assert desk.error("logs", "amr-001", code=3) == "amr-001: has no log: no release was rolled out to it yet"
    desk.hosts["amr-001"].online = False
    assert "did not answer" in desk.error("logs", "amr-001", code=6)


@pytest.mark.parametrize("wrong", [["amr-*"], ["amr-001", "--follow"], ["nobody"]])
def test_logs_is_of_one_robot_and_one_document(desk: Desk, wrong: list[str]) -> None:
    desk.error("logs", *wrong, code=2)


def test_ctrl_c_is_how_following_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.bootstrapped()

    def stream(_shell: FakeShell, _command: Sequence[str], on_line: LogLine, **_: object) -> int:
        on_line("one")
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeShell, "stream", stream)
    result = desk.fleet("logs", "amr-001", "--follow")
    assert (result.out, result.err) == ("one\n", "")


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        (["status"], "nothing was changed"),
        (["exec", "--", "echo"], "were stopped"),
        (["bootstrap"], "run the same command again"),
    ],
)
def test_ctrl_c_ends_what_runs_on_robots(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, verb: list[str], hint: str
) -> None:
    desk.publish()
    desk.bootstrapped()

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.parallel.wait", interrupted)
    result = desk.fleet(*verb, code=3)
    assert "error interrupted" in result.err
    assert hint in result.err
    assert desk.shells.interrupted.is_set()
