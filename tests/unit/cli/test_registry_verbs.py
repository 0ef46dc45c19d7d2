"""plan, build, publish, diff, history, lock and ci: the verbs that speak to the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.build.job import BuiltEngine
from fleet.build.summary import BuildSummary, FailedEngine
from fleet.cli.commands import build
from fleet.errors import BuildError, EngineGateError, FleetError, RegistryAuthError, RegistryError, RepositoryMissing
from fleet.oci.image_spec import MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.oci.repositories import repositories_of
from fleet.resolve.desired import EngineSpec
from fleet.rollout.lock import RolloutLock
from runtime.contract.engine.task_metric import TaskMetric
from tests.fakes.registries.publishing import engine_folder
from tests.unit.cli.conftest import PREFIX, Desk

DOWN = RegistryError("registry.test:5000 is not reachable", hint="check that it is up")


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_of_nothing_yet(desk: Desk) -> None:
    plan = desk.json("plan")
    assert not plan["empty"]
    assert plan["publish"]
    assert {engine["precision"] for engine in plan["engines_to_build"]} == {"fp32", "fp16"}
    assert len(plan["images_to_build"]) == 1
    assert {robot["action"] for robot in plan["robots"]} == {"bootstrap"}
    assert "bootstrap" in desk.fleet("plan").out


def test_a_plan_with_nothing_to_do(desk: Desk) -> None:
    desk.running()
    assert desk.json("plan")["empty"]
    assert "Nothing to do" in desk.fleet("plan").out


def test_a_plan_tells_offline_robots_and_ends_well(desk: Desk) -> None:
    desk.running()
    desk.hosts["scout-001"].online = False
    actions = {robot["name"]: robot["action"] for robot in desk.json("plan")["robots"]}
    assert actions == {"amr-001": "none", "amr-002": "none", "scout-001": "offline"}


def test_a_plan_without_robots_asks_none(desk: Desk) -> None:
    desk.running()
    connections = sum(host.connections for host in desk.hosts.values())
    plan = desk.json("plan", "--no-robots")
    assert {robot["action"] for robot in plan["robots"]} == {"unknown"}
    assert sum(host.connections for host in desk.hosts.values()) == connections


def test_a_plan_knows_that_another_environment_restarts(desk: Desk) -> None:
    desk.running()
    desk.set_version("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    plan = desk.json("plan")
    assert {robot["action"] for robot in plan["robots"]} == {"update"}
    assert all("environment" in robot["reason"] for robot in plan["robots"])
    assert all(robot["variables"] == ["ROS_DOMAIN_ID unset → 7"] for robot in plan["robots"])
    (difference,) = desk.json("diff", "1.0.0")["differences"]
    assert difference["what"] == ["ROS_DOMAIN_ID unset → 7"]
    assert len(difference["robots"]) == 3


def test_rendered_values_that_change_are_shown_before_anything_changes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the plan, at the question of the rollout and in the difference; robots that keep their value are not in it."""
    rendered = {"environment": {"DOCK": "{{ robot.group }}/{{ variables.dock }}"}}
    desk.running(defaults={**rendered, "variables": {"dock": "1"}})
    scout = {"variables": {"dock": "7"}, "models": [{"model": "detector", "precision": "fp16"}]}
    desk.publish("1.1.0", defaults={**rendered, "variables": {"dock": "1"}}, groups={"scout": scout})
    said = "DOCK scout/1 → scout/7"
    plan = desk.json("plan")
    assert {robot["name"]: robot["variables"] for robot in plan["robots"]} == {
        "amr-001": [],
        "amr-002": [],
        "scout-001": [said],
    }
    assert said in " ".join(desk.fleet("plan").out.split())
    assert desk.json("diff", "1.0.0")["differences"] == [{"what": [said], "robots": ["scout-001"]}]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_args, **_options: False)
    assert said in " ".join(desk.fleet("rollout", code=3).err.split())


def test_a_release_that_cannot_be_read_is_said_and_the_plan_goes_on(desk: Desk) -> None:
    desk.running()
    junk = Bytes.of(b"junk")
    desk.registry.push_blob(f"{PREFIX}/releases", junk)
    layer = Descriptor("text/plain", junk.digest, junk.size)
    desk.registry.put_manifest(f"{PREFIX}/releases", "1.0.0", manifest_bytes(layer, [layer]), MANIFEST)
    desk.set_version("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    result = desk.fleet("plan", "--json")
    assert "which variables change is not known" in result.err
    assert {robot["action"] for robot in result.json["robots"]} == {"update"}


def test_a_release_that_is_gone_is_said_and_the_plan_goes_on(desk: Desk) -> None:
    desk.running()
    updater = desk.updaters["amr-001"]
    assert updater.state.current is not None
    updater.state = replace(updater.state, current=replace(updater.state.current, version="0.9.0"))
    desk.set_version("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}})
    result = desk.fleet("plan", "--json")
    assert "release 0.9.0, which robots run, is not in the registry" in result.err
    assert {robot["name"]: len(robot["variables"]) for robot in result.json["robots"]}["amr-002"] == 1


# ── build ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Builders:
    """Stands in for `build_engines`: what each engine ends with, by precision."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.errors: dict[str, FleetError] = {}
        self.built: list[str] = []
        self.metric: TaskMetric | None = None
        monkeypatch.setattr(build, "build_engines", self)

    def __call__(self, specs: list[EngineSpec], *, on_built: object, **_: object) -> BuildSummary:
        assert callable(on_built)
        done, failed = [], []
        for spec in specs:
            if error := self.errors.get(spec.precision):
                failed.append(FailedEngine(spec, error))
                continue
            folder = self.tmp_path / spec.tag
            report = engine_folder(folder, spec.key, model=spec.model, precision=spec.precision)
            report = replace(report, metric=self.metric)
            done.append(BuiltEngine(spec, folder, report, 1.0))
            on_built(done[-1])
            self.built.append(spec.precision)
        return BuildSummary(tuple(done), tuple(failed))


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builders:
    return Builders(tmp_path / "built", monkeypatch)


def test_build_pushes_what_is_missing_and_the_second_time_nothing(desk: Desk, builders: Builders) -> None:
    first = desk.json("build")
    assert [len(first["built"]), len(first["failed"]), first["present"]] == [2, 0, 0]
    assert {*first["built"][0]} >= {"model", "precision", "profile", "key", "latency_ms", "min_cosine", "seconds"}
    second = desk.json("build")
    assert [len(second["built"]), second["present"]] == [0, 2]
    assert sorted(builders.built) == ["fp16", "fp32"]


def test_build_shows_a_metric_where_there_is_one(desk: Desk, builders: Builders) -> None:
    assert "metric" not in desk.fleet("build", "--robots", "scout-001").out
    builders.metric = TaskMetric("top1", "scores", 0.9954, 0.99, 200, 0.98)
    shown = " ".join(desk.fleet("build").out.split())
    assert "top1" in shown
    assert "0.9954" in shown


def test_build_tells_a_metric_as_json(desk: Desk, builders: Builders) -> None:
    builders.metric = TaskMetric("top1", "scores", 0.9954, 0.99, 200, 0.98)
    assert {each["metric"]["to_golden"] for each in desk.json("build")["built"]} == {0.99}


def test_build_for_some_robots_builds_theirs(desk: Desk, builders: Builders) -> None:
    desk.fleet("build", "--robots", "scout-001")
    assert builders.built == ["fp16"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(EngineGateError("cosine 0.9 < 0.99", hint="exclude"), 4), (BuildError("out of memory", hint="more"), 3)],
)
def test_a_failed_engine_stops_no_other_and_decides_the_exit_code(
    desk: Desk, builders: Builders, error: FleetError, code: int
) -> None:
    builders.errors["fp16"] = error
    document = desk.json("build", code=code)
    assert [each["precision"] for each in document["built"]] == ["fp32"]
    assert document["failed"][0]["error"] == error.message
    assert document["error"]["exit_code"] == code
    assert f"{PREFIX}/engines:{document['built'][0]['key'][7:]}" in desk.registry.snapshot()


@pytest.mark.parametrize("asked", ["ping", "check_push"])
def test_no_builder_starts_for_a_registry_that_refuses(desk: Desk, builders: Builders, asked: str) -> None:
    desk.breaks(asked, RegistryAuthError("registry.test:5000 refused (401)", hint="docker login"))
    assert "401" in desk.error("build", code=3)
    assert builders.built == []


def test_registry_prepare_says_what_is_there_and_what_is_missing(desk: Desk) -> None:
    document = desk.fleet("registry", "prepare", "--json").json
    assert {each["state"] for each in document["repositories"]} == {"there"}
    assert [each["name"] for each in document["repositories"]] == list(repositories_of(PREFIX))
    desk.breaks("check_push", RepositoryMissing("it is not there", hint="make it"))
    document = desk.fleet("registry", "prepare", "--json", code=3).json
    assert {each["state"] for each in document["repositories"]} == {"missing"}
    assert "registry.test:5000 lacks 7 repositories that a fleet needs" in document["error"]["message"]
    assert "create them at the registry" in document["error"]["hint"]
    assert f"{PREFIX}/locks" in desk.fleet("registry", "prepare", "--dry-run", code=3).out


def test_ci_plans_and_builds_one_key_at_a_time(desk: Desk, builders: Builders) -> None:
    plan = desk.fleet("ci", "plan", "--json").json
    assert [len(plan["engines"]), len(plan["images"]), len(plan["matrix"]["include"])] == [2, 1, 3]
    key = plan["engines"][0]["key"]
    assert desk.fleet("ci", "build", "--json", "--key", key).json["done"] == "built and pushed"
    assert desk.fleet("ci", "build", "--json", "--key", key[7:19]).json["done"] == "in the registry already"
    assert len(builders.built) == 1
    desk.fleet("ci", "build", "--key", "0123456789ab", code=2)
    assert "build=true" in desk.fleet("ci", "plan", "--github").out


# ── publish ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_publish_before_build_names_what_is_missing(desk: Desk) -> None:
    assert "not built yet: 2 engines" in desk.error("publish", code=2)


def test_publish_and_publish_again(desk: Desk) -> None:
    desk.build()
    first, second = desk.json("publish"), desk.json("publish")
    assert [first["already_published"], second["already_published"]] == [False, True]
    assert first["release"] == second["release"]
    assert [image["pushed"] for image in first["images"]] == [True, True]
    assert {tag for image in first["images"] for tag in image["tags"]} == {"amr", "scout"}
    assert f"{PREFIX}/releases:1.0.0" in desk.registry.snapshot()


def test_other_content_under_a_published_version_is_exit_4(desk: Desk) -> None:
    desk.publish()
    desk.set_version("1.0.0", robots=[{"name": "amr-001", "host": "10.0.0.11", "group": "scout"}])
    assert "published already with other content" in desk.error("publish", code=4)


# ── diff, history, lock ──────────────────────────────────────────────────────────────────────────────────────────


def test_diff_of_versions_that_are_not_there(desk: Desk) -> None:
    assert "no release 9.9.9" in desk.error("diff", "9.9.9", code=2)
    desk.publish()
    assert "no release current" in desk.error("diff", "current", code=2)
    assert "1.0.0" in desk.json("diff", "1.0.0", "9.9.9", code=2)["error"]["hint"]


def test_diff_names_robots_and_precisions(desk: Desk) -> None:
    desk.publish()
    desk.publish("1.1.0", groups={"scout": {"models": [{"model": "detector", "precision": "int8"}]}})
    (found,) = desk.json("diff", "1.0.0", "1.1.0")["differences"]
    assert found == {"what": ["detector fp16 → int8"], "robots": ["scout-001"]}
    assert "the same for all 3 robots" in desk.fleet("diff", "1.1.0").out


def test_history_of_nothing_and_of_something(desk: Desk) -> None:
    assert desk.json("history") == {"fleet": "testing", "published": [], "current": None, "history": []}
    assert "nothing yet" in desk.fleet("history").out
    desk.running()
    document = desk.json("history")
    assert [document["published"], document["current"]] == [["1.0.0"], "1.0.0"]
    assert document["history"][0]["counts"] == {"committed": 3}
    assert "1.0.0 (current)" in desk.fleet("history").out


def test_the_lock_is_shown_refused_and_stolen(desk: Desk) -> None:
    desk.publish()
    desk.bootstrapped()
    assert desk.fleet("lock", "show", "--json").json == {"holders": []}
    with RolloutLock(desk.registry, PREFIX, desk.clock, reason="somebody's rollout"):
        (holder,) = desk.fleet("lock", "show", "--json").json["holders"]
        assert holder["reason"] == "somebody's rollout"
        assert "somebody's rollout" in desk.fleet("lock", "show").out
        assert "holds the rollout lock" in desk.error("rollout", "--yes", code=5)
        assert len(desk.fleet("lock", "steal", "--json").json["stolen_from"]) == 1
    assert desk.json("history")["history"][0]["kind"] == "lock-broken"
    assert desk.fleet("lock", "steal", "--json").json == {"stolen_from": []}


@pytest.mark.parametrize(
    "verb", [["plan"], ["build"], ["publish"], ["diff", "1.0.0"], ["history"], ["rollout", "--yes"], ["rollback"]]
)
def test_a_registry_that_is_down_is_exit_3(desk: Desk, verb: list[str]) -> None:
    def hook(_verb: str, _target: str) -> None:
        raise DOWN

    desk.registry.hook = hook
    assert desk.error(*verb, code=3) == DOWN.message
