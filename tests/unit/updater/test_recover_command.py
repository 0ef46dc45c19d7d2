"""What a person does at a robot: recover makes it what the journal says; what is printed fits a serial console."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.codec import to_dict
from runtime.contract.node.attestation import Attestation
from runtime.updater.cli.journal_access import journal_lock_holder
from runtime.updater.cli.recover_command import trouble
from runtime.updater.cli.terminal import COLUMNS, fold
from runtime.updater.daemon.serve import only_one
from runtime.updater.state.records import Journal
from runtime.updater.state.world import Links, WorldError
from runtime.updater.storage.journal import JournalStore
from runtime.updater.transaction.repair import repair
from runtime.updater.transaction.update_state import Rejected, short_image, state_lines
from tests.fakes.robots.robot_world import order, reference
from tests.unit.updater.robot import Robot


def test_what_is_right_is_left_alone(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    before = robot.world.runs
    journal = robot.journal
    done = robot.updater.recover()
    assert [line.split()[0] for line in done] == ["links", "release", "container"]
    assert "as they should be" in done[0]
    assert "not touched" in done[-1]
    assert robot.world.runs is before
    assert robot.journal == journal


@pytest.mark.parametrize("broken", ["missing", "dangling", "swapped"])
def test_links_are_made_right(robot: Robot, broken: str) -> None:
    robot.on("1")
    robot.on("2")
    link = robot.root / "current"
    link.unlink()
    if broken == "dangling":
        link.symlink_to("releases/000000000000")
    if broken == "swapped":
        link.symlink_to((robot.root / "previous").readlink())
    done = robot.updater.recover()
    assert done[0].startswith("links     set: current -> ")
    robot.assert_whole()


def test_a_removed_container_is_started_from_the_disk(robot: Robot) -> None:
    robot.on("1")
    robot.world.runs = None
    robot.world.published.clear()
    assert robot.updater.recover()[-1].startswith("container started: ")
    robot.assert_whole()


def test_a_changed_release_folder_is_written_again(robot: Robot) -> None:
    robot.on("1")
    folder = robot.root / "current"
    (folder / ".env").write_text("JETFLEET_IMAGE='other@sha256:1'\n")
    (folder / "robot.compose.yaml").unlink()
    robot.updater.recover()
    robot.assert_whole()


def test_a_damaged_journal_on_disk_is_written_again(robot: Robot) -> None:
    robot.on("1")
    journal = robot.journal
    for name in ("journal.json", "journal.previous.json"):
        (robot.root / "state" / name).write_bytes(b"\0" * 100)
    done = robot.updater.recover()
    assert "on disk" in done[0]
    assert robot.journal == journal
    assert (robot.root / "state" / "journal.json.damaged").exists()


def test_a_missing_image_is_said_with_what_is_there(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    robot.world.runs = None
    del robot.world.images[reference("2")]
    with pytest.raises(WorldError, match=r"the image of 1\.2\.0 is not on the robot's disk") as caught:
        robot.updater.recover()
    assert "revert --wait`: 1.1.0 is on disk" in caught.value.hint
    del robot.world.images[reference("1")]
    with pytest.raises(WorldError) as caught:
        robot.updater.recover()
    assert "revert" not in caught.value.hint


def test_a_robot_without_a_release_says_so(robot: Robot) -> None:
    assert "none was ever committed" in robot.updater.recover()[-1]
    assert repair(Journal(), robot.world)[0].startswith("links     as they should be")


def test_orders_and_recovery_exclude_each_other(robot: Robot) -> None:
    robot.on("1")
    up = robot.world.compose_up
    said = []

    def meanwhile(folder: str, slot: str = "") -> None:
        up(folder)
        for begin in (lambda: robot.updater.submit(order("2")), robot.updater.recover):
            with pytest.raises(Rejected) as caught:
                begin()
            said.append((caught.value.kind, "recover" in caught.value.message))

    robot.world.compose_up = meanwhile  # type: ignore[method-assign]
    robot.updater.recover()
    assert said == [("busy", True), ("busy", True)]
    robot.world.compose_up = up  # type: ignore[method-assign]
    robot.updater.submit(order("2"))
    with pytest.raises(Rejected, match="is in progress"):
        robot.updater.recover()
    assert robot.drive().outcome == "committed"


def test_links_survive_a_missing_releases_folder(robot: Robot) -> None:
    robot.on("1")
    shutil.rmtree(robot.root / "releases")
    with pytest.raises(WorldError, match="cannot read"):
        robot.updater.recover()
    assert robot.world.links() == Links(current=robot.journal.current.folder if robot.journal.current else None)


def test_trouble_says_what_is_not_well(robot: Robot) -> None:
    assert trouble(robot.updater.attest()) == ""
    robot.on("1")
    well = robot.updater.attest()
    assert trouble(well) == ""
    assert trouble(replace(well, running_image="")) == "it runs nothing"
    assert trouble(replace(well, report_json="", report_error="no route")) == "no route"
    assert "cannot be read" in trouble(replace(well, report_json="{}"))
    report = json.loads(well.report_json)
    assert trouble(_with(well, {**report, "ready": False})) == "not ready yet"


def _with(seen: Attestation, report: dict[str, object]) -> Attestation:
    return replace(seen, report_json=json.dumps(to_dict(report)))


def test_who_holds_the_lock_is_known_while_it_lives(tmp_path: Path) -> None:
    assert journal_lock_holder(tmp_path) is None
    descriptor = only_one(tmp_path)
    import os

    assert journal_lock_holder(tmp_path) == os.getpid()
    with pytest.raises(Rejected, match="another updater runs"):
        only_one(tmp_path)
    os.close(descriptor)
    (tmp_path / "daemon.lock").write_text("4194305\n")
    assert journal_lock_holder(tmp_path) is None


def test_a_full_disk_costs_the_reserve_and_not_the_start(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.on("1")
    (robot.root / "state" / "reserve").unlink()

    def full(_store: JournalStore) -> None:
        raise OSError(28, "No space left on device", "reserve")

    monkeypatch.setattr(JournalStore, "hold_reserve", full)
    robot.boot()
    assert any("cannot hold the journal's reserve" in note for note in robot.world.notes)
    robot.assert_whole()


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_status_fits_a_serial_console(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = robot.world.room.__class__(cosine=0.1)
    robot.run(order("2"))
    lines = [piece for line in state_lines(robot.updater.status()) for piece in fold(line)]
    assert max(map(len, lines)) <= COLUMNS
    assert all(ord(character) < 128 for line in lines for character in line)


def test_folding_loses_no_word() -> None:
    line = "reason    " + " ".join(f"word{number}" for number in range(60))
    pieces = fold(line)
    assert len(pieces) > 3
    assert all(len(piece) <= COLUMNS for piece in pieces)
    assert all(piece.startswith(" " * 10) for piece in pieces[1:])
    assert " ".join(" ".join(pieces).split()) == " ".join(line.split())
    assert fold("short") == ["short"]
    endless = "runs      " + "x" * 200
    assert "".join(fold(endless)).replace(" ", "") == endless.replace(" ", "")


def test_an_image_is_shown_short() -> None:
    assert short_image(reference("a")) == "registry.test:5000/warehouse/runtime@sha256:aaaaaaaaaaaa"
    assert short_image("no digest") == "no digest"
