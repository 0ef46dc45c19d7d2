"""Says by name which tests a marker expression left out: pytest counts them, and with workers not even that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

KEY = "jetfleet_left_out"
"""In what a worker hands to the process that prints."""


class LeftOut:
    """Takes down what was not chosen. One in each process; the one that prints has what its workers took down."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.names: set[str] = set()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        if self._config.getoption("markexpr"):  # -k and the like: whoever types a name knows what is not meant
            self.names.update(item.nodeid for item in items)

    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[KEY] = sorted(self.names)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.names.update(getattr(node, "workeroutput", {}).get(KEY, ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.names and not hasattr(self._config, "workerinput"):
            terminalreporter.section(f"left out by -m {self._config.getoption('markexpr')!r}: {len(self.names)} tests")
            for line in lines(self.names):
                terminalreporter.write_line(line)


def lines(names: Iterable[str]) -> list[str]:
    """Return one line for each test function, with how often it would have run where it has parameters."""
    functions = Counter(name.partition("[")[0] for name in names)
    return [f"{name} ({count} times)" if count > 1 else name for name, count in sorted(functions.items())]
