"""Token and lock decide who serves; what cannot be read or held is told, and never lets two serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.executor.robot.serving_gate import ServingGate


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Token and lock are root's; each container has a folder of its own."""
    (tmp_path / "serving.lock").touch()
    for slot in "ab":
        (tmp_path / slot).mkdir()
    return tmp_path


def gate(place: Path, slot: str = "") -> ServingGate:
    return ServingGate(slot, place / "active", place / "serving.lock", place / (slot or "a"))


def put_anew(place: Path) -> None:
    (place / "serving.lock").unlink()
    (place / "serving.lock").touch()


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
    put_anew(place)
    assert other.enter()
    assert not one.enter(), "a lock on a file that is gone keeps nobody out"
    assert not one.held


def test_where_no_lock_can_be_held_the_one_that_is_named_serves_and_says_so(place: Path) -> None:
    (place / "serving.lock").unlink()
    name(place, "a")
    one = gate(place)
    assert one.enter()
    assert (one.exclusive, one.expected) == (False, True)
    assert one.problem == f"the serving lock {place}/serving.lock cannot be held: No such file or directory"
    assert list((place / "a").iterdir()) == [], "a lock of its own would keep nobody out"
    name(place, "b")
    assert not one.enter()


def test_by_hand_the_lock_is_in_the_container_s_own_folder_until_there_is_one_of_the_host_s(place: Path) -> None:
    (place / "serving.lock").unlink()
    one = gate(place)
    other = ServingGate("b", place / "active", place / "serving.lock", place / "a")
    assert one.enter()
    assert not other.enter()
    assert (one.exclusive, one.expected) == (True, False)
    (place / "serving.lock").touch()
    assert one.enter()
    third = gate(place, "b")
    assert not third.enter(), "the host's lock is held now, not the one of before"


def test_a_container_cannot_name_another_one_s_publishers(place: Path) -> None:
    """It would name a teleoperation that lives, and the next one would command beside it."""
    one, other, again = gate(place), gate(place, "b"), gate(place)
    assert one.enter()
    one.remember([b"one"])
    one.leave()
    assert other.enter()
    assert other.gone == frozenset()
    other.leave()
    assert again.enter()
    assert again.gone == {b"one"}, "an executor that is started again in the same container"


def test_the_lock_is_one_that_a_container_only_reads(place: Path) -> None:
    (place / "serving.lock").chmod(0o444)
    assert gate(place).enter()
    assert not gate(place, "b").enter()


def test_the_environment_says_where_and_who(place: Path) -> None:
    environment = {"JETFLEET_SERVE_DIR": str(place), "JETFLEET_NODE_DIR": str(place / "b"), "JETFLEET_SLOT": "b"}
    name(place, "a")
    assert not ServingGate.from_environment(environment).enter()
    name(place, "b")
    second = ServingGate.from_environment(environment)
    assert second.enter()
    assert not gate(place).enter()
