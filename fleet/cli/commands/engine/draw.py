"""`--picture` of `fleet engine inspect` and `compare`: what a file's layers cost, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.ui.picture.svg import Drawing, picture
from fleet.errors import UsageError
from runtime.contract.engine.engine_facts import EngineFacts

Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture", metavar="FILE.svg", help="Draw the layers: time, precision, conversions, what to look at."
    ),
]


def write_picture(target: Path, engines: Sequence[EngineFacts]) -> None:
    """Draw engines side by side into a file. Raises UsageError where their layers are not known."""
    for facts in engines:
        if not facts.layers:
            why = "; ".join(facts.notes) or "it lists none"
            raise UsageError(
                f"the layers of {facts.path} are not known: {why}", hint="build it again, or draw it there"
            )
    drawings = [Drawing(_title(facts), _subtitle(facts), facts.layers) for facts in engines]
    try:
        target.write_text(picture(drawings), "utf-8")
    except OSError as error:
        hint = "choose another file with --picture"
        raise UsageError(f"{target} cannot be written: {error.strerror or error}", hint=hint) from error


def _title(facts: EngineFacts) -> str:
    identity = facts.identity
    return Path(facts.path).name if identity is None else f"{identity.model} {identity.precision}"


def _subtitle(facts: EngineFacts) -> str:
    if facts.report is not None:
        gpu = facts.report.extra.get("gpu")
        backend = facts.report.identity.backend
        version = facts.report.versions.get(backend, "")
        return f"{backend} {version}" + (f" on {gpu}" if gpu else "")
    return facts.kind if facts.identity is None else facts.identity.backend
