"""`fleet rollout`: bring robots to a published release, wave by wave."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.cli import complete, options
from fleet.cli.paused_flow import abort_paused, resume_rollout
from fleet.cli.rollout_flow import run_rollout
from fleet.cli.ui.signature_view import release_proof
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
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
    stop_start: options.StopStart = False,
    until_wave: Annotated[
        int | None, typer.Option("--until-wave", min=1, help="Pause when this wave has passed; --resume goes on.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rollout that is paused.")] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Give up the rollout that is paused: what it committed goes back.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="With --resume and --abort: why; kept in fleet history.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """Roll out a release: the plan is shown and confirmed; every robot proves what it runs, or reverts."""
    wiring = Wiring(manifest)
    _fits(version, robots, until_wave, resume, abort, reason)
    if resume:
        resume_rollout(
            wiring,
            reason=reason,
            until_wave=until_wave,
            yes=yes,
            force=force,
            override=override,
            as_json=as_json,
            stop_start=stop_start,
        )
        return
    if abort:
        abort_paused(wiring, reason=reason, yes=yes, as_json=as_json)
        return
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
        stop_start=stop_start,
        until_wave=until_wave,
    )


def _fits(
    version: str | None, robots: str | None, until_wave: int | None, resume: bool, abort: bool, reason: str
) -> None:
    """Raise UsageError for options that contradict each other."""
    if resume and abort:
        raise UsageError("--resume and --abort are given", hint="give one of them")
    if (resume or abort) and (version is not None or robots is not None):
        raise UsageError("the paused rollout has its version and its robots", hint="leave VERSION and --robots out")
    if abort and until_wave is not None:
        raise UsageError("--abort runs no wave", hint="leave --until-wave out")
    if reason and not (resume or abort):
        raise UsageError("--reason belongs to --resume and --abort", hint="leave it out")
