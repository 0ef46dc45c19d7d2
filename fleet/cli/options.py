"""Options that verbs share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import complete

ManifestOption = Annotated[
    Path,
    typer.Option("-m", "--manifest", envvar="FLEET_MANIFEST", help="Folder with fleet.yaml, or the file itself."),
]
Colour = Annotated[bool, typer.Option("--color", help="Keep the colours of robots' output.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Robots = Annotated[
    str | None,
    typer.Option(
        "--robots",
        help="Names, globs, label=value or group:NAME; comma-separated. Default: all.",
        autocompletion=complete.robots,
    ),
]
AllRows = Annotated[
    bool,
    typer.Option("--all", help="Print every robot's row, however many there are."),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask before changing robots.")]
Force = Annotated[bool, typer.Option("--force", help="Try again what failed on a robot before.")]
StopStart = Annotated[
    bool,
    typer.Option("--stop-start", help="Stop the old container first, whatever the release says: it has no say then."),
]
Override = Annotated[
    str,
    typer.Option(metavar="REASON", help="Ignore windows and update locks; the reason is kept in every history."),
]

DEFAULT_MANIFEST = complete.DEFAULT_MANIFEST
