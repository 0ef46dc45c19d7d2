"""`fleet verify`: which checks, which exit code, which words."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.cli.conftest import Desk


def test_a_fleet_that_works_is_exit_0(desk: Desk) -> None:
    desk.running()
    document = desk.json("verify")
    assert document["passed"] is True
    assert [robot["state"] for robot in document["robots"]] == ["passed"] * 3
    robot = document["robots"][0]
    assert {*robot} == {"name", "state", "passed", "release", "image_digest", "checks", "error", "hint"}
    assert [check["name"] for check in robot["checks"]] == [
        "release", "engine", "model", "sensors", "inference", "outputs",
    ]  # fmt: skip
    assert {*robot["checks"][0]} == {"name", "model", "passed", "reason"}
    assert robot["release"] == "1.0.0"
    assert robot["image_digest"].startswith("sha256:")
    out = desk.fleet("verify").out
    assert "amr-001" in out
    assert "FAILED" not in out


def test_the_time_to_listen_reaches_the_robot(desk: Desk) -> None:
    desk.running()
    desk.fleet("verify", "--seconds", "7", "--robots", "amr-001")
    assert desk.updaters["amr-001"].verbs[-1] == "verify"
    assert "less than or equal to 60" in desk.error("verify", "--seconds", "61", code=2)


def test_a_check_that_fails_is_exit_4_with_its_reason(desk: Desk) -> None:
    desk.running()
    desk.updaters["amr-002"].fails = frozenset({"sensors", "inference"})
    desk.hosts["scout-001"].online = False
    document = desk.json("verify", code=4)
    rows = {robot["name"]: robot for robot in document["robots"]}
    assert [rows[name]["state"] for name in ("amr-001", "amr-002", "scout-001")] == ["passed", "failed", "offline"]
    failed = [check["name"] for check in rows["amr-002"]["checks"] if not check["passed"]]
    assert failed == ["sensors", "inference"]
    assert document["error"]["kind"] == "VerifyFailed"
    assert "amr-002: sensors detector: because the test says so" in document["error"]["message"]
    result = desk.fleet("verify", code=4)
    assert "FAILED" in result.out
    assert "because the test says so" in result.out


def test_a_robot_that_runs_something_else_fails_the_release(desk: Desk) -> None:
    desk.running()
    desk.updaters["amr-001"].attested_key = "sha256:" + "f" * 64
    document = desk.json("verify", "--robots", "amr-001", code=4)
    [check] = [check for check in document["robots"][0]["checks"] if not check["passed"]]
    assert check["name"] == "release"
    assert "runs engine sha256:ffff" in check["reason"]


def test_another_version_is_held_against_what_runs(desk: Desk) -> None:
    desk.running()
    desk.publish("1.1.0", groups={"scout": {"models": [{"model": "detector", "precision": "int8"}]}})
    document = desk.json("verify", "1.1.0", code=4)
    states = {robot["name"]: robot["state"] for robot in document["robots"]}
    assert states == {"amr-001": "passed", "amr-002": "passed", "scout-001": "failed"}  # the same content for the first
    assert desk.json("verify", "1.0.0")["passed"]
    assert "no release 9.9.9" in desk.error("verify", "9.9.9", code=2)


def test_robots_that_are_only_offline_are_exit_6(desk: Desk) -> None:
    desk.running()
    desk.hosts["amr-001"].online = False
    document = desk.json("verify", code=6)
    assert document["passed"] is False
    assert document["error"]["kind"] == "RobotsOffline"
    assert "amr-001" in document["error"]["message"]


def test_an_updater_that_is_too_old_is_exit_3_and_says_what_to_do(desk: Desk) -> None:
    desk.running()
    desk.updaters["amr-001"].old = True
    document = desk.json("verify", code=3)
    assert document["robots"][0]["error"] == "its updater is too old for `verify`"
    assert document["robots"][0]["hint"] == "fleet bootstrap --robots amr-001"


def test_an_agent_that_cannot_verify_proves_nothing(desk: Desk) -> None:
    desk.running()
    desk.updaters["amr-001"].cannot_verify = "the agent in this container is too old to verify -> publish"
    document = desk.json("verify", "--robots", "amr-001", code=4)
    assert document["robots"][0]["checks"][-1] == {
        "name": "agent", "model": None, "passed": False, "reason": desk.updaters["amr-001"].cannot_verify,
    }  # fmt: skip
    assert "too old to verify" in desk.fleet("verify", code=4).out


def test_a_robot_without_a_release_fails(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    document = desk.json("verify", "--robots", "amr-001", code=4)
    assert document["robots"][0]["checks"][0]["reason"] == "no release runs: roll one out"


def test_a_release_that_is_gone_from_the_registry_is_said(desk: Desk) -> None:
    desk.running()
    updater = desk.updaters["amr-001"]
    current = updater.state.current
    assert current is not None
    updater.state = replace(updater.state, current=replace(current, release_digest="sha256:" + "0" * 64))
    document = desk.json("verify", "--robots", "amr-001", code=4)
    assert "has no release 1.0.0" in document["robots"][0]["checks"][0]["reason"]


def test_verify_changes_nothing(desk: Desk) -> None:
    desk.running()
    before = desk.registry.snapshot()
    desk.fleet("verify")
    assert desk.registry.snapshot() == before
    assert all(len(updater.submitted) == 1 for updater in desk.updaters.values())
