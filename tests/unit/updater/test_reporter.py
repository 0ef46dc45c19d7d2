"""When a robot reports: on every change, each `report_s`, and again while the hub is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.pull_settings import PULL_FILE, PullSettings
from runtime.updater.daemon.reporter import Reporter
from tests.unit.updater.robot import Robot


class Reporting:
    """A robot, its reporter, and a hub that answers as it is told."""

    def __init__(self, root: Path, hub: str = "https://hub.test") -> None:
        self.robot = Robot(root)
        self.now = 0.0
        self.answer: dict[str, Any] = {"sent": True, "waiting": 0}
        self.sent: list[bytes] = []
        self.problems: list[str] = []
        self.reporter = Reporter(root, self.robot.updater, self.ask, self.problems.append, lambda: self.now)
        settings = PullSettings("warehouse", "amr-001", "https://registry.test", "warehouse", hub=hub, report_s=300.0)
        (root / PULL_FILE).write_bytes(canonical_json(settings))

    def ask(self, words: list[str], given: bytes | None) -> dict[str, Any]:
        assert words[0] == "report"
        self.sent.append(given or b"")
        return self.answer

    def after(self, seconds: float) -> int:
        """Let time pass; return how many reports that made."""
        before = len(self.sent)
        self.now += seconds
        self.reporter.round()
        return len(self.sent) - before


@pytest.fixture
def reports(tmp_path: Path) -> Reporting:
    return Reporting(tmp_path)


def test_it_reports_at_its_start_at_every_change_and_each_report_s(reports: Reporting) -> None:
    assert reports.after(0.0) == 1
    assert from_json(Attestation, reports.sent[0]).state.state == "idle"
    assert reports.after(299.0) == 0
    assert reports.after(2.0) == 1
    reports.reporter.changed()
    assert reports.after(1.0) == 1
    assert reports.after(1.0) == 0
    assert reports.problems == ["", "", ""]


def test_while_the_hub_is_away_what_waits_is_handed_over_again_and_no_new_report_is_made(reports: Reporting) -> None:
    reports.answer = {"failed": "the hub hub.test: refused", "hint": ""}
    assert reports.after(0.0) == 1
    assert reports.after(1.0) == 0
    assert reports.after(15.0) == 1
    assert reports.sent[-1] == b"", "the queue, on disk"
    assert reports.problems[-1] == "the hub hub.test: refused"
    reports.answer = {"sent": True, "waiting": 3}
    assert reports.after(60.0) == 1
    assert reports.after(0.1) == 1, "more waits"


def test_a_hub_that_asks_for_patience_gets_it(reports: Reporting) -> None:
    reports.answer = {"failed": "fewer", "hint": "", "after_s": 200.0}
    assert reports.after(0.0) == 1
    assert reports.after(190.0) == 0
    assert reports.after(11.0) == 1


def test_a_machine_that_reports_under_the_same_name_is_said_and_a_new_disk_is_not(reports: Reporting) -> None:
    reports.answer = {"sent": True, "waiting": 0, "renumbered": True}
    reports.after(0.0)
    assert reports.problems[-1] == ""
    reports.after(301.0)
    assert "another machine reports with its name and host key" in reports.problems[-1]
    reports.answer = {"sent": True, "waiting": 0, "renumbered": False}
    reports.after(301.0)
    assert reports.problems[-1] == ""


def test_without_a_hub_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert Reporting(tmp_path, hub="").after(1000.0) == 0


def test_a_defect_is_said_and_the_thread_lives(reports: Reporting, capsys: pytest.CaptureFixture[str]) -> None:
    reports.reporter._ask = None  # type: ignore[assignment]
    assert reports.reporter._safe_round() > 0.0
    assert "a defect of the updater" in reports.problems[-1]
    assert "Traceback" in capsys.readouterr().err
