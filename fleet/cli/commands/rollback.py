"""`fleet rollback`: the same road with an earlier release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from fleet.cli import complete, options
from fleet.cli.mixed_flow import roll_out_to_all
from fleet.cli.pull_flow import Mode
from fleet.cli.ui.console import notice
from fleet.cli.ui.rows import want_every
from fleet.cli.ui.signature_view import rollback_proof
from fleet.cli.wiring import Wiring
from fleet.oci.releases import list_releases, load_release
from fleet.resolve.inventory import select
from fleet.rollout import audit
from fleet.rollout.pull.stages import Wishes
from fleet.rollout.rollback import choose_target, versions_committed

#: Records that are read to find the release before: more rollouts than a person remembers.
HISTORY = 100


def run(
    version: Annotated[
        str | None,
        typer.Argument(
            help="A published version. Default: the one before the last that succeeded.",
            autocompletion=complete.versions_that_ran,
        ),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    yes: options.Yes = False,
    override: options.Override = "",
    stop_start: options.StopStart = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Sign a new rollback order, also when one is pending or was used already.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Robots that pull: begin it and end; fleet rollout --watch goes on.")
    ] = False,
    every: options.AllRows = False,
    as_json: options.Json = False,
) -> None:
    """Go back to an earlier release. A release that failed on a robot stays refused there."""
    want_every(every)
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)
    prefix = wiring.desired.registry.prefix
    published = list_releases(wiring.registry, prefix)
    records = audit.history(wiring.registry, prefix, HISTORY, lambda line: notice([line]))
    target = choose_target(records, published, version)
    release = load_release(wiring.registry, prefix, target)
    prove = rollback_proof(wiring, release, chosen, renew=renew, reason=override)
    roll_out_to_all(
        wiring,
        release,
        chosen,
        kind=audit.ROLLBACK,
        selector=robots,
        yes=yes,
        wishes=Wishes(False, override, stop_start),
        prove=prove,
        as_json=as_json,
        mode=Mode(once),
        notes=_notes(target, records),
    )


def _notes(target: str, records: Sequence[audit.AuditRecord]) -> tuple[str, ...]:
    """Say when the version that was asked for by name is one that no robot is known to have run."""
    if target in versions_committed(records):
        return ()
    return (f"no robot is known to have committed {target} (looked at {len(records)} entries of fleet history)",)
