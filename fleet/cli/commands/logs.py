"""`fleet logs`: what the runtime container, or the updater, wrote on a robot."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import complete, options
from fleet.cli.ui.console import emit, print_line, stdout
from fleet.cli.ui.process_exit import to_nowhere
from fleet.cli.ui.robots import with_shell
from fleet.cli.wiring import Wiring
from fleet.errors import RobotError, UsageError
from fleet.link.robot import MAX_WORDS
from fleet.ports import RobotShell
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select
from runtime.contract.printable import printable
from runtime.contract.robot.update import COMMAND_PATH, ROBOT_DIR

#: Of the updater where it knows that, so that the login needs no Docker; else of Docker.
#: Compose reads `.env`, which names its files, from where it is called.
NO_RELEASE = 66
IN_RELEASE = (
    f'if {COMMAND_PATH} logs --help > /dev/null 2>&1; then exec {COMMAND_PATH} logs "$@"; fi; '
    f"test -e {ROBOT_DIR}/current || exit {NO_RELEASE}; "
    f'cd {ROBOT_DIR}/current && exec docker compose logs --no-color --no-log-prefix "$@"'
)
#: Of one run without --follow: more than a person reads, less than fills a terminal's memory.
DEADLINE_S = 60.0


def run(
    robot: Annotated[str, typer.Argument(help="One robot.", autocompletion=complete.robot)],
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow until Ctrl-C.")] = False,
    colour: options.Colour = False,
    tail: Annotated[int, typer.Option("--tail", min=0, help="Lines from the end.")] = 100,
    as_json: options.Json = False,
) -> None:
    """Show the log of a robot's runtime container."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robot)
    if len(chosen) != 1:
        raise UsageError(f"{robot!r} is {len(chosen)} robots", hint="name one robot; for many use: fleet exec")
    if follow and as_json:
        raise UsageError("--follow never ends, so it can't be one JSON document", hint="leave out --json or --follow")
    command = ["sh", "-c", IN_RELEASE, "sh", "--tail", str(tail), *(["--follow"] if follow else [])]
    lines: list[str] = []
    code = _follow(wiring, chosen[0], command, lines, colour) if follow else _read(wiring, chosen[0], command, lines)
    if code != 0:
        raise _no_log(chosen[0].name, code, lines)
    if not follow:
        emit(as_json, {"robot": chosen[0].name, "lines": lines}, lambda console: _print(console, lines, colour))


def _no_log(robot: str, code: int, lines: Sequence[str]) -> RobotError:
    """Return the error for a log that could not be had, with the robot's own words for it."""
    if code == NO_RELEASE:
        return RobotError(
            robot, "has no log: no release was rolled out to it yet", hint=f"fleet rollout --robots {robot}"
        )
    said = [printable(line, MAX_WORDS) for line in lines if line.strip()]
    reason = f": {said[-1]}" if said else ""
    return RobotError(
        robot,
        f"docker compose logs ended with exit code {code}{reason}",
        hint=f"does a release run there? fleet status --robots {robot}",
    )


def _read(wiring: Wiring, robot: DesiredRobot, command: Sequence[str], lines: list[str]) -> int:
    return with_shell(wiring, robot, lambda shell: shell.stream(command, lines.append, timeout_s=DEADLINE_S))


def _follow(wiring: Wiring, robot: DesiredRobot, command: Sequence[str], last: list[str], colour: bool) -> int:
    """Print lines as they come. Ctrl-C, or a reader that has enough, is how it is meant to end."""
    console = stdout()

    def show(line: str) -> None:
        if line.strip():
            last[:] = [line]
        _print(console, [line], colour)

    def stream(shell: RobotShell) -> int:
        return shell.stream(command, show, timeout_s=None)

    try:
        return with_shell(wiring, robot, stream)
    except BrokenPipeError:
        to_nowhere(sys.stdout)
    except KeyboardInterrupt:
        pass
    return 0


def _print(console: Console, lines: Sequence[str], colour: bool) -> None:
    for line in lines:
        print_line(console, line, colour)
    sys.stdout.flush()
