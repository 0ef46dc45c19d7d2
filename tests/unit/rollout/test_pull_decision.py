"""What is signed next for robots that pull: 500 of them through the stages, and every standing of one robot. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fleet.manifest.schema.manifest_schema import Rollout
from fleet.plan.diff import Action, RobotChange
from fleet.plan.waves import plan_waves
from fleet.ports import RobotAddress
from fleet.resolve.desired import DesiredRobot
from fleet.rollout.gate import Outcome
from fleet.rollout.pull import decision
from fleet.rollout.pull.decision import Decision, decide
from fleet.rollout.pull.stages import Wishes, last_stage, make_plan, stages_of, waves_of
from fleet.rollout.pull.standing import Look, Patience, look_at
from fleet.rollout.result import RobotResult
from fleet.signing.reports import FORGED, NONE, STALE, UNASKED, VERIFIED, ReportVerdict
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import PullState, Report
from runtime.contract.robot.desired import REST, REVERTING, RUNNING, Desired, RolloutPlan, Stage, stage_of
from runtime.contract.robot.desired_rules import Followed
from runtime.contract.robot.orders import order_id_of
from runtime.contract.robot.update import RunningRelease, UpdateState
from tests.fakes.robots.rollout_site import release

NOW = 1_800_000_000
RELEASE = "sha256:" + "a" * 64
POLICY = Rollout.model_validate({})


def robots(count: int) -> list[DesiredRobot]:
    return [
        DesiredRobot(f"r{n:03}", RobotAddress(f"r{n:03}", "", 22, "x"), None, {"site": f"s{n % 7}"}, "sim-a", {}, None)
        for n in range(count)
    ]


def change(name: str, action: Action = Action.UPDATE) -> RobotChange:
    return RobotChange(name, action, "1.0.0", "sim-a", "1.1.0", "sim-a")


def plan_of(stages: tuple[Stage, ...], changes: list[RobotChange]) -> RolloutPlan:
    return make_plan(
        "warehouse", "1.1.0", RELEASE, stages, changes, rollout_id="r-1", now=NOW, lasts_s=1e9, wishes=Wishes()
    )


def followed(plan: RolloutPlan, stage: int, standing: str = RUNNING) -> Followed:
    return Followed(Desired("warehouse", NOW, "r-1", "sha256:", stage, standing, NOW, NOW + 86400.0), plan)


# ── stages ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stages_are_the_waves_of_ssh_rollouts() -> None:
    everyone = robots(500)
    stages = stages_of(everyone, [change(robot.name) for robot in everyone], POLICY)
    waves = plan_waves(everyone, set(), POLICY)
    assert [stage.robots for stage in stages] == [tuple(robot.name for robot in wave.robots) for wave in waves]
    assert [len(stage.robots) for stage in stages] == [1, 49, 200, 250]


def test_every_robot_is_in_one_stage_and_who_is_away_or_unverified_in_the_last() -> None:
    everyone = robots(40)
    actions = [Action.OFFLINE, Action.BOOTSTRAP, Action.ERROR, Action.RECORD, *[Action.UPDATE] * 36]
    stages = stages_of(everyone, [change(r.name, a) for r, a in zip(everyone, actions, strict=True)], POLICY, ["x"])
    assert sorted(name for stage in stages for name in stage.robots) == ["r" + f"{n:03}" for n in range(40)] + ["x"]
    assert stages[-1] == Stage(("x",), False, REST)
    assert stages[-2].robots == ("r000", "r001", "r002")
    assert (stages[-3].robots, stages[-3].records) == (("r003",), True)
    assert stages[-2].wave == stages[-3].wave, "judged together, and no stage of their own"
    assert stages[0].robots == ("r004",)


def test_max_unavailable_splits_a_wave_and_its_approval_is_asked_once() -> None:
    everyone = robots(21)
    policy = Rollout.model_validate(
        {"waves": [{"to": "100%", "approve": True}], "max_unavailable": {"per": "site", "robots": 1}}
    )
    stages = stages_of(everyone, [change(robot.name) for robot in everyone], policy)
    assert [len(stage.robots) for stage in stages] == [7, 7, 7]
    assert [stage.approve for stage in stages] == [True, False, False]
    assert waves_of(plan_of(stages, [])) == [(1, 2, 3)]


# ── a whole rollout ──────────────────────────────────────────────────────────────────────────────────────────────


def test_five_hundred_robots_come_in_order_and_those_that_fail_within_the_share_stop_nothing() -> None:
    everyone = robots(500)
    names = [robot.name for robot in everyone]
    policy = Rollout.model_validate({"success": "95%"})
    plan = plan_of(stages_of(everyone, [change(name) for name in names], policy), [])
    bad = {name for at, name in enumerate(names) if at % 25 == 24}
    away = set(names[-30:])
    ended: dict[str, RobotResult] = {}
    stage, steps = 0, 0
    while (found := decide(followed(plan, stage), look(ended, plan, stage, away), names, policy)).kind != decision.END:
        steps += 1
        assert steps < 2000
        if found.kind == decision.ADVANCE:
            assert found.stage == stage + 1
            stage = found.stage
            continue
        assert found.kind == decision.WAIT, found.reason
        open_now = [name for name in names if stage_of(plan, name) <= stage and name not in ended and name not in away]
        for name in open_now[:20]:
            ended[name] = RobotResult(name, Outcome.REVERTED if name in bad else Outcome.COMMITTED)
    assert stage == last_stage(plan)
    assert found.result.counts == {"committed": 500 - 30 - len(bad - away), "reverted": len(bad - away), "offline": 30}


def look(ended: dict[str, RobotResult], plan: RolloutPlan, stage: int, away: set[str]) -> Look:
    reached = [name for number in range(stage) for name in plan.stages[number].robots]
    offline = {name: RobotResult(name, Outcome.OFFLINE) for name in reached if name in away}
    return Look({**ended, **offline}, {name: "at it" for name in reached if name not in ended and name not in away})


def judged(outcomes: dict[str, Outcome], *, stage: int = 1, at_work: tuple[str, ...] = (), **policy: Any) -> Decision:
    plan = plan_of((Stage(("a", "b", "c", "d")), Stage(("e",))), [])
    ended = {name: RobotResult(name, outcome) for name, outcome in outcomes.items()}
    seen = Look(ended, dict.fromkeys(at_work, "at it"))
    return decide(followed(plan, stage), seen, ["a", "b", "c", "d", "e"], Rollout.model_validate(policy))


C, R, L, D, AWAY = Outcome.COMMITTED, Outcome.REVERTED, Outcome.LOST, Outcome.DEFERRED, Outcome.OFFLINE


@pytest.mark.parametrize(
    ("outcomes", "at_work", "policy", "kind"),
    [
        ({"a": C, "b": C, "c": C}, ("d",), {}, decision.WAIT),
        ({"a": C, "b": C, "c": C, "d": C}, (), {}, decision.ADVANCE),
        ({"a": C, "b": C, "c": C, "d": AWAY}, (), {}, decision.ADVANCE),
        ({"a": C, "b": D, "c": D, "d": AWAY}, (), {}, decision.ADVANCE),
        ({"a": R}, ("b", "c", "d"), {}, decision.TAKE_BACK),
        ({"a": R}, ("b", "c", "d"), {"on_failure": "stop"}, decision.STOP),
        ({"a": R, "b": C, "c": C, "d": C}, (), {"success": "75%"}, decision.ADVANCE),
        ({"a": R}, ("b", "c", "d"), {"success": "75%"}, decision.WAIT),
        ({"a": R, "b": R}, ("c", "d"), {"success": "75%"}, decision.TAKE_BACK),
        ({"a": AWAY, "b": AWAY, "c": AWAY, "d": AWAY}, (), {}, decision.STALLED),
        ({"a": D, "b": D, "c": D, "d": D}, (), {}, decision.STALLED),
        ({"a": L, "b": C, "c": C, "d": C}, (), {}, decision.STOP),
        ({"a": L, "b": C, "c": C, "d": C}, (), {"lost": {"then": "revert"}}, decision.TAKE_BACK),
        ({"a": L, "b": C, "c": C, "d": C}, (), {"lost": {"at_most": "20%"}}, decision.ADVANCE),
    ],
)
def test_the_gate_of_ssh_rollouts_decides(
    outcomes: dict[str, Outcome], at_work: tuple[str, ...], policy: dict[str, Any], kind: str
) -> None:
    assert judged(outcomes, at_work=at_work, **policy).kind == kind


def test_a_later_wave_of_which_all_are_away_holds_nobody() -> None:
    proven = dict.fromkeys("abcd", C)
    assert judged({**proven, "e": AWAY}, stage=2).kind == decision.END
    assert judged({**proven, "e": R}, stage=2).kind == decision.TAKE_BACK


def test_a_robot_that_could_not_be_verified_says_nothing_about_the_release() -> None:
    plan = plan_of((Stage(("a", "b")),), [])
    ended = {"a": RobotResult("a", C), "b": RobotResult("b", Outcome.REFUSED, "forged", tried=False)}
    found = decide(followed(plan, 1), Look(ended), ["a", "b"], POLICY)
    assert found.kind == decision.END
    error = found.result.error()
    assert error is not None
    assert "1 robots cannot take orders: b: forged" in error.message


# ── one robot ────────────────────────────────────────────────────────────────────────────────────────────────────

DOCUMENT = release("1.1.0", {"a": "x"})
PLAN = plan_of((Stage(("a",)),), [])
ORDER = order_id_of("1.1.0", "r-1")
PATIENCE = Patience(900.0, 600.0)


def running(digest: str) -> RunningRelease:
    return RunningRelease("1.1.0", digest, "sim-x", "image", "folder")


def one(
    state: UpdateState | None,
    *,
    standing: str = VERIFIED,
    age_s: float = 5.0,
    pull: PullState | None = None,
    now: float = NOW + 10.0,
    statement: str = RUNNING,
    problem: str = "a problem",
) -> tuple[str, str]:
    said = None if state is None else Report("warehouse", "a", 1, now - age_s, Attestation(state), pull)
    verdict = ReportVerdict("a", standing, "" if standing == VERIFIED else problem, said)
    found = look_at(followed(PLAN, 1, statement), DOCUMENT, {"a": verdict}, PATIENCE, now)
    if "a" in found.at_work:
        return "at work", found.at_work["a"]
    return found.ended["a"].outcome.value, found.ended["a"].reason


def state(name: str = "idle", **more: Any) -> UpdateState:
    return UpdateState("a", name, "1.0", **more)


FOLLOWS = PullState(generation=NOW, rollout_id="r-1", stage=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"state": None, "standing": UNASKED}, ("at work", "a problem")),
        ({"state": None, "standing": NONE}, ("offline", "a problem")),
        ({"state": None, "standing": FORGED}, ("refused", "a problem")),
        ({"state": state(), "standing": STALE}, ("offline", "a problem")),
        ({"state": state("fetching", order_id=ORDER), "standing": STALE}, ("at work", "fetching, a problem")),
        (
            {"state": state("probation", order_id=ORDER), "standing": STALE, "age_s": 1600.0},
            ("lost", "took its order, was probation, and then: a problem"),
        ),
        (
            {"state": state(order_id=ORDER, outcome="reverted", reason="bad"), "standing": STALE},
            ("reverted", "bad; a problem"),
        ),
        ({"state": state("fetching", progress="3 of 7 layers", order_id=ORDER)}, ("at work", "3 of 7 layers")),
        ({"state": state(order_id=ORDER, outcome="reverted", reason="bad")}, ("reverted", "bad")),
        ({"state": state(order_id=ORDER, outcome="strange")}, ("failed", "ended as strange")),
        (
            {"state": state(order_id=ORDER, outcome="committed", current=running("sha256:other"))},
            ("failed", "had committed, and runs another release now"),
        ),
        ({"state": state(), "pull": PullState()}, ("at work", "has not looked yet")),
        ({"state": state(), "pull": FOLLOWS}, ("at work", "is about to begin")),
        (
            {"state": state(), "pull": dataclasses.replace(FOLLOWS, held="not now: it drives")},
            ("deferred", "not now: it drives"),
        ),
        (
            {"state": state(), "pull": PullState(problem="no route"), "now": NOW + 2000.0},
            ("offline", "reports, and has not begun for 33 min: no route"),
        ),
        (
            {"state": state(), "now": NOW + 2000.0},
            ("offline", "reports, and has not begun for 33 min: it does not say that it pulls"),
        ),
        (
            {"state": state(order_id=ORDER, outcome="committed", current=running(RELEASE)), "statement": REVERTING},
            ("at work", "is to go back"),
        ),
        (
            {
                "state": state(order_id="x", outcome="reverted", reason="the rollout is taken back: y"),
                "statement": REVERTING,
            },
            ("rolled back", "the rollout is taken back: y"),
        ),
        ({"state": state(), "statement": REVERTING}, ("skipped", "the rollout ended before its turn")),
    ],
)
def test_one_robot_is_where_its_report_says(given: dict[str, Any], says: tuple[str, str]) -> None:
    assert one(given.pop("state"), **given) == says
