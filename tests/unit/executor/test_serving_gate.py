"""Token and lock decide who serves; what cannot be read or held is told, and never lets two serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.executor.robot.serving_gate import ServingGate


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def gate(place: Path, slot: str = "") -> ServingGate:
    return ServingGate(slot, place / "active", place / "serving.lock")


def name(place: Path, word: str) -> None:
    (place / "active").write_text(word + "\n", encoding="ascii")


def test_without_a_token_the_first_one_serves_until_it_leaves(place: Path) -> None:
    one, other = gate(place), gate(place, "b")
    assert not one.refused, "nobody has asked yet"
    assert one.enter()
    assert one.enter()
    assert not other.enter()
    assert (one.refused, other.refused) == (False, True)
    assert other.waited
    assert "serving lock" in other.why_not
    one.leave()
    one.leave()
    assert other.enter()
    assert not other.refused
    assert not one.enter()


def test_the_token_takes_turns_and_the_lock_keeps_them_apart(place: Path) -> None:
    one, other = gate(place), gate(place, "b")
    name(place, "a")
    assert one.enter()
    assert not other.enter()
    assert other.why_not == "the token names another container than b"
    name(place, "b")
    assert not other.enter(), "the one that served has not left yet"
    assert not one.enter()
    assert one.held, "leaving is the node's, once its publishers are gone"
    one.leave()
    assert other.enter()
    assert other.held


def test_a_token_that_names_nobody_known_lets_nobody_serve(place: Path) -> None:
    name(place, "c")
    assert not gate(place).enter()
    (place / "active").write_bytes(b"\xff\xfe")
    assert not gate(place, "b").enter()


def test_a_token_that_cannot_be_read_any_more_holds_as_it_was(place: Path) -> None:
    name(place, "a")
    one, other = gate(place), gate(place, "b")
    assert not one.elsewhere
    assert other.elsewhere
    (place / "active").unlink()
    (place / "active").mkdir()
    assert not one.elsewhere
    assert other.elsewhere


def test_a_lock_file_that_was_put_anew_is_taken_anew(place: Path) -> None:
    one, other = gate(place), gate(place, "b")
    assert one.enter()
    (place / "serving.lock").unlink()
    assert other.enter()
    assert not one.enter(), "a lock on a file that is gone keeps nobody out"
    assert not one.held


def test_where_no_lock_can_be_held_the_one_that_is_named_serves_and_says_so(place: Path) -> None:
    one = ServingGate("", place / "active", place / "no" / "serving.lock")
    assert one.enter()
    assert not one.exclusive
    assert one.problem == f"the serving lock {place}/no/serving.lock cannot be held: No such file or directory"
    assert not one.expected, "by hand there is nobody who hands over"
    name(place, "b")
    assert not one.enter()
    assert one.expected


def test_the_environment_says_where_and_who(place: Path) -> None:
    environment = {"JETFLEET_SERVE_DIR": str(place), "JETFLEET_NODE_DIR": str(place), "JETFLEET_SLOT": "b"}
    name(place, "a")
    assert not ServingGate.from_environment(environment).enter()
    name(place, "b")
    second = ServingGate.from_environment(environment)
    assert second.enter()
    assert (place / "serving.lock").exists()
