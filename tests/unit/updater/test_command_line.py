"""The daemon's command line is read without argparse, and means the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.updater.cli.arguments import parsed
from runtime.updater.cli.main import for_the_daemon

NAMES = ("root", "socket", "project", "machine", "json", "command")


@pytest.mark.parametrize(
    "words",
    [
        ["serve"],
        ["--root", "/r", "serve"],
        ["--project", "other", "--machine", "/m", "--socket", "/s", "serve"],
        ["--root", "/a", "--root", "/b", "serve"],
    ],
)
def test_the_daemon_s_words_mean_what_argparse_makes_of_them(words: list[str]) -> None:
    quick, slow = for_the_daemon(words), parsed(words)
    assert quick is not None
    assert [getattr(quick, name) for name in NAMES] == [getattr(slow, name) for name in NAMES]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["status"],
        ["serve", "--json"],
        ["serve", "--root"],
        ["--root", "serve"],
        ["--root", "--json", "serve"],
        ["--rot", "/r", "serve"],
        ["--root=/r", "serve"],
        ["--json", "x", "serve"],
        ["x", "y", "serve"],
    ],
)
def test_all_else_is_argparse_s(words: list[str]) -> None:
    assert for_the_daemon(words) is None


def test_the_daemon_loads_no_argparse() -> None:
    """It would take three quarters of a megabyte for as long as the robot runs."""
    program = (
        "import sys; from runtime.updater.cli.main import for_the_daemon; import runtime.updater.daemon.serve; "
        "assert for_the_daemon(['serve']); print([m for m in ('argparse', 'shutil', 'pty') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
