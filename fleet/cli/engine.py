"""`fleet engine`: one model on the machine at hand, with the engine libraries that are there."""

from __future__ import annotations

import typer

from fleet.cli import engine_bench, engine_build, engine_compare, engine_inspect, engine_run

app = typer.Typer(
    help="One model on the machine at hand: build, inspect, measure, run and compare engines.", no_args_is_help=True
)
app.command("build")(engine_build.run)
app.command("inspect")(engine_inspect.run)
app.command("bench")(engine_bench.run)
app.command("run")(engine_run.run)
app.command("compare")(engine_compare.run)
