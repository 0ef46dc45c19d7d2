"""What the holders of the serving lock published is dead for the next one, and for nobody with another lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.contract.node.serving import SERVING_RECORD
from runtime.executor.robot.serving_gate import ServingGate
from runtime.executor.robot.serving_record import KEPT, ServingRecord

LOCK = (1, 2)


def gate(place: Path, slot: str = "") -> ServingGate:
    """Executors of one container, one after the other."""
    (place / "serving.lock").touch()
    return ServingGate(slot, place / "active", place / "serving.lock", place)


def test_the_next_holder_knows_what_the_earlier_ones_had(tmp_path: Path) -> None:
    first, second, third = gate(tmp_path), gate(tmp_path, "b"), gate(tmp_path)
    assert first.enter()
    first.remember([b"one"])
    assert first.gone == frozenset(), "its own live"
    first.leave()
    assert second.enter()
    assert second.gone == {b"one"}
    second.remember([b"two"])
    second.leave()
    assert second.gone == frozenset(), "without the lock nothing is proven"
    assert third.enter()
    assert third.gone == {b"one", b"two"}


def test_without_the_lock_nothing_is_written_down(tmp_path: Path) -> None:
    one, other = gate(tmp_path), gate(tmp_path, "b")
    assert one.enter()
    assert not other.enter()
    other.remember([b"other"])
    one.leave()
    assert one.enter()
    assert one.gone == frozenset()


def test_a_lock_that_is_put_in_place_of_another_proves_nothing_of_its_holder(tmp_path: Path) -> None:
    """Somebody removed the file: both may hold a lock now, and the first one's publishers live."""
    one, other = gate(tmp_path), gate(tmp_path, "b")
    assert one.enter()
    one.remember([b"one"])
    kept = (tmp_path / "serving.lock").open()  # its inode is not given to another file meanwhile
    (tmp_path / "serving.lock").unlink()
    (tmp_path / "serving.lock").touch()
    assert other.enter()
    assert other.gone == frozenset()
    other.leave()
    assert one.enter()
    assert one.gone == frozenset()
    one.leave()
    assert other.enter()
    assert other.gone == {b"one"}, "it was written down for the new lock too"
    kept.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lock": [1, 2]}', '{"lock": [1, 2], "gids": ["x"]}', "\xff"])
def test_what_cannot_be_read_proves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / SERVING_RECORD).write_bytes(text.encode("latin-1"))
    record = ServingRecord(tmp_path / SERVING_RECORD)
    assert record.read(LOCK) == frozenset()
    record.add(LOCK, [b"one"])
    assert record.read(LOCK) == {b"one"}


def test_it_does_not_grow_without_bound(tmp_path: Path) -> None:
    record = ServingRecord(tmp_path / SERVING_RECORD)
    for number in range(KEPT + 10):
        record.add(LOCK, [number.to_bytes(16, "big")])
    assert len(record.read(LOCK)) == KEPT
    assert (KEPT + 9).to_bytes(16, "big") in record.read(LOCK)


def test_a_record_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    one = gate(tmp_path)
    assert one.enter()
    (tmp_path / SERVING_RECORD).mkdir()
    one.remember([b"one"])
    assert "velocity publishers cannot be stored in" in one.record_problem
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(f"{SERVING_RECORD}.")] == []
