"""TAB: robots, groups, labels and versions, in bash as bash breaks words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.cli import complete
from fleet.errors import RegistryError
from tests.fakes.fleet_folder import write_fleet
from tests.unit.cli.conftest import Desk

BASH = shutil.which("bash")
FLEET = Path(sys.executable).with_name("fleet")


def line(**params: object) -> Any:
    """Return what Typer knows of a command line that is being written."""
    return SimpleNamespace(params=params, parent=None)


def test_robots_groups_and_labels_are_offered(desk: Desk) -> None:
    offered = complete.robots(line(), "")
    assert offered[:3] == ["amr-001", "amr-002", "scout-001"]
    assert {"group:amr", "group:scout"} <= set(offered)
    assert complete.robots(line(), "amr") == ["amr-001", "amr-002"]
    assert complete.robots(line(), "group:s") == ["group:scout"]
    assert complete.robots(line(), "amr-001,sc") == ["amr-001,scout-001"]
    assert complete.robots(line(), "!amr-001,!am") == ["!amr-001,!amr-001", "!amr-001,!amr-002"]
    assert complete.robot(line(), "sc") == ["scout-001"]


def test_published_versions_are_offered_newest_first(desk: Desk) -> None:
    desk.publish("1.0.0")
    desk.publish("1.1.0")
    assert complete.versions(line(), "") == ["1.1.0", "1.0.0"]
    assert complete.versions_or_current(line(), "c") == ["current"]


def test_a_rollback_is_offered_only_what_robots_committed(desk: Desk) -> None:
    desk.publish("0.9.0")
    desk.running("1.0.0")
    for host in desk.hosts.values():
        host.online = False
    desk.publish("1.1.0")
    desk.fleet("rollout", "--yes", code=6)
    assert complete.versions_that_ran(line(), "") == ["1.0.0"]


@pytest.mark.parametrize("offer", [complete.robots, complete.robot, complete.versions, complete.versions_that_ran])
def test_what_cannot_be_offered_is_silent(
    desk: Desk, offer: Callable[[Any, str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert offer(line(manifest=Path("/no/such/place")), "") == []
    desk.breaks("tags", RegistryError("down", hint="up"))
    offer(line(), "")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "joined", "typed"),
    [
        (["fleet", "status", "--robots", "am"], ["fleet", "status", "--robots", "am"], ""),
        (["fleet", "status", "--robots", "group", ":", "a"], ["fleet", "status", "--robots", "group:a"], "group:"),
        (["fleet", "status", "--robots", "group", ":"], ["fleet", "status", "--robots", "group:"], "group:"),
        (["fleet", "status", "--robots", "site", "=", "h"], ["fleet", "status", "--robots", "site=h"], "site="),
        (["fleet", "status", "--robots", "=", "am"], ["fleet", "status", "--robots=am"], ""),
        (["fleet", "status", "--robots", "=", "group", ":", "a"], ["fleet", "status", "--robots=group:a"], "group:"),
        (["fleet", "status", "--robots", ""], ["fleet", "status", "--robots", ""], ""),
    ],
)
def test_words_that_bash_broke_are_put_together(
    words: list[str], joined: list[str], typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_FLEET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert complete._join_words() == typed
    assert os.environ["COMP_WORDS"].split("\n") == joined
    assert os.environ["COMP_CWORD"] == str(len(joined) - 1)


@pytest.mark.skipif(BASH is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fleet", "status", "--robots", "group", ":", "s"], ["scout"]),
        (["fleet", "--json", "status", "--robots", "sc"], ["scout-001"]),
    ],
)
def test_a_real_bash_offers_them(words: list[str], offered: list[str], tmp_path: Path) -> None:
    folder = write_fleet(tmp_path / "manifests")
    assert BASH is not None
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f'source <(_FLEET_COMPLETE=source_bash "{FLEET}")\n'
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        f'_fleet_completion "{FLEET}"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    environment = {**os.environ, "FLEET_MANIFEST": str(folder), complete.WAIT: "120"}
    done = subprocess.run([BASH, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == offered
