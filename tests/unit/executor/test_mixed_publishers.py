"""Who is mixed on a topic, and who was only replaced."""

from __future__ import annotations

from runtime.executor.inputs.mixed_publishers import MAX_PUBLISHERS, WINDOW_S, MixedPublishers


def after(order: str, step_s: float = 0.05) -> tuple[MixedPublishers, float]:
    one = MixedPublishers()
    for index, name in enumerate(order):
        one.heard(name.encode(), index * step_s)
    return one, (len(order) - 1) * step_s


def test_one_alone_and_one_that_was_replaced_are_not_mixed() -> None:
    for order in ("a", "aaaa", "aaabbb", "aaabbbccc"):
        one, now = after(order)
        assert one.mixed(now) == (), order


def test_those_that_are_heard_in_turn_are_mixed_until_one_is_gone() -> None:
    one, now = after("aabab")
    assert set(one.mixed(now)) == {b"a", b"b"}
    assert set(after("abcabc")[0].mixed(0.3)) == {b"a", b"b", b"c"}
    for step in range(1, 200):
        one.heard(b"b", now + step * 0.05)
    assert one.mixed(now + WINDOW_S + 0.1) == ()


def test_one_that_comes_back_much_later_was_replaced_twice() -> None:
    one, now = after("aaab")
    one.heard(b"a", now + WINDOW_S + 1.0)
    assert one.mixed(now + WINDOW_S + 1.0) == ()


def test_memory_is_bounded() -> None:
    one = MixedPublishers()
    for index in range(MAX_PUBLISHERS * 4):
        one.heard(index.to_bytes(2, "big"), 0.0)
    assert len(one._heard) == MAX_PUBLISHERS
