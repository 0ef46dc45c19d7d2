"""The journal and the history on disk: a transition is there whole before anything acts on it, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

from runtime.contract.codec import ContractError, canonical_json, digest_of, from_dict, from_json, to_dict
from runtime.contract.json_decoder import decode_object
from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.storage.durable import fsync_dir, remove, write_durable

JOURNAL, KEPT = "journal.json", "journal.previous.json"
HISTORY, OLDER = "history.jsonl", "history.1.jsonl"
RESERVE, RESERVE_BYTES = "reserve", 256 * 1024
"""The file, and its least size."""
HISTORY_LIMIT = 256 * 1024


class JournalStore:
    """``journal.json`` in the state folder, with the transition before it kept beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, journal: Journal) -> None:
        """Put ``journal`` on disk: temporary file, fsync, keep the old one, atomic rename, fsync of the folder.

        On a full disk the reserve is given up for it, so that a transaction can still end. Raises OSError.
        """
        try:
            self._save(journal)
        except OSError as error:
            reserve = self.folder / RESERVE
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not reserve.exists():
                raise
            remove(reserve)
            self._save(journal)

    def hold_reserve(self, order_bytes: int = 0) -> None:
        """Take up space now that a full disk cannot take from us later. Raises OSError.

        Twice what a journal with an order of ``order_bytes`` needs, and with the one on disk: a signed release of a
        large fleet is long.
        """
        reserve, journal = self.folder / RESERVE, self.folder / JOURNAL
        on_disk = journal.stat().st_size if journal.exists() else 0
        needed = max(RESERVE_BYTES, 2 * order_bytes, 2 * on_disk)
        if reserve.exists() and reserve.stat().st_size >= needed:
            return
        try:
            write_durable(reserve, os.urandom(needed), private=True)
        except OSError:
            remove(reserve)  # half of it holds nothing and is in the way
            raise

    def _save(self, journal: Journal) -> None:
        data = to_dict(journal)
        body = canonical_json({"checksum": digest_of(data), "journal": data}) + b"\n"
        path = self.folder / JOURNAL
        temporary = write_durable(self.folder / (JOURNAL + ".tmp"), body, private=True)
        if path.exists():
            kept = self.folder / (KEPT + ".tmp")
            remove(kept)
            os.link(str(path), str(kept))
            kept.replace(self.folder / KEPT)
        temporary.replace(path)
        fsync_dir(self.folder)

    def load(self) -> Tuple[Journal, List[str]]:
        """Return the newest whole journal and what was wrong with newer ones (moved aside, for a person to see).

        A robot that never had one gets an empty one.
        """
        complaints: List[str] = []
        for name in (JOURNAL, KEPT):
            path = self.folder / name
            try:
                return _parse(path.read_bytes()), complaints
            except FileNotFoundError:
                continue
            except (ContractError, OSError) as error:
                complaints.append("{}: {}".format(path, error))
        return Journal(), complaints

    def repair(self, journal: Journal) -> List[str]:
        """Write ``journal`` again where what is on disk is not it; return what was wrong there. Raises OSError."""
        on_disk, complaints = self.load()
        if complaints:
            self.set_aside()
        if complaints or on_disk != journal:
            self.save(journal)
        self.hold_reserve()
        return complaints

    def set_aside(self) -> None:
        """Keep damaged journal files under another name, so that saving does not overwrite the evidence."""
        for name in (JOURNAL, KEPT):
            path = self.folder / name
            if path.exists() and not _is_whole(path):
                path.replace(self.folder / (name + ".damaged"))
        fsync_dir(self.folder)


def _parse(body: bytes) -> Journal:
    envelope = decode_object(body, "damaged")
    if "journal" not in envelope:
        raise ContractError("damaged: no journal inside")
    if envelope.get("checksum") != digest_of(envelope["journal"]):
        raise ContractError("damaged: its checksum does not fit")
    return from_dict(Journal, envelope["journal"])


def _is_whole(path: Path) -> bool:
    try:
        _parse(path.read_bytes())
    except (ContractError, OSError):
        return False
    return True


class History:
    """``history.jsonl``: one line an order, newest last; rotated once, so that it cannot fill the disk."""

    def __init__(self, folder: Path, limit: int = HISTORY_LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    def record(self, outcome: HistoryEntry) -> None:
        """Append ``outcome`` unless it is there already (a process died between writing it and saying so)."""
        path = self.folder / HISTORY
        newest = self.entries(1)
        if newest and newest[-1].number >= outcome.number:
            return
        if path.exists() and path.stat().st_size > self.limit:
            path.replace(self.folder / OLDER)
        line = canonical_json(outcome) + b"\n"
        with path.open("ab+") as file:
            file.write(line if _ends_whole(file) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        fsync_dir(self.folder)

    def entries(self, count: int = 50) -> List[HistoryEntry]:
        """Return the last ``count`` outcomes, oldest first. A torn line (power cut) is left out."""
        found: List[HistoryEntry] = []
        for name in (OLDER, HISTORY):
            path = self.folder / name
            if path.exists():
                found.extend(filter(None, map(_outcome, path.read_bytes().splitlines())))
        return found[-count:]


def _ends_whole(file: Any) -> bool:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return True
    file.seek(size - 1)
    whole: bool = file.read(1) == b"\n"
    file.seek(0, os.SEEK_END)
    return whole


def _outcome(line: bytes) -> Optional[HistoryEntry]:
    try:
        return from_json(HistoryEntry, line)
    except ContractError:
        return None
