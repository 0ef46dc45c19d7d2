"""Whatever a container, a registry or an order says: the daemon goes on, and the order ends in a sentence."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.health_answer import read_health
from runtime.contract.node.resources import ENV_INHIBIT, InhibitPolicy, InhibitRule
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import Proof, Signed, TrustSettings, document_digest
from runtime.updater.robot.update_lock import take
from runtime.updater.state.lock_answer import HELD, SILENT
from runtime.updater.state.world import ContainerFacts, Observation, WorldError
from runtime.updater.transaction.judge import baseline_of, judge, judge_standby
from tests.fakes.robots.robot_world import order, reference, variant
from tests.unit.updater.robot import Robot

DEEP, LONG = "[" * 100_000, "1" + "0" * 400
REPORTS = {
    "too deep": DEEP,
    "objects in objects": '{"a":' * 50_000,
    "a number of 400 digits": '{"schema":1,"robot":"a","state":"ok","live":true,"ready":true,"uptime_s":' + LONG + "}",
    "half a surrogate pair": '{"schema":1,"robot":"\\ud800","state":"ok","live":true,"ready":true,"uptime_s":1}',
    "a key twice": '{"state":"ok","state":"unhealthy"}',
    "NaN": '{"schema":1,"robot":"a","state":"ok","live":true,"ready":true,"uptime_s":NaN}',
    "nothing": "",
    "no object": "[1]",
}
INHIBIT = {ENV_INHIBIT: canonical_json(InhibitPolicy((InhibitRule("bool", "/x"),))).decode()}


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


@pytest.mark.parametrize("said", REPORTS.values(), ids=REPORTS)
def test_a_new_release_whose_agent_talks_rubbish_is_sent_back(robot: Robot, said: str) -> None:
    robot.on("a")
    real = robot.world.report

    def report(port: int, slot: str = "") -> str:
        runs = robot.world.runs
        return said if runs is not None and runs.image == reference("b") else real(port, slot)

    robot.world.report = report  # type: ignore[method-assign]
    state = robot.run(order("b"))
    assert state.outcome == "reverted", state
    assert "cannot be read" in state.reason
    robot.assert_whole()


@pytest.mark.parametrize("said", REPORTS.values(), ids=REPORTS)
def test_an_old_release_that_talks_rubbish_does_not_keep_the_new_one_out(robot: Robot, said: str) -> None:
    robot.on("a")
    real = robot.world.report

    def report(port: int, slot: str = "") -> str:
        runs = robot.world.runs
        return said if runs is not None and runs.image == reference("a") else real(port, slot)

    robot.world.report = report  # type: ignore[method-assign]
    assert robot.run(order("b")).outcome == "committed"
    robot.assert_whole()


@pytest.mark.parametrize(
    "words",
    [
        b"[" * 60_000,
        b'{"boot_s": 1' + b"0" * 400 + b', "pid": 1}',
        b'{"boot_s":1,"pid":1,"reasons":["\\ud800"]}',
        b"\xff",
    ],
    ids=["too deep", "a long number", "half a surrogate pair", "no text"],
)
def test_a_lock_file_that_is_none_is_silence(tmp_path: Path, words: bytes) -> None:
    path = tmp_path / "update.lock"
    path.write_bytes(words)
    answer, held = take(True, path, now=1.0)
    assert (answer.state, held) == (SILENT, None)
    assert "cannot be read" in answer.reasons[0]


def test_what_is_no_file_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    for make in (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/etc/passwd")):
        make()
        answer, held = take(True, path, now=1.0)
        assert (answer.state, answer.reasons, held) == (SILENT, (f"{path} is not a file",), None)
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_lock_s_reasons_are_few_short_and_text(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    reasons = ["\x1b]52;c;eA==\x07" + "x" * 5000, "a\nb", *["y"] * 100]
    path.write_text(json.dumps({"boot_s": 10.0, "pid": 1, "reasons": reasons}))
    answer, _ = take(True, path, now=10.0)
    assert answer.state == HELD
    assert len(answer.reasons) == 8
    assert all(reason.isprintable() and len(reason) <= 1000 for reason in answer.reasons)
    assert answer.reasons[1] == "a b"


def test_a_report_s_words_and_numbers_fit_the_journal() -> None:
    report: dict[str, Any] = {
        "schema": 1, "time": 1.0, "image": reference("b"),
        "robot": "a", "state": "unhealthy\x1b[2J", "live": True, "ready": False, "uptime_s": 1.0,
        "release": "", "models": [], "system": {}, "runtime_version": "1",
        "executor": {"state": "up\x9b", "pid": 1, "restarts": 10**19, "lifecycle": "active"},
        "checks": [{"name": f"camera {n}\u202e", "level": "error\x07", "message": "m" * 5000} for n in range(500)],
    }  # fmt: skip
    container = ContainerFacts("c", "i", reference("b"), "running", "", 0, 0)
    health = read_health(json.dumps(report))
    assert health.report is not None, health.error
    seen = Observation(container, (reference("b"),), health)
    baseline = baseline_of(seen)
    verdict = judge(seen, replace(baseline, checks={}), variant("b"))
    assert verdict.why.isprintable()
    assert len(verdict.why) <= 1000
    assert verdict.restarts <= 10**9
    assert judge_standby(seen, variant("b")).why.isprintable()
    for text in (baseline.state, *baseline.checks, *baseline.checks.values()):
        assert text.isprintable()
    assert len(baseline.checks) <= 200


STEPS = (
    "image", "engine", "hardware", "disk", "trust", "fetch", "keep_image", "write_release", "compose_image",
    "container", "report", "take_update_lock", "compose_up", "set_links", "set_serving", "serving", "releases",
    "prune_store",
)  # fmt: skip
DEFECTS = (
    RecursionError("deep"),
    OverflowError("int too large"),
    KeyError("Id"),
    "\ud800".encode,
    OSError(5, "I/O error"),
)


@pytest.mark.parametrize("where", STEPS)
def test_a_defect_in_a_step_is_a_failed_step_and_the_daemon_goes_on(robot: Robot, where: str) -> None:
    """Once or for ever, before or after the switch: the order ends, and the next good one still gets in."""
    robot.on("a")
    real = getattr(robot.world, where)
    for number, defect in enumerate(DEFECTS):
        left = [3 if number % 2 else 9]

        def broken(*arguments: Any, defect: Any = defect, left: list[int] = left) -> Any:
            if left[0] > 0:
                left[0] -= 1
                if isinstance(defect, Exception):
                    raise defect
                return defect("utf-8")
            return real(*arguments)

        setattr(robot.world, where, broken)
        robot.updater.submit(order("b", order_id=f"order-{number}", force=True))
        state = robot.drive()
        assert state.outcome in ("committed", "refused", "reverted", "failed", "deferred")
        assert state.outcome == "committed" or state.reason
        setattr(robot.world, where, real)
        assert robot.run(order("a", order_id=f"back-{number}", force=True)).outcome == "committed"
        robot.assert_whole()


def test_a_reason_that_cannot_be_written_down_is_written_down_without_it(robot: Robot) -> None:
    robot.on("a")
    robot.world.fail("compose_up", WorldError("compose says \ud800\x1b[2J", transient=False))
    state = robot.run(order("b"))
    assert state.outcome == "reverted"
    assert "compose says \ufffd\ufffd[2J" in state.reason
    robot.assert_whole()


class TestUnsigned:
    """An order that nobody signed: none of it is decoded."""

    @pytest.fixture
    def robot(self, tmp_path: Path) -> Robot:
        robot = Robot(tmp_path)
        robot.world.settings = TrustSettings("warehouse", threshold=2)
        return robot

    @pytest.mark.parametrize("document", [DEEP, LONG, "{}", '"\\ud800"'], ids=["deep", "long", "empty", "half"])
    @pytest.mark.parametrize("statement", ["", DEEP, '{"issued_at":' + LONG + "}"], ids=["fitting", "deep", "long"])
    def test_is_refused_for_its_signatures(
        self, robot: Robot, document: str, statement: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = {"kind": "release", "fleet": "warehouse", "version": "1.11.0", "document": document_digest(document)}
        text = statement or json.dumps({**words, "issued_at": 1, "expires_at": 2e9})
        monkeypatch.setattr("runtime.updater.transaction.trust.from_json", _never)
        for signed in (Signed(text), Signed(text, ("x", "y"))):
            for rollback in (None, Signed(text, ("x",))):
                proof = Proof(document, signed, rollback)
                robot.updater.submit(order("b", order_id=f"{len(signed.signatures)}{rollback}"[:9], proof=proof))
                state = robot.drive()
                assert state.outcome == "refused"
                assert "signed by 0 of 2" in state.reason


def _never(*_: Any) -> Any:
    raise AssertionError("decoded before it was verified")


def test_the_lock_s_words_end_nothing_on_their_way_through_the_transaction(robot: Robot) -> None:
    old = order("a", order_id="old", environment=INHIBIT)
    assert robot.run(old).outcome == "committed"
    path = robot.root / "update.lock"
    path.write_bytes(b"[" * 60_000)
    robot.world.take_update_lock = lambda declared: take(declared, path, time.time())[0]  # type: ignore[method-assign]
    state = robot.run(order("b", environment=INHIBIT, switch=SwitchRules(wait_s=5.0)))
    assert state.outcome == "deferred"
    assert "cannot be read" in state.reason
    robot.assert_whole()
