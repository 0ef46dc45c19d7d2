"""`fleet engine`: one model on the machine at hand, with the engine libraries that are there."""

from __future__ import annotations

import typer

from fleet.cli.commands.engine import bench, build, compare, inspect, run, tune

app = typer.Typer(
    help="One model on the machine at hand: build, inspect, measure, run, compare, tune.",
    no_args_is_help=True,
)
app.command("build")(build.run)
app.command("inspect")(inspect.run)
app.command("bench")(bench.run)
app.command("run")(run.run)
app.command("compare")(compare.run)
app.command("tune")(tune.run)
