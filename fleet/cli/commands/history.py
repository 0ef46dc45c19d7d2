"""`fleet history`: what was rolled out when, by whom, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.console import emit, notice, remarks, table
from fleet.cli.wiring import Wiring
from fleet.oci.releases import CURRENT, PublishedRelease, find_release, list_releases, releases_of
from fleet.oci.skim import skim
from fleet.rollout import audit

STYLES = {audit.SUCCEEDED: "green", audit.FAILED: "red", audit.INTERRUPTED: "yellow", audit.PAUSED: "yellow"}


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many entries.")] = 20,
    as_json: options.Json = False,
) -> None:
    """Show rollouts and rollbacks, newest first, and the published versions."""
    wiring = Wiring(manifest)
    prefix = wiring.desired.registry.prefix
    skipped: list[str] = []
    records = audit.history(wiring.registry, prefix, limit, skipped.append)
    published = list_releases(wiring.registry, prefix)
    current = _current(wiring, skipped)
    document = {
        "fleet": wiring.desired.fleet,
        "published": published,
        "current": current.version if current else None,
        "history": [dataclasses.asdict(record) for record in records],
        **({"skipped": skipped} if skipped else {}),
    }
    notice(skipped)
    emit(as_json, document, lambda console: _render(console, records, published, current.version if current else ""))


def _current(wiring: Wiring, skipped: list[str]) -> PublishedRelease | None:
    """Return the release that was rolled out last; a tag that is none is named and skipped."""
    prefix = wiring.desired.registry.prefix
    found, junk = skim(
        wiring.registry, releases_of(prefix), [CURRENT], lambda tag: find_release(wiring.registry, prefix, tag)
    )
    skipped += junk
    return found[0] if found else None


def _render(console: Console, records: Sequence[audit.AuditRecord], published: Sequence[str], current: str) -> None:
    rows = table("when", "what", "version", "outcome", "robots", "took", "by")
    for record in records:
        rows.add_row(
            _when(record),
            record.kind,
            record.version,
            f"[{STYLES.get(record.outcome, 'white')}]{record.outcome}[/]",
            ", ".join(f"{count} {outcome}" for outcome, count in record.counts.items()),
            f"{record.seconds:.1f} s" if record.seconds else "",
            record.who,
        )
    console.print(rows)
    said: dict[str, str] = {}
    for record in records:  # Several may be of one second.
        head = f"{_when(record)} {record.kind} {record.version}"
        said[head] = "; ".join(part for part in (said.get(head, ""), _said(record)) if part)
    remarks(console, said)
    versions = ", ".join(f"[bold]{version}[/] (current)" if version == current else version for version in published)
    console.print(f"published: {versions or 'nothing yet'}")


def _when(record: audit.AuditRecord) -> str:
    within = max(0.0, min(record.at, 4e10))  # what a record says may be any number
    return f"{datetime.fromtimestamp(within).astimezone():%Y-%m-%d %H:%M:%S}"


def _said(record: audit.AuditRecord) -> str:
    selector = f"only {record.selector}" if record.selector else ""
    return "; ".join(part for part in (selector, record.reason) if part)
