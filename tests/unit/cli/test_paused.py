"""A rollout that waits between waves: approved, resumed, refused, aborted, replaced; seen in status and history."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import RegistryError
from fleet.rollout import pause
from fleet.rollout.lock import RolloutLock
from tests.fakes.fleet_folder import write_fleet
from tests.unit.cli.conftest import PREFIX, Desk

APPROVED = {"waves": [1, {"to": "50%", "approve": True}, "100%"]}


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {robot["name"]: robot["outcome"] for robot in document["robots"]}


def versions(desk: Desk) -> dict[str, str | None]:
    return {name: each.state.current.version if each.state.current else None for name, each in desk.updaters.items()}


def waiting(desk: Desk, **rollout: Any) -> dict[str, Any]:
    """Every robot runs 1.0.0, and 1.1.0 waits before its second wave."""
    rules = {**APPROVED, **rollout}
    desk.running()
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}}, rollout=rules)
    document: dict[str, Any] = desk.json("rollout", "--yes", code=7)
    return document


def test_a_wave_that_wants_an_approval_is_waited_for_and_holds_no_lock(desk: Desk) -> None:
    document = waiting(desk)
    assert outcomes(document) == {"amr-001": "committed", "amr-002": "skipped", "scout-001": "skipped"}
    assert document["paused"] == {"wave": 2, "waves": 3, "approval": True}
    assert document["tags"] == []
    assert "--resume --reason" in document["error"]["hint"]
    assert not RolloutLock(desk.registry, PREFIX, desk.clock, reason="x").holders()
    assert [state.state.state for state in desk.updaters.values()] == ["idle"] * 3
    assert versions(desk) == {"amr-001": "1.1.0", "amr-002": "1.0.0", "scout-001": "1.0.0"}


def test_status_shows_what_waits_and_for_how_long(desk: Desk) -> None:
    waiting(desk)
    desk.clock.sleep(3 * 86400.0)
    found = desk.json("status")["paused"]
    assert (found["version"], found["wave"], found["waves"], found["approval"]) == ("1.1.0", 2, 3, True)
    assert (found["committed"], found["untouched"], found["age_s"]) == (1, 2, 3 * 86400.0)
    shown = desk.fleet("status").out
    assert "the rollout of 1.1.0 is paused for 3 days" in shown
    assert "wave 2 of 3 waits for an approval; 1 committed, 2 untouched" in shown


def test_status_without_a_registry_says_that_it_does_not_know(desk: Desk) -> None:
    desk.running()
    assert desk.json("status")["paused"] is None
    desk.breaks("get_manifest", RegistryError("no answer", hint="look at it"))
    document = desk.json("status")
    assert document["paused_error"] == "no answer"
    assert len(document["robots"]) == 3
    assert "whether a rollout is paused is not known" in desk.fleet("status").out


def test_an_approval_goes_on_and_is_in_history(desk: Desk) -> None:
    waiting(desk)
    assert "wants an approval" in desk.error("rollout", "--resume", "--yes", code=2)
    document = desk.json("rollout", "--resume", "--yes", "--reason", "the canary drove for a day")
    assert outcomes(document) == {"amr-001": "committed", "amr-002": "committed", "scout-001": "committed"}
    assert [robot["wave"] for robot in document["robots"]] == [1, 2, 3]
    assert document["succeeded"]
    assert document["tags"]
    history = desk.json("history")["history"]
    assert sorted((each["kind"], each["outcome"]) for each in history if each["version"] == "1.1.0") == [
        ("approval", ""),
        ("rollout", "paused"),
        ("rollout", "succeeded"),
    ]
    approval = next(each for each in history if each["kind"] == "approval")
    assert approval["reason"] == "wave 2 of 3: the canary drove for a day"
    assert approval["who"]
    assert "the canary drove for a day" in desk.fleet("history").out
    assert desk.json("status")["paused"] is None
    assert "no rollout is paused" in desk.error("rollout", "--resume", "--yes", "--reason", "again", code=2)


@pytest.mark.parametrize("how", ["--resume", "--abort"])
def test_another_checkout_goes_on_or_gives_up(desk: Desk, tmp_path: Path, how: str) -> None:
    """Nothing of the first operator's machine is needed but the manifest's text and the registry."""
    waiting(desk)
    other = shutil.copytree(desk.folder, tmp_path / "another" / "manifests")
    shutil.rmtree(desk.folder)
    desk.json("rollout", how, "--yes", "--reason", "seen", "-m", str(other))
    assert set(versions(desk).values()) == {"1.1.0" if how == "--resume" else "1.0.0"}


def test_until_wave_pauses_without_an_approval_and_goes_on_to_the_next(desk: Desk) -> None:
    desk.publish(rollout={"waves": [1, 2, "100%"]})
    desk.bootstrapped()
    assert desk.json("rollout", "--yes", "--until-wave", "1", code=7)["paused"]["approval"] is False
    assert "goes on with wave 2" in desk.error("rollout", "--resume", "--yes", "--until-wave", "1", code=2)
    document = desk.json("rollout", "--resume", "--yes", "--until-wave", "2", code=7)
    assert document["paused"] == {"wave": 3, "waves": 3, "approval": False}
    assert outcomes(document) == {"amr-001": "committed", "amr-002": "committed", "scout-001": "skipped"}
    assert desk.json("rollout", "--resume", "--yes")["succeeded"]


def test_each_wave_that_wants_an_approval_gets_one_of_its_own(desk: Desk) -> None:
    desk.publish(rollout={"waves": [{"to": 1, "approve": True}, {"to": "100%", "approve": True}]})
    desk.bootstrapped()
    document = desk.json("rollout", "--yes", code=7)
    assert set(outcomes(document).values()) == {"skipped"}
    assert desk.json("rollout", "--resume", "--yes", "--reason", "go", code=7)["paused"]["wave"] == 2
    assert desk.json("rollout", "--resume", "--yes", "--reason", "go on")["succeeded"]


def test_a_rollout_is_refused_while_one_is_paused(desk: Desk) -> None:
    waiting(desk)
    assert "is paused: wave 2 of 3" in desk.error("rollout", "--yes", code=7)
    assert "is paused" in desk.error("rollout", "--yes", "--robots", "scout-001", code=7)


@pytest.mark.parametrize("changed", ["amr-001", "scout-001"])
def test_resume_refuses_robots_that_changed(desk: Desk, changed: str) -> None:
    """One that had committed and one that was untouched: neither runs any more what the pause left."""
    waiting(desk)
    before = desk.updaters[changed].state
    assert before.current is not None
    other = dataclasses.replace(before.current, version="0.9.0", release_digest="sha256:" + "9" * 64)
    desk.updaters[changed].state = dataclasses.replace(before, current=other)
    message = desk.error("rollout", "--resume", "--yes", "--reason", "go", code=4)
    assert changed in message
    assert "runs 0.9.0 now" in message
    assert desk.json("status")["paused"]["wave"] == 2


def test_resume_refuses_other_rules(desk: Desk) -> None:
    waiting(desk)
    write_fleet(
        desk.folder,
        fleet={
            "version": "1.1.0",
            "defaults": {"environment": {"ROS_DOMAIN_ID": "7"}},
            "rollout": {"waves": [1, "50%", "100%"]},
        },
    )
    assert "rollout rules changed" in desk.error("rollout", "--resume", "--yes", "--reason", "go", code=4)


def test_resume_refuses_waves_that_somebody_wrote(desk: Desk) -> None:
    """Who can write to the registry cannot take an approval off, nor leave a wave out."""
    waiting(desk)
    found = pause.find(desk.registry, PREFIX)
    assert found is not None
    waves = tuple(dataclasses.replace(wave, approve=False) for wave in found.waves)
    pause.save(desk.registry, PREFIX, dataclasses.replace(found, waves=waves))
    assert "are not those" in desk.error("rollout", "--resume", "--yes", "--reason", "go", code=4)
    pause.save(desk.registry, PREFIX, dataclasses.replace(found, next_wave=3))
    assert "are not those" in desk.error("rollout", "--resume", "--yes", "--reason", "go", code=4)


@pytest.mark.parametrize("how", ["--resume", "--abort"])
def test_a_damaged_document_is_said_and_a_rollback_ends_it(desk: Desk, how: str) -> None:
    waiting(desk)
    found = pause.find(desk.registry, PREFIX)
    assert found is not None
    robots = (dataclasses.replace(found.robots[0], outcome="fine"), *found.robots[1:])
    stray = pause.PausedWave(("nobody-001",), records=True)
    pause.save(desk.registry, PREFIX, dataclasses.replace(found, robots=robots))
    assert "is damaged" in desk.error("rollout", how, "--yes", "--reason", "go", code=4)
    pause.save(desk.registry, PREFIX, dataclasses.replace(found, waves=(*found.waves, stray)))
    if how == "--resume":
        assert "are not those" in desk.error("rollout", how, "--yes", "--reason", "go", code=4)
    desk.json("rollback", "--yes")
    assert desk.json("status")["paused"] is None


def test_what_committed_before_the_pause_goes_back_when_a_later_wave_fails(desk: Desk) -> None:
    waiting(desk)
    desk.updaters["scout-001"].revert_in = "probation"
    document = desk.json("rollout", "--resume", "--yes", "--reason", "go", code=4)
    assert outcomes(document) == {"amr-001": "rolled back", "amr-002": "rolled back", "scout-001": "reverted"}
    assert set(versions(desk).values()) == {"1.0.0"}


def test_abort_takes_back_what_committed(desk: Desk) -> None:
    waiting(desk)
    assert "kept in history" in desk.error("rollout", "--abort", "--yes", code=2)
    document = desk.json("rollout", "--abort", "--yes", "--reason", "it hums")
    assert outcomes(document) == {"amr-001": "rolled back", "amr-002": "skipped", "scout-001": "skipped"}
    assert set(versions(desk).values()) == {"1.0.0"}
    aborted = next(each for each in desk.json("history")["history"] if each["outcome"] == "aborted")
    assert aborted["reason"] == "it hums"
    assert desk.json("status")["paused"] is None
    assert desk.json("rollout", "--yes", code=7)  # a new one may begin


def test_abort_leaves_robots_where_the_manifest_says_so(desk: Desk) -> None:
    waiting(desk, on_failure="stop")
    document = desk.json("rollout", "--abort", "--yes", "--reason", "it hums")
    assert outcomes(document)["amr-001"] == "committed"
    assert versions(desk)["amr-001"] == "1.1.0"


def test_abort_says_which_robot_it_did_not_get_back(desk: Desk) -> None:
    waiting(desk)
    desk.hosts["amr-001"].online = False
    document = desk.json("rollout", "--abort", "--yes", "--reason", "it hums", code=6)
    assert outcomes(document)["amr-001"] == "lost"
    assert "still runs 1.1.0" in document["error"]["message"]


def test_a_rollback_takes_the_place_of_a_paused_rollout(desk: Desk) -> None:
    waiting(desk)
    document = desk.json("rollback", "--yes")
    assert document["version"] == "1.0.0"
    assert "the paused rollout of 1.1.0 is given up: this rollback takes its place" in document["notes"]
    assert set(versions(desk).values()) == {"1.0.0"}
    assert desk.json("status")["paused"] is None


def test_two_who_resume_do_not_both_go_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting(desk)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def meanwhile(*_args: object, **_options: object) -> bool:
        found = pause.find(desk.registry, PREFIX)
        assert found is not None
        pause.end(desk.registry, PREFIX, found, "resumed")
        return True

    monkeypatch.setattr("typer.confirm", meanwhile)
    assert "taken up by another command" in desk.fleet("rollout", "--resume", "--reason", "go", code=4).err


def test_a_pause_that_could_not_be_written_is_an_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.publish(rollout=APPROVED)
    desk.bootstrapped()

    def fail(*_args: object) -> None:
        raise RegistryError("no answer", hint="look at it")

    monkeypatch.setattr(pause, "save", fail)
    assert "could not be written" in desk.json("rollout", "--yes", code=3)["error"]["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resume", "--abort"), "--resume and --abort"),
        (("1.0.0", "--resume"), "has its version"),
        (("--abort", "--robots", "amr-001"), "has its version"),
        (("--abort", "--until-wave", "2"), "runs no wave"),
        (("--reason", "x"), "belongs to"),
        (("--abort", "--reason", "x"), "no rollout is paused"),
    ],
)
def test_options_that_contradict_each_other(desk: Desk, options: tuple[str, ...], words: str) -> None:
    assert words in desk.error("rollout", "--yes", *options, code=2)
