"""The long suite's parts: found, named, run by the real pytest, kept, and not run twice on one commit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.harness import long


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one plain part that passes once, and one that is cut in two."""
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "long_plain.py").write_text("def test_it():\n    assert True\n")
    (folder / "long_matrix.py").write_text(
        "import os\nLONG_PARTS = 2\n\ndef test_it():\n    assert os.environ['JETFLEET_PART'] == '1/2'\n"
    )
    (tmp_path / ".gitignore").write_text(".lab/\n__pycache__/\n.pytest_cache/\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_parts_are_named_after_their_files(checkout: Path) -> None:
    assert [part.name for part in long.parts(checkout)] == ["matrix-1", "matrix-2", "plain"]


def test_the_workflow_gets_the_names_as_json(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["--json"], checkout) == 0
    assert json.loads(capsys.readouterr().out) == ["matrix-1", "matrix-2", "plain"]


def test_a_count_that_is_none_is_refused(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "long_matrix.py").write_text("LONG_PARTS = 0\n")
    with pytest.raises(ValueError, match="LONG_PARTS must be a whole number of at least 1, not 0"):
        long.parts(checkout)


def test_an_unknown_part_is_named_with_those_there_are(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["soak"], checkout) == 2
    assert "no such part: soak; there are matrix-1, matrix-2, plain" in capsys.readouterr().err


def test_a_part_that_fails_fails_the_run_and_only_that_one_is_run_again(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert long.main([], checkout) == 1
    first = capsys.readouterr().out
    assert "matrix-2                 FAILED" in first
    assert "plain                    passed" in first
    assert long.main([], checkout) == 1
    second = capsys.readouterr().out
    assert second.count("passed on this commit already") == 2
    assert "── matrix-2" in second
    assert "1 failed" in (checkout / ".lab" / "long" / "matrix-2.log").read_text()
    assert long.main(["--list"], checkout) == 0
    assert "matrix-2                 tests/unit/long_matrix.py  failed on" in capsys.readouterr().out


def test_a_change_makes_every_part_run_again(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["plain"], checkout) == 0
    (checkout / "README.md").write_text("changed")
    capsys.readouterr()
    assert long.main(["plain"], checkout) == 0
    assert "passed on this commit already" not in capsys.readouterr().out


def test_a_torn_result_counts_as_none(checkout: Path) -> None:
    assert long.main(["plain"], checkout) == 0
    (checkout / ".lab" / "long" / "plain.json").write_text("{")
    (part,) = [part for part in long.parts(checkout) if part.name == "plain"]
    assert long.kept(part, checkout) is None
