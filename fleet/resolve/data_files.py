"""Files that travel with `fleet`: Dockerfile templates, compose files and profiles, from the wheel or the checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fleet.errors import FleetError

_PACKAGE = Path(__file__).resolve().parent.parent
_IN_CHECKOUT = {"profiles": "manifests/profiles"}


@cache
def data_dir(name: str) -> Path:
    """Return the folder ``images``, ``compose`` or ``profiles``. Raises FleetError when this installation lacks it."""
    candidates = (_PACKAGE / "_data" / name, _PACKAGE.parent / _IN_CHECKOUT.get(name, name))
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(str(candidate) for candidate in candidates)
    raise FleetError(
        f"this installation of jetfleet has no folder {name!r} (looked at {looked})",
        hint="install it again: pip install --force-reinstall jetfleet",
    )
