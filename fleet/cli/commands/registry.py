"""`fleet registry`: what the registry needs before it can hold a fleet."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, plain, table
from fleet.cli.wiring import Wiring
from fleet.publish.prepare import missing_error, prepare

app = typer.Typer(help="The registry: the repositories that a fleet needs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `prepare` a verb of its own: Typer would run a lone command without its name."""


@app.command("prepare")
def prepare_registry(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Create nothing; show what is missing, and the commands.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Try every repository of the fleet; create those that are missing, or show how. Safe to run again."""
    wiring = Wiring(manifest)
    reference = wiring.desired.registry
    with activity() as shown:
        found = prepare(
            wiring.registry,
            reference.prefix,
            create=not dry_run,
            on_progress=lambda name: shown.update("registry", f"trying {name}"),
        )
    document: dict[str, Any] = {
        "registry": reference.host,
        "repositories": [
            {"name": each.name, "state": each.state, "command": list(each.command), "error": each.why or None}
            for each in found
        ],
    }

    def render(console: Console) -> None:
        rows = table("repository", "", "how to create it")
        for each in found:
            color = {"there": "dim", "created": "green", "missing": "red"}[each.state]
            rows.add_row(each.name, f"[{color}]{each.state}[/]", plain(each.shell))
        console.print(rows)

    conclude(as_json, document, render, missing_error(reference.host, found))
