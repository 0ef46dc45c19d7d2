from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from fleet.plan.diff import Action, changed_since, counts, make_plan, robot_change, runtime_recipes
from fleet.plan.observed import Observed
from fleet.plan.registry_facts import RegistryFacts
from fleet.resolve.desired import Desired
from runtime.contract.engine.build import DeviceFacts
from runtime.contract.robot.release import Probation, ReleaseDocument, ReleaseVariant
from runtime.contract.robot.update import RunningRelease, UpdateState
from tests.unit.plan.conftest import DesiredFrom


def running(name: str, version: str, variant: str, state: str = "idle", progress: str = "") -> Observed:
    current = RunningRelease(version, "sha256:aa", variant, f"registry/x@sha256:{variant}", "/releases/aa")
    return Observed(name, True, state=UpdateState(name, state, "1", current=current, progress=progress))


def nothing_published(desired: Desired) -> RegistryFacts:
    recipes = {recipe.tag: None for recipe in runtime_recipes(desired)}
    return RegistryFacts(engines=dict.fromkeys(desired.engines), bases=recipes, release=None)


def all_published(desired: Desired) -> RegistryFacts:
    variant = ReleaseVariant("v", "p", "i", 1, "b", "c", (), DeviceFacts("linux/amd64"), ())
    release = ReleaseDocument(desired.fleet, desired.version, (variant,), {}, {}, {}, Probation())
    bases = {recipe.tag: "sha256:base" for recipe in runtime_recipes(desired)}
    return RegistryFacts(engines=dict.fromkeys(desired.engines, "sha256:x"), bases=bases, release=release)


def fleet_as_declared(desired: Desired) -> dict[str, Observed]:
    return {robot.name: running(robot.name, desired.version, robot.variant) for robot in desired.robots}


def test_an_empty_registry_needs_each_engine_once(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    plan = make_plan(desired, nothing_published(desired), {})
    assert sorted(spec.precision for spec in plan.engines_to_build) == ["fp16", "fp32"]
    assert len(plan.bases_to_build) == 1
    assert plan.publish
    assert not plan.empty


def test_nothing_to_do_when_all_is_published_and_runs(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    plan = make_plan(desired, all_published(desired), fleet_as_declared(desired))
    assert plan.empty
    assert plan.engines_present == 2
    assert counts(plan.robots) == {"none": 3}


def test_a_new_version_with_the_same_content_is_only_recorded(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    observed = fleet_as_declared(desired)
    plan = make_plan(replace(desired, version="1.0.1"), all_published(desired), observed)
    assert {change.action for change in plan.robots} == {Action.RECORD}
    assert not plan.empty


def test_every_state_of_a_robot_has_its_action(desired_from: DesiredFrom) -> None:
    robot = desired_from().robots[0]
    cases = {
        Action.UNKNOWN: None,
        Action.OFFLINE: Observed(robot.name, False, error="timed out"),
        Action.BOOTSTRAP: Observed(robot.name, True, error="has no updater", needs_bootstrap=True),
        Action.ERROR: Observed(robot.name, True, error="`fleet-updater status` did not end within 30 s"),
        Action.WAIT: running(robot.name, "1.0.0", robot.variant, state="fetching"),
        Action.UPDATE: running(robot.name, "1.0.0", "another"),
        Action.NONE: running(robot.name, "1.0.0", robot.variant),
        Action.RECORD: running(robot.name, "0.9.0", robot.variant),
    }
    found = {wanted: robot_change(robot.name, robot.variant, "1.0.0", seen).action for wanted, seen in cases.items()}
    assert all(wanted is action for wanted, action in found.items())


def test_the_same_variant_in_another_folder_is_an_update(desired_from: DesiredFrom) -> None:
    """Environment and compose files are in no variant, and yet restart the container."""
    robot = desired_from().robots[0]
    seen = running(robot.name, "1.0.0", robot.variant)
    assert seen.state is not None
    assert seen.state.current is not None
    name = PurePosixPath(seen.state.current.folder).name
    same = robot_change(robot.name, robot.variant, "1.1.0", seen, name)
    other = robot_change(robot.name, robot.variant, "1.1.0", seen, "0123456789ab")
    assert (same.action, other.action) == (Action.RECORD, Action.UPDATE)
    assert "environment" in other.reason


def test_a_robot_without_a_release_is_updated(desired_from: DesiredFrom) -> None:
    seen = Observed("amr-001", True, state=UpdateState("amr-001", "idle", "1"))
    change = robot_change("amr-001", "v", "1.0.0", seen)
    assert change.action is Action.UPDATE
    assert change.reason == "nothing runs yet"


def test_a_plan_is_outdated_by_the_robots_that_moved(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    before = fleet_as_declared(desired)
    plan = make_plan(desired, all_published(desired), before)
    after = {**before, "amr-002": running("amr-002", "2.0.0", "somebody-else")}
    assert changed_since(plan.robots, before) == ()
    assert changed_since(plan.robots, after) == ("amr-002",)


def test_a_robot_that_went_offline_does_not_outdate_a_plan(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    before = fleet_as_declared(desired)
    plan = make_plan(desired, all_published(desired), before)
    after = {**before, "amr-002": Observed("amr-002", False, error="timed out")}
    assert changed_since(plan.robots, after) == ()
