"""What a person does at a robot, with this machine's Engine: recover, pins, doctor; and images of others."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.contract.updater.test_updater_process import Daemon, _pythons
from tests.contract.updater.test_updater_road import Road, images, road  # noqa: F401  (fixtures)
from tests.fakes.registries import tiny_images

docker = pytest.mark.docker


def _remove_container(robot: Road) -> None:
    robot.container().remove(force=True)
    assert robot.runs() == ""


def _tidy_due(robot: Road) -> bool:
    return bool(json.loads((robot.daemon.root / "state" / "journal.json").read_text()).get("tidy_due", False))


@docker
@pytest.mark.parametrize("alive", [True, False], ids=["through-the-daemon", "in-its-place"])
def test_a_removed_container_runs_again(road: Road, alive: bool) -> None:  # noqa: F811
    road.run(road.order("1"))
    _remove_container(road)
    if alive:  # or its tidying up after the order mends the links first
        road.daemon.wait(lambda: not _tidy_due(road), "end of tidying up")
    else:
        road.daemon.stop(signal.SIGKILL)
    (road.daemon.root / "current").unlink()
    ran = road.daemon.ask("recover")
    assert ran.returncode == 0, ran.stderr
    assert road.runs() == "1"
    assert "links     set: current -> " in ran.stdout
    assert "container started: " in ran.stdout
    assert "1.1.0 runs and is well" in ran.stderr
    assert ("now start the updater" in ran.stderr) is not alive
    again = road.daemon.ask("recover")
    assert (again.returncode, "not touched" in again.stdout) == (0, True)


@docker
def test_a_cut_revert_is_ended_in_the_foreground(road: Road) -> None:  # noqa: F811
    road.run(road.order("1"))
    road.run(road.order("2"))
    road.daemon.ask("revert")
    road.daemon.stop(signal.SIGKILL)
    assert road.daemon.ask("status").returncode == 3
    ran = road.daemon.ask("recover")
    assert ran.returncode == 0, ran.stderr
    assert (road.runs(), "1.1.0 runs and is well" in ran.stderr) == ("1", True)
    assert "state     idle" in ran.stdout
    road.daemon.start()
    assert road.daemon.state().outcome == "reverted"


@docker
def test_a_damaged_journal_is_made_anew_from_the_folders(road: Road) -> None:  # noqa: F811
    road.run(road.order("1"))
    road.run(road.order("2"))
    road.daemon.stop(signal.SIGKILL)
    for name in ("journal.json", "journal.previous.json"):
        (road.daemon.root / "state" / name).write_bytes(os.urandom(300))
    ran = road.daemon.ask("recover")
    assert ran.returncode == 0, ran.stderr
    assert "journal.json: damaged" in ran.stderr
    assert (road.daemon.root / "state" / "journal.json.damaged").exists()
    road.daemon.start()
    state = road.daemon.state()
    assert state.current is not None
    assert state.previous is not None
    assert (state.current.version, state.previous.version, road.runs()) == ("1.2.0", "1.1.0", "2")


@docker
def test_pruning_leaves_images_of_others_alone(road: Road) -> None:  # noqa: F811
    client, found = road.client, road.found
    found["4"] = tiny_images.publish(client, found["1"]["reference"].partition("@")[0], "4")
    road.run(road.order("1"))
    ours = client.images.get(found["1"]["reference"])
    ours.tag("somebody.test/thing", "theirs")
    container = client.containers.create(ours.id)
    untagged = container.commit(changes="LABEL somebody=else")
    container.remove()
    try:
        road.run(road.order("2"))
        road.run(road.order("4"))
        # The order has ended before what it left behind is removed.
        road.daemon.wait(lambda: found["1"]["reference"] not in _references(client), "end of what was ours")
        kept = client.images.get("somebody.test/thing:theirs")
        assert kept.id == found["1"]["id"]
        assert kept.tags == ["somebody.test/thing:theirs"]
        assert client.images.get(untagged.id).tags == []
    finally:
        client.images.remove(untagged.id, force=True)
        client.images.remove("somebody.test/thing:theirs", force=True)


@docker
def test_a_pinned_release_stays_on_disk_and_needs_no_fetch(road: Road) -> None:  # noqa: F811
    road.found["4"] = tiny_images.publish(road.client, road.found["1"]["reference"].partition("@")[0], "4")
    road.run(road.order("1"))
    assert "pinned    1.1.0" in road.daemon.ask("pin").stdout
    road.run(road.order("2"))
    road.run(road.order("4"))
    assert road.found["1"]["reference"] in _references(road.client)
    refused = road.daemon.ask("pin", "7.7.7")
    assert (refused.returncode, "on it: 1.1.0, 1.2.0, 1.4.0" in refused.stderr) == (4, True)
    back = road.run(road.order("1"))
    assert (back.outcome, back.fetched_bytes, back.pinned) == ("committed", 0, ("1.1.0",))
    assert road.daemon.ask("unpin", "1.1.0").returncode == 0
    assert road.daemon.state().pinned == ()


def _references(client: Any) -> set[str]:
    return set(tiny_images.references(client))


# ── without an Engine ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def daemon(tmp_path: Path) -> Any:
    found = Daemon(tmp_path, _pythons()[-1])
    yield found
    if found.process is not None:
        found.stop(signal.SIGKILL)


def test_doctor_says_what_is_wrong_and_ends_with_4(daemon: Daemon) -> None:
    daemon.start()
    ran = daemon.ask("doctor")
    assert ran.returncode == 4, ran.stderr
    levels = {line.split()[1]: line.split()[0] for line in ran.stdout.splitlines()}
    assert (levels["daemon"], levels["journal"], levels["engine"]) == ("ok", "ok", "FAIL")
    document = json.loads(daemon.ask("doctor", "--json").stdout)
    assert document["well"] is False
    assert {finding["name"]: finding["level"] for finding in document["findings"]} == levels
    daemon.stop(signal.SIGKILL)
    assert "FAIL daemon" in daemon.ask("doctor").stdout


def test_recover_without_a_release_says_so(daemon: Daemon) -> None:
    ran = daemon.ask("recover")
    assert ran.returncode == 0, ran.stderr
    assert "none was ever committed here" in ran.stdout
    assert "doing it without the updater" in ran.stderr


def test_recover_does_not_work_beside_a_daemon_that_hangs(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    (daemon.root / "updater.sock").unlink()
    ran = daemon.ask("recover")
    assert ran.returncode == 5
    assert f"the updater (process {daemon.process.pid}) holds the robot and does not answer" in ran.stderr
    assert f"sudo kill -9 {daemon.process.pid}" in ran.stderr


def test_commands_for_people_are_refused_with_a_sentence_when_nobody_answers(daemon: Daemon) -> None:
    for words in (("pin",), ("unpin", "1.0.0"), ("keep", "1.0+x"), ("revert",)):
        ran = daemon.ask(*words)
        assert ran.returncode == 3
        assert "the updater does not answer" in ran.stderr
        assert "Traceback" not in ran.stderr
