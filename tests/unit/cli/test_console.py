"""What is printed is what was meant: addresses, logs and users' words are neither pictures nor markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fleet
from fleet.cli.ui import console
from fleet.cli.ui.console import plain, remarks, table
from fleet.ports import CommandResult
from tests.unit.cli.conftest import ADDRESSES, Desk

SOURCES = Path(fleet.__file__).parent
CODES = ["fd00:b:a:cd::9", "::ffff:127.0.0.1", "fd00:100:ab:1234:x::9", ":warning: :b: :100:"]


def test_consoles_are_made_in_one_place() -> None:
    """Rich's defaults turn `:b:` into a picture, so none may be made with them."""
    made = re.compile(r"(?<![\w.])(?:PipeConsole|Console|rich\.print|get_console)\(")
    found = {
        f"{path.relative_to(SOURCES)}:{number}"
        for path in SOURCES.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if made.search(line) and not line.startswith("class ")
    }
    assert len(found) == 1
    assert found.pop().startswith("cli/ui/console.py:")


@pytest.mark.parametrize("text", CODES)
def test_no_code_becomes_a_picture_anywhere(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for made in (console.stdout(), console.stderr()):
        rows = table("robot", "host")
        rows.add_row("amr-001", plain(text))
        made.print(text)
        made.print(rows)
        remarks(made, {"amr-001": text})
        made.print(text, markup=False)
    printed = capsys.readouterr()
    assert printed.out.count(text) == printed.err.count(text) == 4


@pytest.mark.parametrize("text", ["back\\", "[red]", "\\[x]", "a\\\\", "[/]", "[B]", "\\\\[red]", "[[red]]"])
def test_what_is_plain_stays_plain_inside_markup(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.stdout().print(f"[bold]before[/] {plain(text)}")
    assert capsys.readouterr().out == f"before {text}\n"


def test_status_exec_and_logs_print_addresses_as_they_are(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "fd00:b:a:cd::9"
    desk.set_version("1.0.0")
    desk.bootstrapped()
    monkeypatch.setitem(ADDRESSES, "amr-001", address)
    desk.hosts["amr-001"].programs["sh"] = lambda _args, _in: CommandResult(0, f"{address}\n", "")
    assert f"amr-001: {address}" in desk.fleet("exec", "--robots", "amr-001", "--", "echo", address).out
    assert desk.fleet("logs", "amr-001").out == f"{address}\n"
    desk.updaters["amr-001"].why = f"{address} took it"
    desk.updaters["amr-001"].state = desk.updaters["amr-001"].state.__class__(
        "amr-001", "idle", "1", outcome="reverted", reason=f"{address} took it"
    )
    assert f"{address} took it" in desk.fleet("status", "--robots", "amr-001").out
