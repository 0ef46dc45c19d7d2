"""`fleet lock`: who holds the rollout lock, and taking it from a holder that is gone."""

from __future__ import annotations

import dataclasses

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.console import emit, notice, table
from fleet.cli.wiring import Wiring
from fleet.rollout.lock import RolloutLock, Ticket

app = typer.Typer(help="The rollout lock: one rollout of a fleet at a time.", no_args_is_help=True)


@app.command("show")
def show(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Show who holds the lock, why and until when."""
    wiring = Wiring(manifest)
    holders = _lock(wiring, "looking").holders()
    document = {"holders": [dataclasses.asdict(ticket) for ticket in holders]}
    emit(as_json, document, lambda console: _render(console, holders, wiring.clock.now()))


@app.command("steal")
def steal(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Break the lock of a holder that is gone, with a record in the history. Their rollout stops if it still runs."""
    wiring = Wiring(manifest)
    lock = _lock(wiring, "fleet lock steal")
    robbed = lock.steal(wiring.desired.fleet)
    lock.release()
    holders = [ticket.holder for ticket in robbed]
    emit(
        as_json,
        {"stolen_from": holders},
        lambda console: console.print(f"the rollout lock is free; it was held by {', '.join(holders) or 'nobody'}"),
    )


def _lock(wiring: Wiring, reason: str) -> RolloutLock:
    prefix = wiring.desired.registry.prefix
    return RolloutLock(wiring.registry, prefix, wiring.clock, reason=reason, on_junk=lambda line: notice([line]))


def _render(console: Console, holders: list[Ticket], now: float) -> None:
    if not holders:
        console.print("The rollout lock is free.")
        return
    rows = table("holder", "reason", "held for", "lease ends in")
    for ticket in holders:
        rows.add_row(ticket.holder, ticket.reason, f"{now - ticket.acquired:.0f} s", f"{ticket.expires - now:.0f} s")
    console.print(rows)
