"""A new updater that comes through the daemon: judged by the one that runs, put beside it, and on trial then."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Optional

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.robot.trust import Signed
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.selfupdate import launcher
from runtime.updater.selfupdate.self_update_trial import FOLDER
from runtime.updater.storage.durable import remove, replace_durable
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.update_state import Rejected
from runtime.updater.transaction.updater_statement import check_updater

STATEMENT = "statement.json"
MAX_TRIAL_S = 600.0
_LAUNCHER = "runtime/updater/selfupdate/launcher.py"


def take_updater(
    root: Path, world: RealWorld, content: bytes, signed: Optional[Signed], *, version: str, trial_s: float
) -> bool:
    """Put a new updater on trial; return whether the daemon must start anew for it.

    One whose bytes are in use already (or no bytes, which mean that one) only has its statement kept. Raises Rejected,
    WorldError, OSError.
    """
    held = world.held_root()
    folder = root / FOLDER
    used = launcher.slot_in_use(folder)
    if not used:
        raise Rejected("outside", "no updater is installed in {}".format(folder), "run `fleet bootstrap`")
    in_use = (folder / used / launcher.NAME).read_bytes()
    content = content or in_use
    try:
        check_updater(held.root if held else None, content, signed, world.updater_statement(), world)
    except Refused as refused:
        raise Rejected("refused", refused.reason, refused.hint) from refused
    if content == in_use:
        if signed is not None:
            world.keep_updater_statement(signed)
        return False
    remove(folder / launcher.TRIAL)
    _put(folder, "b" if used == "a" else "a", content, signed, version, trial_s)
    return True


def keep_statement(root: Path, world: RealWorld) -> None:
    """Keep the statement of the updater that has just proven itself: its slot is the one in use now."""
    folder = root / FOLDER
    path = folder / launcher.slot_in_use(folder) / STATEMENT
    if path.exists():
        world.keep_updater_statement(from_json(Signed, path.read_bytes()))
        remove(path)


def content_of(text: str) -> bytes:
    """Return an updater as it was before it travelled. Raises ContractError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContractError("zipapp: not base64: {}".format(error)) from error


def _put(folder: Path, slot: str, content: bytes, signed: Optional[Signed], version: str, trial_s: float) -> None:
    import zipfile  # with all its compressors it is more than an idle updater may take; the daemon ends after this

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(_LAUNCHER)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise Rejected("usage", "that is no updater: {}".format(error), "run `fleet bootstrap`") from error
    place = folder / slot
    place.mkdir(mode=0o755, exist_ok=True)
    remove(place / STATEMENT)
    _write(place / launcher.NAME, content)
    if signed is not None:
        replace_durable(place / STATEMENT, canonical_json(signed))
    if (folder / launcher.NAME).read_bytes() != text:
        _write(folder / launcher.NAME, text)
    now = launcher.this_moment()
    until = now.boot + min(max(trial_s, 1.0), MAX_TRIAL_S)
    launcher.write_trial(folder, launcher.Trial(slot, version, now.boot_id, until))


def _write(path: Path, content: bytes) -> None:
    replace_durable(path, content)
    path.chmod(0o755)
