"""What a run prints before pytest's own last line: time by tier, and how much of it the machine computed."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import tiers

STAT = Path("/proc/stat")


def machine_busy_s() -> float | None:
    """Return the seconds for which the machine's processors have worked since boot, all added up; None if unknown."""
    try:
        numbers = STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except (OSError, IndexError):
        return None
    user, nice, system, _idle, _iowait, irq, soft, steal = map(int, numbers)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


@dataclass(eq=False)  # pluggy wants plugins that can be hashed
class TierReport:
    """Adds up what the reports say. One for a session, in the process that prints."""

    wall: Counter[str] = field(default_factory=Counter)
    """Seconds of set-up, call and teardown, by tier."""
    tests: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    busy: float | None = field(default_factory=machine_busy_s)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = tiers.tier(report.nodeid)
        self.wall[name] += report.duration
        self.tests[name] += report.when == "call" or (report.when == "setup" and not report.passed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.wall:
            return
        terminalreporter.section("time by tier")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> list[str]:
        """Return the table's lines."""
        lines = [f"{name:<10} {self.tests[name]:>5} tests {spent:>8.1f} s" for name, spent in self.wall.most_common()]
        lines.append(f"{'together':<10} {self.tests.total():>5} tests {self.wall.total():>8.1f} s, side by side")
        passed = time.monotonic() - self.started
        used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        lines.append(f"wall {passed:.1f} s, CPU of pytest and its children {used:.1f} s")
        now = machine_busy_s()
        if self.busy is not None and now is not None:
            cores = os.cpu_count() or 1
            busy = now - self.busy
            share = 100.0 * busy / max(passed * cores, 1e-9)
            lines.append(f"this machine computed {busy:.1f} s, {share:.0f} % of its {cores} processors")
        return lines
