"""The one error boundary: every way a command can end has its exit code and its sentence."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

import fleet.errors
from fleet.cli import main
from fleet.cli.ui.console import error_document
from fleet.cli.verbs import VERBS, load
from fleet.errors import FleetError, LockHeld, ManifestError, Problem, RegistryError, RobotsOffline
from tests.fakes.fleet_folder import write_fleet

FLEET = [sys.executable, "-m", "fleet.cli.main"]
DRAWN = re.compile(r"(\w+)\s+(\d)(?:   |$)", re.MULTILINE)


def test_the_drawn_tree_is_the_real_tree() -> None:
    drawn = {name: int(code) for name, code in DRAWN.findall(fleet.errors.__doc__ or "")}
    real = {
        name: cls.exit_code
        for name, cls in inspect.getmembers(fleet.errors, inspect.isclass)
        if issubclass(cls, FleetError)
    }
    assert drawn == real


def test_validate_succeeds_and_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_fleet(tmp_path)
    assert main.run(["validate", "-m", str(folder), "--json"], as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["robots"] == 3
    assert len(document["engines"]) == 2


def test_a_wrong_manifest_is_exit_2_with_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_fleet(tmp_path, fleet={"version": "one", "fleeet": 1})
    assert main.run(["validate", "-m", str(folder), "--json"], as_json=True) == 2
    captured = capsys.readouterr()
    problems = json.loads(captured.out)["error"]["problems"]
    assert {problem["path"] for problem in problems} == {"version", "fleeet"}
    assert all(problem["line"] and problem["hint"] for problem in problems)
    assert "fleet.yaml:" in captured.err


def test_a_wrong_command_line_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["plan", "--json", "--bogus"], as_json=True) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["kind"] == "UsageError"
    assert "--bogus" in captured.err
    assert "→ fleet plan --help" in captured.err


def test_what_help_says_of_a_verb_is_what_the_verb_says() -> None:
    for verb, (module, line) in VERBS.items():
        real = load(verb)
        assert " ".join((real.help or "").split()) == line, verb
        assert importlib.import_module(f"fleet.cli.commands.{module}")


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS), ["ci", "plan"], ["ci", "build"], ["lock", "steal"]])
def test_every_verb_has_help(verb: list[str], flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*verb, flag]) == 0
    assert "Usage: fleet" in capsys.readouterr().out


def test_help_does_not_import_what_verbs_need() -> None:
    code = "import sys, fleet.cli.main as m; m.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & {"pydantic", "yaml", "docker", "paramiko", "requests", "numpy"}


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"fleet {version('jetfleet')}\n"


@pytest.mark.parametrize(
    ("arguments", "own"),
    [
        (["exec", "--json", "--", "ls", "--json"], ["exec", "--json"]),
        (["exec", "--robots", "amr-*", "ls", "--debug"], ["exec", "--robots", "amr-*"]),
        (["--debug", "exec", "-m", "f", "--json", "df", "-h"], ["--debug", "exec", "-m", "f", "--json"]),
        (["status", "--json", "--debug"], ["status", "--json", "--debug"]),
        (["exec"], ["exec"]),
        ([], []),
    ],
)
def test_what_belongs_to_the_robots_command_is_left_to_it(arguments: list[str], own: list[str]) -> None:
    assert main.own_arguments(arguments) == own


def test_a_reader_that_has_enough_is_no_error() -> None:
    with subprocess.Popen([*FLEET, "docs", "manifest"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_reader_of_the_help_that_has_enough_is_no_error_either() -> None:
    with subprocess.Popen([*FLEET, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(("where", "words"), [(">/dev/full", "no space left on device"), (">&- <&-", "it is closed")])
@pytest.mark.parametrize("verb", [["--help"], ["--json", "docs", "schema"]])
def test_a_result_that_cannot_be_written_is_one_sentence_and_exit_3(verb: list[str], where: str, words: str) -> None:
    done = in_a_shell([*FLEET, *verb], where)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error the result could not be written to standard output: {words}\n")
    assert done.stderr.count("\n") == 2
    assert done.stdout == ""


@pytest.mark.parametrize("where", [">/dev/full", ">&-", ">&- 2>&-", "2>/dev/full"])
def test_the_commands_own_error_decides_how_it_ends(where: str, tmp_path: Path) -> None:
    done = in_a_shell([*FLEET, "validate", "-m", str(tmp_path / "nowhere"), "--json"], where)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("nowhere" in done.stderr) is ("2>" not in where)


def in_a_shell(command: list[str], where: str) -> subprocess.CompletedProcess[str]:
    line = ["sh", "-c", f'exec "$@" {where}', "sh", *command]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_an_unknown_verb_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["valdiate"]) == 2
    assert "valdiate" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RegistryError("down", hint="up"), LockHeld("held"), RobotsOffline("gone")])
def test_an_error_of_ours_is_its_exit_code(
    error: FleetError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_app(monkeypatch, error)
    assert main.run(["validate"]) == error.exit_code
    assert error.message in capsys.readouterr().err


def test_ctrl_c_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _raise_in_app(monkeypatch, KeyboardInterrupt())
    assert main.run(["build"]) == 3
    assert "run the same command again" in capsys.readouterr().err


def test_ctrl_c_inside_a_verb_passes_the_parser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.cli.commands.build.Wiring", interrupted)
    assert main.run(["build"]) == 3
    assert "run the same command again" in capsys.readouterr().err


def test_ctrl_c_at_the_question_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_app(monkeypatch, typer.Abort())
    assert main.run(["rollout"]) == 3
    assert "nothing was changed" in capsys.readouterr().err


def test_a_defect_is_told_as_one_and_the_traceback_only_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_app(monkeypatch, ZeroDivisionError("division by zero"))
    assert main.run(["build"]) == 1
    quiet = capsys.readouterr().err
    assert "defect in fleet" in quiet
    assert "Traceback" not in quiet
    assert main.run(["build"], debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "TMPDIR"), (errno.EROFS, "read-only"), (errno.EMFILE, "ulimit")]
)
def test_what_this_machine_lacks_is_no_defect(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_app(monkeypatch, OSError(number, os.strerror(number), "/somewhere/file"))
    assert main.run(["build"]) == 3
    printed = capsys.readouterr().err
    assert "/somewhere/file" in printed
    assert words in printed


def test_another_error_of_the_system_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise_in_app(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file", "x"))
    assert main.run(["build"]) == 1


def test_debug_may_stand_anywhere_but_after_the_dashes() -> None:
    assert main.in_place(["exec", "--debug", "--", "ls", "--debug"]) == ["exec", "--", "ls", "--debug"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["--json", "status"], ["status", "--json"]),
        (["--json", "-m", "here", "status", "--robots", "a"], ["status", "--robots", "a", "--json", "-m", "here"]),
        (["--manifest=here", "keys", "list"], ["keys", "list", "--manifest=here"]),
        (["--debug", "--json", "exec", "ls", "-l"], ["exec", "--json", "ls", "-l"]),
        (["--json", "exec", "--robots", "a", "--", "ls"], ["exec", "--robots", "a", "--json", "--", "ls"]),
        (["-m", "status", "validate"], ["validate", "-m", "status"]),
        (["--version", "--json"], ["--version", "--json"]),
        (["exec", "ls", "--json"], ["exec", "ls", "--json"]),
    ],
)
def test_what_every_verb_has_may_stand_before_it(given: list[str], taken: list[str]) -> None:
    assert main.in_place(given) == taken


VERBS_OF_GROUPS = {
    "engine": "inspect",
    "images": "render",
    "ci": "plan",
    "keys": "list",
    "lock": "show",
    "registry": "prepare",
    "profiles": "show",
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_json_before_it_too(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a manifest that is not there each ends early, and as one document."""
    monkeypatch.setenv("FLEET_MANIFEST", "/no/such/manifest")
    arguments = [verb, *([VERBS_OF_GROUPS[verb]] if verb in VERBS_OF_GROUPS else [])]
    arguments += {"docs": ["schema"], "logs": ["r"], "exec": ["true"], "diff": ["1.0.0"], "engine": ["x"]}.get(verb, [])
    for given in (["--json", *arguments], [arguments[0], *arguments[1:2], "--json", *arguments[2:]]):
        ended = main.run(given, as_json=True)
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert ended == (0 if verb == "docs" else 2), printed.err
        assert ended == 0 or "No such option" not in document["error"]["message"]


def test_markup_in_users_words_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _raise_in_app(monkeypatch, RegistryError("no repository [red]warehouse[/red]", hint="look at robots[3]"))
    main.run(["build"])
    printed = capsys.readouterr().err
    assert "[red]warehouse[/red]" in printed
    assert "robots[3]" in printed


def test_a_manifest_error_document_has_file_and_line() -> None:
    error = ManifestError([Problem("fleet.yaml", 3, "robots/0", "is wrong", "mend it")])
    assert error_document(error)["problems"][0]["line"] == 3


def _raise_in_app(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
