"""Runs what is meant for root at a robot here, as whoever runs the tests: real programs, other paths."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from fleet.bootstrap.registry_access import PROGRAM
from fleet.link.remote_python import run_program
from fleet.ports import CommandResult


class LocalRoot:
    """The part of `fleet.ports.RobotShell` that programs are sent by."""

    def run(self, command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> CommandResult:
        done = subprocess.run(
            command, input=stdin or "", capture_output=True, text=True, timeout=timeout_s + 30, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


def run_registry_program(parameters: dict[str, Any]) -> CommandResult:
    """Run the program that gives a robot access to a registry, on the files that ``parameters`` name."""
    return run_program(LocalRoot(), PROGRAM, parameters, as_root=True, timeout_s=60.0)  # type: ignore[arg-type]
