"""`fleet exec`: one command on many robots, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, print_line
from fleet.cli.ui.robots import each, with_shell
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, OutsideError, RobotOffline, RobotsOffline
from fleet.ports import CommandResult
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select


def run(
    command: Annotated[list[str], typer.Argument(help="After `--`: the command and its arguments.")],
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    colour: options.Colour = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each robot.")] = 60.0,
    as_json: options.Json = False,
) -> None:
    """Run a command on robots; arguments are passed as they are, without a shell's expansion."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)

    def one(robot: DesiredRobot) -> CommandResult | FleetError:
        try:
            return with_shell(wiring, robot, lambda shell: shell.run(command, timeout_s=timeout))
        except FleetError as error:
            return error

    with activity() as shown:
        results = each(wiring, chosen, one, shown, "running")
    document = {"command": command, "robots": [_document(name, result) for name, result in results.items()]}
    conclude(as_json, document, lambda console: _render_all(console, results, colour), _error(list(results.values())))


def _render_all(console: Console, results: Mapping[str, CommandResult | FleetError], colour: bool) -> None:
    for name, result in results.items():
        _render(console, name, result, colour)


def _document(name: str, result: CommandResult | FleetError) -> dict[str, object]:
    if isinstance(result, FleetError):
        return {
            "name": name,
            "exit_code": None,
            "stdout": "",
            "stderr": "",
            "error": result.words,
            "hint": result.hint,
        }
    return {
        "name": name,
        "exit_code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "error": None,
        "hint": None,
    }


def _render(console: Console, name: str, result: CommandResult | FleetError, colour: bool) -> None:
    if isinstance(result, FleetError):
        console.print(f"{name}: {result.words}", markup=False, soft_wrap=True, style="yellow")
        return
    for line in (result.stdout + result.stderr).splitlines():
        print_line(console, f"{name}: {line}", colour)
    if result.exit_code:
        console.print(f"{name}: exit code {result.exit_code}", markup=False, soft_wrap=True, style="red")


def _error(results: list[CommandResult | FleetError]) -> FleetError | None:
    """Return exit code 3 when a command or a robot failed, 6 when robots were only offline."""
    errors = [result for result in results if isinstance(result, FleetError)]
    offline = [error for error in errors if isinstance(error, RobotOffline)]
    failed = sum(isinstance(result, CommandResult) and result.exit_code != 0 for result in results)
    if failed or len(errors) > len(offline):
        hints = [error.hint for error in errors if error not in offline]
        return OutsideError(
            f"{failed + len(errors)} of {len(results)} robots failed",
            hint=hints[0] if hints else "each robot's output and exit code are in the result",
        )
    if offline:
        return RobotsOffline(f"{len(offline)} of {len(results)} robots are offline", hint="run it again for them later")
    return None
