"""Which updater starts: the proven one, or the one on trial for as long as it may be."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.updater.selfupdate import launcher
from runtime.updater.selfupdate.launcher import (
    MAX_TRIES,
    NAME,
    Now,
    Trial,
    decide,
    keep,
    read_trial,
    slot_in_use,
    verb_of,
)
from runtime.updater.selfupdate.self_update_trial import keep_updater, refuse_on_trial, running_trial
from runtime.updater.transaction.update_state import Rejected

NOW = Now("boot-1", 1000.0)
TRIAL = Trial("b", "1.1+new", "boot-1", 1090.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A robot's updater folder: a is proven, b is there too."""
    found = tmp_path / "updater"
    for slot in ("a", "b"):
        (found / slot).mkdir(parents=True)
        (found / slot / NAME).write_text(slot)
    (found / "in-use").symlink_to("a")
    return found


@pytest.mark.parametrize(
    ("trial", "slot", "failed"),
    [
        (None, "a", None),
        (TRIAL, "b", ""),
        (TRIAL._replace(tries=MAX_TRIES - 1), "b", ""),
        (TRIAL._replace(tries=MAX_TRIES), "a", "its daemon ended 3 times before the trial ended"),
        (TRIAL._replace(until=1000.0), "a", "no confirmation came in time"),
        (TRIAL._replace(boot_id="boot-0"), "a", "the robot was restarted before the trial ended"),
        (TRIAL._replace(failed="before"), "a", None),
        (TRIAL._replace(slot="a"), "a", None),  # kept, and then the power was cut before the trial was removed
    ],
)
def test_what_starts(trial: Trial | None, slot: str, failed: str | None) -> None:
    chosen, after = decide(trial, "a", NOW)
    assert chosen == slot
    if failed is None:
        assert after is None
    else:
        assert after is not None
        assert trial is not None
        assert after.failed.startswith(failed) if failed else after.failed == ""
        assert after.tries == trial.tries + (not failed)


def test_a_daemon_that_ends_again_and_again_is_started_so_often_and_no_more() -> None:
    trial: Trial | None = TRIAL
    started = []
    for _ in range(6):
        slot, after = decide(trial, "a", NOW)
        started.append(slot)
        trial = after or trial
    assert started == ["b"] * MAX_TRIES + ["a"] * 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"slot": "c", "version": "1", "boot_id": "x", "until": 1}',
        '{"slot": "b", "version": "1", "boot_id": "x", "until": "soon"}',
        '{"slot": "b", "version": null, "boot_id": "x", "until": 1}',
        '{"slot": "../../etc", "version": "1", "boot_id": "x", "until": 1}',
        "\xff\xfe",
    ],
)
def test_a_trial_that_cannot_be_read_is_none(folder: Path, text: str) -> None:
    (folder / "trial.json").write_bytes(text.encode("latin-1"))
    assert read_trial(folder) is None


def test_a_trial_of_a_newer_installer_is_read(folder: Path) -> None:
    (folder / "trial.json").write_text(json.dumps({**TRIAL._asdict(), "colour": "green"}))
    assert read_trial(folder) == TRIAL


def test_keeping_makes_the_slot_the_proven_one(folder: Path) -> None:
    launcher.write_trial(folder, TRIAL)
    keep(folder)
    assert slot_in_use(folder) == "b"
    assert not (folder / "trial.json").exists()
    keep(folder)
    assert slot_in_use(folder) == "b"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "in-use"]


def test_a_trial_that_failed_is_not_kept(folder: Path) -> None:
    launcher.write_trial(folder, TRIAL._replace(failed="too late"))
    keep(folder)
    assert slot_in_use(folder) == "a"
    assert running_trial(folder.parent) is None


@pytest.mark.parametrize("broken", ["missing", "dangling", "file"])
def test_a_damaged_link_still_finds_an_updater(folder: Path, broken: str) -> None:
    link = folder / "in-use"
    link.unlink()
    if broken == "dangling":
        link.symlink_to("c")
    if broken == "file":
        link.write_text("a")
    assert slot_in_use(folder) == "a"
    (folder / "a" / NAME).unlink()
    assert slot_in_use(folder) == "b"
    (folder / "b" / NAME).unlink()
    assert slot_in_use(folder) == ""


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (["serve"], "serve"),
        (["--root", "serve", "status"], "status"),
        (["--root=/x", "serve"], "serve"),
        (["abort", "--reason", "serve"], "abort"),
        (["--help"], ""),
        ([], ""),
    ],
)
def test_the_command_is_found_among_options(arguments: list[str], verb: str) -> None:
    assert verb_of(arguments) == verb


def test_only_the_updater_on_trial_can_keep_itself(folder: Path) -> None:
    root = folder.parent
    now = launcher.this_moment()
    launcher.write_trial(folder, TRIAL._replace(boot_id=now.boot_id, until=now.boot + 60))
    with pytest.raises(Rejected, match=r"this updater is 1\.0\+old, not 1\.1\+new"):
        keep_updater(root, "1.1+new", "1.0+old")
    with pytest.raises(Rejected, match=r"on trial is 1\.1\+new, this one is 1\.0\+old"):
        keep_updater(root, "1.0+old", "1.0+old")
    with pytest.raises(Rejected, match="is on trial") as caught:
        refuse_on_trial(root)
    assert caught.value.kind == "busy"
    assert slot_in_use(folder) == "a"
    keep_updater(root, "1.1+new", "1.1+new")
    keep_updater(root, "1.1+new", "1.1+new")
    refuse_on_trial(root)
    assert slot_in_use(folder) == "b"


@pytest.mark.parametrize("over", [{"until": 1.0}, {"boot_id": "another boot"}])
def test_a_trial_that_never_began_stands_in_nobodys_way(folder: Path, over: dict[str, Any]) -> None:
    """The installer was killed before it ended the old daemon: that one works on, past the trial's time."""
    now = launcher.this_moment()
    trial = TRIAL._replace(boot_id=now.boot_id, until=now.boot + 60)
    launcher.write_trial(folder, trial)
    with pytest.raises(Rejected, match="is on trial"):
        refuse_on_trial(folder.parent)
    launcher.write_trial(folder, trial._replace(**over))
    refuse_on_trial(folder.parent)
    with pytest.raises(Rejected, match=r"on trial is 1\.1\+new"):
        keep_updater(folder.parent, "1.0+old", "1.0+old")
    assert slot_in_use(folder) == "a"


def test_it_stands_alone_and_runs_on_the_robots_old_python() -> None:
    tree = ast.parse(Path(launcher.__file__).read_text(), feature_version=(3, 8))
    imported: set[Any] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        if isinstance(node, ast.Import):
            imported.update(name.name for name in node.names)
    assert imported == {"__future__", "json", "os", "pathlib", "select", "signal", "sys", "time", "typing"}
