"""The journal on disk: whole or not at all, and never full because it grew."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.storage import journal as module
from runtime.updater.storage.journal import History, JournalStore


def _outcome(number: int) -> HistoryEntry:
    return HistoryEntry(number, f"order-{number}", "1.0.0", "image", "", "committed", "", "", 1.0, 2.0)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    assert store.load() == (Journal(), [])
    for tries in (1, 2):
        store.save(Journal(robot="amr-001", state="fetching", tries=tries))
    assert store.load() == (Journal(robot="amr-001", state="fetching", tries=2), [])


def test_save_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        done.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        done.append(f"{self.name} -> {Path(target).name}")
        return replace(self, target)

    store = JournalStore(tmp_path)
    store.save(Journal())
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    store.save(Journal(tries=1))
    assert done == [
        "fsync journal.json.tmp",
        "journal.previous.json.tmp -> journal.previous.json",
        "journal.json.tmp -> journal.json",
        f"fsync {tmp_path.name}",
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b"\xff\xfe", b'{"checksum": "sha256:0", "journal": {}}'])
def test_damage_is_told_and_the_one_before_is_used(tmp_path: Path, body: bytes) -> None:
    store = JournalStore(tmp_path)
    store.save(Journal(tries=1))
    store.save(Journal(tries=2))
    (tmp_path / "journal.json").write_bytes(body)
    found, complaints = store.load()
    assert found == Journal(tries=1)
    assert len(complaints) == 1
    assert "journal.json: damaged" in complaints[0]
    store.set_aside()
    assert (tmp_path / "journal.json.damaged").read_bytes() == body
    assert store.load() == (Journal(tries=1), [])


def test_full_disk_takes_the_reserve_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path)
    store.hold_reserve()
    write = module.write_durable

    def full(path: Path, body: bytes, private: bool = False) -> Path:
        if (tmp_path / "reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, body, private)

    monkeypatch.setattr(module, "write_durable", full)
    store.save(Journal(tries=3))
    assert store.load()[0].tries == 3
    monkeypatch.setattr(module, "write_durable", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        store.save(Journal(tries=4))
    assert store.load()[0].tries == 3


def test_history_says_each_outcome_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in (1, 2, 2, 1, 3):
        history.record(_outcome(number))
    assert [entry.number for entry in history.entries()] == [1, 2, 3]


def test_torn_line_is_left_out_and_does_not_hurt_the_next(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.record(_outcome(1))
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b'{"number": 2, "ord')
    history.record(_outcome(3))
    assert [entry.number for entry in history.entries()] == [1, 3]


def test_history_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    history = History(tmp_path, limit=1000)
    for number in range(1, 60):
        history.record(_outcome(number))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 2 * 1000 + 600
    assert [entry.number for entry in history.entries(2)] == [58, 59]
