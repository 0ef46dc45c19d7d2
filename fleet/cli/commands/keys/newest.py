"""`fleet keys newest`: say again which release is the newest; for a timer, where rollouts are rarer than that."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.cli import complete, options
from fleet.cli.desired import renew
from fleet.cli.newest import announce, newest_of, says_newest
from fleet.cli.ui.console import emit, plain
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.oci.releases import CURRENT, find_release, load_release
from fleet.signing.intent import at


def run(
    version: Annotated[
        str | None,
        typer.Argument(
            help="A published version. Default: the one that was named last, else the one rolled out last.",
            autocompletion=complete.versions,
        ),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    as_json: options.Json = False,
) -> None:
    """Sign which release is the newest, for another span of trust/newest. Robots hear it at their next contact.

    Where robots pull, what they are to run is signed for another pull/statement as well.
    """
    wiring = Wiring(manifest)
    if not says_newest(wiring):
        raise UsageError(
            "this fleet does not say which release is the newest",
            hint="it needs a signed root (fleet keys root --sign), and a trust/newest that is not none",
        )
    prefix = wiring.desired.registry.prefix
    before = newest_of(wiring)
    named = version or (before.newest.version if before is not None and before.newest is not None else None)
    release = load_release(wiring.registry, prefix, named) if named else find_release(wiring.registry, prefix, CURRENT)
    if release is None:
        raise UsageError("no release was rolled out yet", hint="name one: fleet keys newest VERSION")
    made = announce(wiring, release).newest
    assert made is not None, "announce returns what it signed"
    pulled = renew(wiring)
    document = {
        "fleet": made.fleet,
        "version": made.version,
        "release": made.release,
        "generation": made.generation,
        "issued_at": made.issued_at,
        "expires_at": made.expires_at,
        "desired": pulled,
    }
    text = f"{made.version} is the newest release until {at(made.expires_at)} (generation {made.generation})"
    emit(as_json, document, lambda console: console.print(plain(f"{text}\n{pulled}".rstrip())))
