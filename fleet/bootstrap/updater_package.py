"""The robot's host side as one file: a zipapp made of `runtime.contract` and `runtime.updater`.

The sources are found, never imported: `fleet` runs nothing of the robot's side. The same sources give the same version
and the same bytes on every machine: they are not compressed, because signers sign these bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import zipfile
from functools import lru_cache
from pathlib import Path

from fleet.errors import FleetError
from runtime.contract.codec import digest_of

#: Parts of `runtime` that run on a robot's host.
PARTS = ("contract", "updater")
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = """import sys

from runtime.updater.cli.main import main

sys.exit(main(build="{build}"))
"""
#: The oldest time that a zip can hold: nothing of the machine that packs it is inside.
EPOCH = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def updater_zipapp() -> bytes:
    """Return the zipapp (Python ≥ 3.8, stdlib only) that `bootstrap` puts into a slot next to `UPDATER_PATH`.

    Raises FleetError when this installation lacks the sources.
    """
    files = _sources()
    return SHEBANG + _zip({**files, "__main__.py": MAIN.format(build=_build(files)).encode()})


def launcher_text() -> str:
    """Return the program that starts the updater in use, or the one on trial. Raises FleetError as above."""
    return _sources()["runtime/updater/selfupdate/launcher.py"].decode("utf-8")


def updater_version() -> str:
    """Return what the updater of :func:`updater_zipapp` says of itself: ``VERSION+<12 hex over its sources>``.

    Raises FleetError as :func:`updater_zipapp` does.
    """
    files = _sources()
    match = re.search(rb'^VERSION = "([^"]+)"$', files["runtime/updater/__init__.py"], re.MULTILINE)
    if match is None:
        raise FleetError("runtime/updater/__init__.py names no VERSION", hint="install jetfleet again")
    return f"{match[1].decode()}+{_build(files)}"


def _sources() -> dict[str, bytes]:
    files = {"runtime/__init__.py": b""}
    root = _runtime_folder()
    for part in PARTS:
        found = sorted((root / part).rglob("*.py"))
        if not found:
            raise FleetError(f"this installation lacks runtime/{part}", hint="install jetfleet again")
        files.update({f"runtime/{path.relative_to(root).as_posix()}": path.read_bytes() for path in found})
    return files


def _build(files: dict[str, bytes]) -> str:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return digest_of(digests)[7:19]


def _runtime_folder() -> Path:
    spec = importlib.util.find_spec("runtime")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise FleetError("the package `runtime` is not installed", hint="install jetfleet again")
    return Path(places[0])


def _zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name], zipfile.ZIP_STORED)
    return packed.getvalue()
