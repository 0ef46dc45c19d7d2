"""`fleet diff`: what differs between two releases, or between a release and the manifest."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import complete, options
from fleet.cli.ui.console import emit, table
from fleet.cli.wiring import Wiring
from fleet.oci.releases import load_release
from fleet.plan.compare import Difference, Snapshot, differences, of_manifest, of_release

NAMED = 6
"""Robots of one change that are named; of more, the count is what a person reads."""


def run(
    before: Annotated[
        str, typer.Argument(help="A published version, or `current`.", autocompletion=complete.versions_or_current)
    ],
    after: Annotated[
        str | None,
        typer.Argument(help="A published version. Default: the manifest.", autocompletion=complete.versions),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    as_json: options.Json = False,
) -> None:
    """Show, robot by robot, what changes from one version to another."""
    wiring = Wiring(manifest)
    prefix = wiring.desired.registry.prefix
    old = of_release(load_release(wiring.registry, prefix, before).document)
    new = of_release(load_release(wiring.registry, prefix, after).document) if after else of_manifest(wiring.desired)
    found = differences(old, new)
    document = {
        "before": old.name,
        "after": new.name,
        "differences": [{"what": list(each.what), "robots": list(each.robots)} for each in found],
    }
    emit(as_json, document, lambda console: _render(console, old, new, found))


def _render(console: Console, old: Snapshot, new: Snapshot, found: tuple[Difference, ...]) -> None:
    if not found:
        console.print(f"{old.name} and {new.name} are the same for all {len(new.robots)} robots.")
        return
    rows = table("robots", f"{old.name} → {new.name}")
    for each in found:
        names = ", ".join(each.robots[:NAMED]) + (
            f" and {len(each.robots) - NAMED} more" if len(each.robots) > NAMED else ""
        )
        rows.add_row(names, "; ".join(each.what))
    console.print(rows)
