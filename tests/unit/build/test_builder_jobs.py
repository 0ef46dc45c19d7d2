"""Builder containers that are there already: gone on with, waited for, or removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.build import builder_jobs
from fleet.build.builder_jobs import COMMAND, LABEL_FLEET, LABEL_JOB, LABEL_OWNER, LABEL_RUN, LABEL_TIMEOUT, owner
from fleet.build.engine import build_engines
from fleet.build.events import BuildEvent
from fleet.build.job import BuiltEngine
from fleet.build.summary import BuildSummary
from fleet.errors import BuilderLost, BuildError, JobGone, RegistryError
from fleet.ports import JobResult
from fleet.resolve.desired import EngineSpec
from tests.fakes.container_host import FakeContainerHost, Running
from tests.unit.build.specs import engine_specs

IMAGE, FLEET, OTHER = "jetfleet/bases:builder", "warehouse", "another-machine/0123"
QUICK = ("python3", "-c", "print('half a build', flush=True)", "/job", "/out")
SLOW = ("python3", "-c", "import time; print('begun', flush=True); time.sleep(1)", "/job", "/out")


@pytest.fixture
def host() -> FakeContainerHost:
    return FakeContainerHost(images={IMAGE: {}})


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSpec:
    monkeypatch.setattr(builder_jobs, "COMMAND", QUICK)
    return engine_specs(tmp_path / "fleet", "fp32")[0]


def build(host: FakeContainerHost, spec: EngineSpec, tmp_path: Path, **more: Any) -> BuildSummary:
    return build_engines(
        [spec], host_of=lambda _: host, fetch_source=lambda one: one.source_path or Path("/nowhere"),
        work_dir=tmp_path / "work", image_of=lambda *_: IMAGE, fleet=FLEET, **more,
    )  # fmt: skip


def name_of(host: FakeContainerHost, spec: EngineSpec, fleet: str = FLEET) -> str:
    return builder_jobs.job_name(fleet, spec, host.image_id(IMAGE))


def leave(host: FakeContainerHost, spec: EngineSpec, exit_code: int | None, by: str = OTHER, **more: Any) -> Running:
    labels = {LABEL_JOB: spec.key, LABEL_FLEET: FLEET, LABEL_OWNER: by, LABEL_RUN: "dead", LABEL_TIMEOUT: "60"}
    options = {"name": name_of(host, spec), "image": IMAGE, "command": builder_jobs.COMMAND, **more}
    return host.leave_behind(labels, exit_code=exit_code, **options)


def test_a_lost_builder_is_said_and_the_next_run_goes_on_with_it(
    host: FakeContainerHost, spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder_jobs, "COMMAND", SLOW)
    host.cut = True
    error = build(host, spec, tmp_path).error()
    assert isinstance(error, BuilderLost)
    assert error.exit_code == 3
    assert "detector fp32" in error.message
    assert "run fleet build again, it goes on with it" in error.hint
    assert [labels[LABEL_JOB] for labels in host.containers] == [spec.key]
    host.cut = False
    events: list[BuildEvent] = []
    assert isinstance(build(host, spec, tmp_path, on_event=events.append).error(), BuildError)  # it left no engine
    assert host.followed == [name_of(host, spec)]
    assert len(host.jobs_started) == 1
    assert any(event.line.startswith("going on with the builder that") for event in events)
    assert host.containers == []


@pytest.mark.parametrize("by", ["ours", OTHER])
@pytest.mark.parametrize(
    ("exit_code", "gone_on"), [(0, True), (4, True), (3, False), (137, False), (255, False)]
)  # fmt: skip
def test_what_ended_is_gone_on_with_when_its_word_stands(
    host: FakeContainerHost, spec: EngineSpec, tmp_path: Path, exit_code: int, gone_on: bool, by: str
) -> None:
    leave(host, spec, exit_code, owner() if by == "ours" else by)
    build(host, spec, tmp_path)
    assert (host.followed != [], len(host.jobs_started)) == (gone_on, 0 if gone_on else 1)
    assert host.containers == []


@pytest.mark.parametrize("more", [{"image": "another"}, {"command": ("sh",)}], ids=["image", "command"])
def test_what_is_no_builder_of_ours_is_not_believed(
    host: FakeContainerHost, spec: EngineSpec, tmp_path: Path, more: dict[str, Any]
) -> None:
    leave(host, spec, 0, **more)
    build(host, spec, tmp_path)
    assert host.followed == []
    assert len(host.jobs_started) == 1


def test_a_container_of_ours_that_never_started_is_removed_another_s_is_waited_for(
    host: FakeContainerHost, spec: EngineSpec, tmp_path: Path
) -> None:
    leave(host, spec, None, owner())
    build(host, spec, tmp_path)
    assert len(host.jobs_started) == 1
    other = leave(host, spec, None)
    waited: list[str] = []

    def look(event: BuildEvent) -> None:
        if "another operator has just begun" in event.line:
            waited.append(event.line)
            other.exit_code = 0

    build(host, spec, tmp_path, on_event=look)
    assert waited
    assert host.followed == [name_of(host, spec)]
    leave(host, spec, None, age_s=builder_jobs.COPYING_S + 1)
    build(host, spec, tmp_path)
    assert len(host.jobs_started) == 2


def test_other_gates_golden_frames_and_fleets_are_other_containers(host: FakeContainerHost, tmp_path: Path) -> None:
    (one,) = engine_specs(tmp_path / "a", "fp32", model={"gates": {"latency_p99": None}})
    (other,) = engine_specs(tmp_path / "b", "fp32", model={"gates": {"latency_p99": {"sim-x86": "1s"}}})
    assert one.key == other.key
    assert len({name_of(host, one), name_of(host, other), name_of(host, one, "yard")}) == 3
    golden = name_of(host, one)
    one.golden.write_bytes(one.golden.read_bytes() + b"more")
    assert name_of(host, one) != golden


def test_an_engine_that_another_operator_pushed_meanwhile_is_there(
    host: FakeContainerHost, spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(host, spec, 0)

    def taken(name: str, **_: Any) -> JobResult:
        host.remove_job(name)
        raise JobGone("removed by somebody", hint="look again")

    monkeypatch.setattr(host, "follow_job", taken)
    summary = build(host, spec, tmp_path, is_there=lambda one: one.key == spec.key)
    assert summary.elsewhere == (spec,)
    assert summary.error() is None
    leave(host, spec, 0)
    build(host, spec, tmp_path, is_there=lambda _: False)
    assert len(host.jobs_started) == 1  # it is nowhere: built here


def test_an_engine_that_could_not_be_pushed_waits_for_the_next_run(host: FakeContainerHost, tmp_path: Path) -> None:
    (spec,) = engine_specs(tmp_path / "fleet", "fp32", model={"gates": {"latency_p99": None}})

    def refuse(_: BuiltEngine) -> None:
        raise RegistryError("registry.test is not reachable", hint="start it")

    assert isinstance(build(host, spec, tmp_path, on_built=refuse).error(), RegistryError)
    pushed: list[BuiltEngine] = []
    assert build(host, spec, tmp_path, on_built=pushed.append).error() is None
    assert (len(host.jobs_started), len(host.followed), len(pushed)) == (1, 1, 1)
    assert host.containers == []


@pytest.mark.parametrize(
    ("exit_code", "by", "age_s", "removed"),
    [
        (137, "ours", 1, True),
        (137, OTHER, 1, False),
        (137, OTHER, 1801, True),
        (None, OTHER, 1, False),
        (None, OTHER, 1801, True),
        (0, "ours", 3600, False),
        (0, OTHER, 86401, True),
        (4, OTHER, 86401, True),
    ],
)
def test_what_nobody_will_go_on_with_is_removed(
    host: FakeContainerHost, spec: EngineSpec, exit_code: int | None, by: str, age_s: float, removed: bool
) -> None:
    leave(host, spec, exit_code, owner() if by == "ours" else by, age_s=age_s)
    host.leave_behind({LABEL_JOB: spec.key, LABEL_FLEET: "yard", LABEL_OWNER: OTHER}, age_s=1e6)
    assert builder_jobs.remove_dead(host, FLEET, {spec.key}) == 0
    assert builder_jobs.remove_dead(host, FLEET, set()) == int(removed)
    assert len(host.containers) == 2 - int(removed)


def test_a_builder_that_runs_past_its_time_is_removed(host: FakeContainerHost, spec: EngineSpec) -> None:
    one = leave(host, spec, None)
    host._start(1, ["sleep", "60"])
    assert builder_jobs.remove_dead(host, FLEET, set()) == 0
    one.since -= 60 + 121
    assert builder_jobs.remove_dead(host, FLEET, set()) == 1
    assert COMMAND[0] == "python3"
