"""What a marker leaves out is named, once for a test function, also when workers left it out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.harness.left_out import KEY, LeftOut, lines


def config(markexpr: str, **more: Any) -> Any:
    return SimpleNamespace(getoption=lambda _: markexpr, **more)


def items(*names: str) -> Any:
    return [SimpleNamespace(nodeid=name) for name in names]


def test_a_function_is_one_line() -> None:
    assert lines(["a.py::t[1]", "b.py::u", "a.py::t[2]"]) == ["a.py::t (2 times)", "b.py::u"]


def test_a_worker_hands_over_what_its_marker_left_out() -> None:
    worker = LeftOut(config("not docker", workeroutput={}, workerinput={}))
    worker.pytest_deselected(items("a.py::t"))
    worker.pytest_sessionfinish()
    printing = LeftOut(config("not docker"))
    printing.pytest_testnodedown(SimpleNamespace(workeroutput=worker._config.workeroutput))
    printing.pytest_testnodedown(SimpleNamespace())  # one that crashed hands over nothing
    assert printing.names == {"a.py::t"}
    assert worker._config.workeroutput == {KEY: ["a.py::t"]}


def test_what_was_asked_for_by_name_is_not_reported() -> None:
    one = LeftOut(config(""))
    one.pytest_deselected(items("a.py::t"))
    assert one.names == set()
