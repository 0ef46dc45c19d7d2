from __future__ import annotations

import threading

import pytest

from fleet import parallel
from fleet.parallel import side_by_side


def test_results_come_in_order_and_all_are_counted() -> None:
    counts: list[int] = []
    assert side_by_side(lambda item: item * 2, range(50), workers=4, on_done=counts.append) == [*range(0, 100, 2)]
    assert counts[-1] == 50
    assert side_by_side(str, [], workers=4) == []


def test_nothing_begins_after_the_first_exception() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 7:
            raise ValueError(item)

    with pytest.raises(ValueError, match=r"^7$"):
        side_by_side(work, range(1000), workers=1)
    assert begun == [*range(8)]


def test_an_interruption_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "wait", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(lambda _item: silent.wait(30.0), [1, 2, 3], workers=1)
        assert not silent.is_set()
    finally:
        silent.set()
