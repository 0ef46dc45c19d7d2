"""The verdict on one look at the robot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.node.health import Check
from runtime.contract.node.health_answer import HealthAnswer, read_health
from runtime.updater.state.records import Baseline
from runtime.updater.state.release_folder import environment_text, files_of, quote, target_of
from runtime.updater.state.world import Observation, WorldError
from runtime.updater.transaction.judge import BAD, FATAL, GOOD, WAIT, baseline_of, judge
from runtime.updater.transaction.observe import observe
from tests.fakes.robots.robot_world import Behaviour, FakeWorld, digest, order, reference, variant

DARK = Check("camera", "stale", "nothing arrives")
SLOW = Check("latency", "warn", "p99 60 ms")
SLOWER = Check("latency", "error", "p99 900 ms")


def _seen(tmp_path: Path, behaviour: Behaviour, after_s: float = 10.0) -> Observation:
    world = FakeWorld(tmp_path)
    world.behaviour[reference("1")] = behaviour
    world.pull(reference("1"), lambda layer, state: None)
    folder = target_of(order("1")).folder
    world.write_release(folder, files_of(order("1")))
    world.compose_up(folder)
    world.sleep(after_s)
    return observe(order("1"), world, "")


@pytest.mark.parametrize(
    ("behaviour", "baseline", "level", "why"),
    [
        (Behaviour(), Baseline(), GOOD, ""),
        (Behaviour(ready_after_s=99), Baseline(), WAIT, "sign_text: loading"),
        (Behaviour(silent=True), Baseline(), WAIT, "does not answer"),
        (Behaviour(model="inactive"), Baseline(), WAIT, "sign_text: inactive"),
        (Behaviour(cosine=0.41), Baseline(), FATAL, "sign_text: self-test cosine 0.41 < 0.97"),
        (Behaviour(model="failed"), Baseline(), FATAL, "sign_text: failed"),
        (Behaviour(executor="crash_loop"), Baseline(), FATAL, "crash loop"),
        (Behaviour(exits=True), Baseline(), FATAL, "restarted 5 times (exit code 1)"),
        (Behaviour(key=digest("9")), Baseline(), FATAL, "runs engine sha256:999999999999"),
        (Behaviour(state="degraded", checks=(SLOW,)), Baseline(), GOOD, "latency: p99 60 ms"),
        (Behaviour(state="unhealthy", checks=(SLOWER,)), Baseline(), BAD, "latency: p99 900 ms"),
        (Behaviour(state="unhealthy"), Baseline(), BAD, "reports unhealthy without a failed check"),
        # what was wrong before does not count; what became worse does
        (
            Behaviour(state="unhealthy", checks=(DARK,)),
            Baseline(True, "unhealthy", {"camera": "stale"}),
            GOOD,
            "camera",
        ),
        (
            Behaviour(state="unhealthy", checks=(DARK,)),
            Baseline(True, "unhealthy", {"camera": "error"}),
            GOOD,
            "camera",
        ),
        (
            Behaviour(state="unhealthy", checks=(SLOWER,)),
            Baseline(True, "degraded", {"latency": "warn"}),
            BAD,
            "latency",
        ),
        (
            Behaviour(state="unhealthy", checks=(DARK, SLOWER)),
            Baseline(True, "unhealthy", {"camera": "stale"}),
            BAD,
            "latency: p99 900 ms",
        ),
        # a bad self-test is never excused
        (Behaviour(cosine=0.41), Baseline(True, "unhealthy", {"sign_text": "error"}), FATAL, "self-test"),
    ],
)
def test_verdicts(tmp_path: Path, behaviour: Behaviour, baseline: Baseline, level: str, why: str) -> None:
    verdict = judge(_seen(tmp_path, behaviour), baseline, variant("1"))
    assert verdict.level == level, verdict
    assert why in verdict.why


def test_another_image_is_fatal_however_well_it_is(tmp_path: Path) -> None:
    verdict = judge(_seen(tmp_path, Behaviour()), Baseline(), variant("2"))
    assert verdict.level == FATAL
    assert verdict.why == f"the container runs {reference('1')}, not {reference('2')}"


def test_no_container_and_an_unreadable_report_wait(tmp_path: Path) -> None:
    nothing = judge(Observation(), Baseline(), variant("1"))
    assert (nothing.level, nothing.reasons) == (WAIT, ("no runtime container exists",))
    seen = replace(_seen(tmp_path, Behaviour()), health=read_health('{"schema": 99}'))
    unread = judge(seen, Baseline(), variant("1"))
    assert "newer than this program understands" in unread.why
    assert not unread.silent, "the agent answers"
    assert judge(replace(seen, health=HealthAnswer(error="refused")), Baseline(), variant("1")).silent


def test_a_model_that_the_release_does_not_have_is_fatal(tmp_path: Path) -> None:
    verdict = judge(_seen(tmp_path, Behaviour()), Baseline(), variant("1", engines=()))
    assert (verdict.level, verdict.why) == (FATAL, "sign_text: runs, but the release does not have it")


def test_baseline_holds_what_is_not_ok(tmp_path: Path) -> None:
    seen = _seen(tmp_path, Behaviour(state="unhealthy", checks=(DARK, Check("disk", "ok", "fine"))))
    assert baseline_of(seen) == Baseline(True, "unhealthy", {"camera": "stale"})
    for unread in (Observation(health=HealthAnswer(error="silent")), replace(seen, health=read_health("{}"))):
        assert baseline_of(unread) == Baseline()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", "''"),
        ("a b", "'a b'"),
        ("$X", "'$X'"),
        ('"', "'\"'"),
        ("it's", '"it\'s"'),
        ("a\\b", "'a\\b'"),
        ("ü#", "'ü#'"),
    ],
)
def test_values_are_quoted_so_that_they_stay_literal(value: str, written: str) -> None:
    assert quote("A", value) == written


@pytest.mark.parametrize(
    ("name", "value"),
    [("A", "a\nb"), ("A", "a\0"), ("A", "a\\"), ("A", "it's $5"), ("A", "'\""), ("", "x"), ("A=B", "x")],
)
def test_what_no_quoting_keeps_safe_is_refused(name: str, value: str) -> None:
    with pytest.raises(WorldError):
        quote(name, value)


def test_environment_is_sorted_and_says_nothing_of_the_version() -> None:
    values: dict[str, Any] = {"B": "2", "A": "1"}
    assert environment_text(values) == "A='1'\nB='2'\n"
    one, two = (files_of(order("1", version=version))[".env"].content for version in ("1.0.0", "2.0.0"))
    assert one == two
    assert "JETFLEET_RELEASE" not in one
