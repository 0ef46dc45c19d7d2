"""`fleet rollout`: bring robots to a published release, wave by wave."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.cli import complete, options
from fleet.cli.rollout_flow import run_rollout
from fleet.cli.ui.signature_view import release_proof
from fleet.cli.wiring import Wiring
from fleet.oci.releases import load_release
from fleet.resolve.inventory import select
from fleet.rollout import audit


def run(
    version: Annotated[
        str | None,
        typer.Argument(help="A published version. Default: the manifest's.", autocompletion=complete.versions),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    yes: options.Yes = False,
    force: options.Force = False,
    override: options.Override = "",
    as_json: options.Json = False,
) -> None:
    """Roll out a release: the plan is shown and confirmed; every robot proves what it runs, or reverts."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)
    release = load_release(wiring.registry, wiring.desired.registry.prefix, version or wiring.desired.version)
    proof = release_proof(wiring, release)
    run_rollout(
        wiring,
        release,
        chosen,
        kind=audit.ROLLOUT,
        selector=robots,
        yes=yes,
        force=force,
        override=override,
        prove=lambda: proof,
        as_json=as_json,
    )
