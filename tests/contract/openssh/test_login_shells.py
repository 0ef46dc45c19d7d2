"""Any login shell: it gets the word `sh`, and its own noise is no part of an answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fleet.errors import RobotError, RobotOffline
from fleet.ports import RobotShell
from tests.contract.openssh.site import CHILD, Operator, python

SHELLS = ["bash", "dash", "fish", "tcsh", "busybox", "noisy"]
NASTY = [
    "a b", "it's", "back\\slash", "dbl\\\\x", "q\\'q", "bang!x", "new\nline", "$HOME", "*", "~", "tab\tx", "é—", "--",
    "(x)", "{a,b}", "%s", "#c", "", '"', "`id`", "$(id)", "\\", "!!", "^a^b", "a\\\nb", "&&", "x;y", "\r",
]  # fmt: skip


def connected(operator: Operator, kind: str) -> RobotShell:
    if shutil.which(kind) is None and kind != "noisy":
        pytest.fail(f"no {kind} here: `make setup` installs it")
    operator.writes(operator.keys)
    shells = operator.shells
    robot = operator.site.address(kind=kind)
    shells.learn_host_key(robot)
    return shells.connect(robot)


@pytest.mark.parametrize("kind", SHELLS)
def test_arguments_input_files_and_exit_codes(operator: Operator, kind: str, tmp_path: Path) -> None:
    shell = connected(operator, kind)
    result = shell.run([python(), "-c", CHILD, *NASTY])
    assert json.loads(result.stdout) == NASTY
    assert (result.exit_code, result.stderr) == (0, "")
    text = "".join(f"{n} \\ ' \" $HOME !x\n" for n in range(40_000))
    assert shell.run(["cat"], stdin=text).stdout == text
    assert shell.run(["cat"], stdin="no newline at the end").stdout == "no newline at the end"
    assert shell.run(["cat"], stdin="").stdout == ""
    assert shell.run(["cat"]).stdout == "", "without input it gets an empty one"
    failed = shell.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (failed.exit_code, failed.stdout, failed.stderr) == (7, "out\n", "err\n")
    content = bytes(range(256)) * 200
    shell.put(content, str(tmp_path / "file with space"), mode=0o755)
    assert (tmp_path / "file with space").read_bytes() == content
    lines: list[str] = []
    assert shell.stream(["printf", "%s\\n", "one", "two\\three"], lines.append) == 0
    assert lines == ["one", "two\\three"]
    shell.close()


@pytest.mark.parametrize("kind", SHELLS)
def test_unbalanced_quotes_are_the_error_of_sh(operator: Operator, kind: str) -> None:
    shell = connected(operator, kind)
    result = shell.run(["sh", "-c", "echo 'x"])
    assert result.exit_code == 2
    assert "nterminated quoted string" in result.stderr
    assert shell.run(["no-such-program-here"]).exit_code == 127
    shell.close()


def test_noise_is_cut_off_and_said_once(operator: Operator) -> None:
    shell = connected(operator, "noisy")
    for _ in range(3):
        result = shell.run(["echo", "answer"])
        assert (result.stdout, result.stderr) == ("answer\n", "")
    shell.close()
    ((about, words),) = operator.notes
    assert about == "amr-001"
    assert "'Welcome to robot=1'" in words
    assert "cut off" in words


def test_output_that_looks_like_a_mark_is_output(operator: Operator) -> None:
    shell = connected(operator, "bash")
    tricky = "fleet-begin-0\nfleet-end-0 0\nfleet-end-"
    assert shell.run(["printf", "%s", tricky]).stdout == tricky
    shell.close()


def test_what_a_command_leaves_running_does_not_hold_its_answer(operator: Operator) -> None:
    shell = connected(operator, "bash")
    result = shell.run(["sh", "-c", "sleep 600 & echo $!"], timeout_s=60.0)
    assert result.exit_code == 0
    shell.run(["kill", result.stdout.strip()])
    shell.close()


def test_an_account_without_a_shell_is_said_in_its_own_words(operator: Operator) -> None:
    shell = connected(operator, "nologin")
    with pytest.raises(RobotError) as caught:
        shell.run(["echo", "x"])
    assert not isinstance(caught.value, RobotOffline)
    assert "ran no command (exit code 1): This account is currently not available." in caught.value.message
    assert "chsh" in caught.value.hint
    shell.close()
