"""Builds with the real job, run as a process by the fake host."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fleet.build.builder_jobs import JOB_DIR, LABEL_JOB, LABEL_OWNER, OUT_DIR, owner
from fleet.build.cache import locked
from fleet.build.check_result import ENGINE_FILES, read_answer
from fleet.build.engine import build_engines
from fleet.build.events import BuildEvent
from fleet.build.job import BuiltEngine
from fleet.build.summary import BuildSummary, FailedEngine
from fleet.cache_folder import cache_dir
from fleet.errors import BuildError, DockerError, EngineGateError, RegistryError
from fleet.manifest.schema.manifest_schema import Builder
from fleet.ports import ContainerHost, JobResult, LogLine
from fleet.resolve.desired import EngineSpec, Recipe
from tests.fakes.container_host import FakeContainerHost, press_ctrl_c
from tests.fakes.fleet_folder import frames
from tests.unit.build.specs import engine_specs

IMAGE = "jetfleet/bases:builder"


@pytest.fixture
def host() -> FakeContainerHost:
    return FakeContainerHost(images={IMAGE: {}})


def image_of(host: ContainerHost, recipe: Recipe, on_log: LogLine) -> str:
    return IMAGE


def build(
    host: FakeContainerHost,
    specs: list[EngineSpec],
    tmp_path: Path,
    *,
    events: list[BuildEvent] | None = None,
    built: list[BuiltEngine] | None = None,
) -> BuildSummary:
    return build_engines(
        specs,
        host_of=lambda _: host,
        fetch_source=lambda spec: spec.source_path or Path("/nowhere"),
        work_dir=tmp_path / "work",
        on_event=(events if events is not None else []).append,
        on_built=(built if built is not None else []).append,
        image_of=image_of,
    )


CALIBRATED = {"precisions": {"int8": {"calibration": "golden/detector.npz"}}}


def specs_in(folder: Path, *precisions: str, int8_cosine: float = -1.0) -> list[EngineSpec]:
    """Return specs whose gates are about int8 alone."""
    accuracy = {"int8": {"min_cosine": int8_cosine}}
    model = {**CALIBRATED, "gates": {"accuracy": accuracy, "latency_p99": None}}
    return engine_specs(folder, *precisions, model=model, golden={"image": frames(8, seed=3)})


def instead(patch: pytest.MonkeyPatch, script: str) -> None:
    """Let builders run ``script`` instead of the job: these tests are about containers, not engines."""
    patch.setattr("fleet.build.builder_jobs.COMMAND", ("python3", "-c", script, JOB_DIR, OUT_DIR))


def test_one_container_an_engine_and_every_result_is_handed_on(host: FakeContainerHost, tmp_path: Path) -> None:
    specs = specs_in(tmp_path / "fleet", "fp32", "int8")
    events: list[BuildEvent] = []
    built: list[BuiltEngine] = []
    summary = build(host, specs, tmp_path, events=events, built=built)
    assert summary.error() is None
    assert summary.built == tuple(built)
    assert {engine.spec.key for engine in built} == {spec.key for spec in specs}
    assert sorted(labels[LABEL_JOB] for labels in host.jobs_started) == sorted(spec.key for spec in specs)
    assert host.containers == []
    for engine in built:
        names = {path.name for path in engine.folder.iterdir()}
        assert names == {engine.report.identity.engine_file, "engine.json", "golden.npz", "report.json"}
        assert engine.report.identity.engine_file in ENGINE_FILES
        assert engine.report.identity.key == engine.spec.key
        assert engine.seconds > 0
    kinds = [event.kind for event in events]
    assert kinds.count("image") == 1
    assert kinds.count("built") == 2
    assert any(event.kind == "log" and "building detector" in event.line for event in events)


@pytest.mark.parametrize("parallel", [1, 2])
def test_bounded_by_the_builders_parallel(
    host: FakeContainerHost, tmp_path: Path, parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, "import time; time.sleep(0.3)")
    specs = [
        dataclasses.replace(
            spec, profile=spec.profile.model_copy(update={"builder": Builder(endpoint="local", parallel=parallel)})
        )
        for spec in specs_in(tmp_path / "fleet", "fp32", "fp16", "int8")
    ]
    build(host, specs, tmp_path)
    assert len(host.jobs_started) == 3
    assert host.most_at_once == parallel


def test_the_profile_s_timeout_bounds_the_container_and_the_job_in_it(
    host: FakeContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import json, sys; sys.exit('job has %s' % json.load(open(sys.argv[1] + '/job.json'))['deadline_s'])"
    instead(monkeypatch, script)
    (spec,) = engine_specs(tmp_path / "fleet", "fp32", profile={"builder": {"timeout": "7m"}})
    deadlines: list[float] = []
    run_job = host.run_job

    def noted(*arguments: Any, **options: Any) -> JobResult:
        deadlines.append(options["deadline_s"])
        return run_job(*arguments, **options)

    monkeypatch.setattr(host, "run_job", noted)
    error = build(host, [spec], tmp_path).error()
    assert deadlines == [420.0]
    assert error is not None
    assert "job has 420.0" in error.message


def test_the_timeout_changes_no_engine_key(tmp_path: Path) -> None:
    (short,) = engine_specs(tmp_path / "a", "fp32", profile={"builder": {"timeout": "7m"}})
    (long,) = engine_specs(tmp_path / "b", "fp32", profile={"builder": {"timeout": "2h"}})
    assert short.key == long.key


def test_a_gate_that_says_no_gives_both_numbers_and_the_others_go_on(host: FakeContainerHost, tmp_path: Path) -> None:
    specs = specs_in(tmp_path / "fleet", "int8", "fp32", int8_cosine=1.0)
    summary = build(host, specs, tmp_path)
    assert [engine.spec.precision for engine in summary.built] == ["fp32"]
    error = summary.error()
    assert isinstance(error, EngineGateError)
    assert error.exit_code == 4
    assert error.message.startswith("detector int8 for sim-x86: ")
    assert "0.9" in error.message
    assert "1.0" in error.message
    assert error.hint


def test_a_model_that_is_not_the_pinned_one_is_refused_by_the_builder(host: FakeContainerHost, tmp_path: Path) -> None:
    (spec,) = specs_in(tmp_path / "fleet", "fp32")
    assert spec.source_path is not None
    spec.source_path.write_bytes(b"not onnx")
    error = build(host, [spec], tmp_path).error()
    assert isinstance(error, BuildError)
    assert "model.onnx" in error.message
    assert error.exit_code == 3


def test_killed_for_memory_is_said(host: FakeContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "print('half way')")
    (spec,) = specs_in(tmp_path / "fleet", "fp32")
    host.oom = True
    error = build(host, [spec], tmp_path).error()
    assert isinstance(error, BuildError)
    assert "out of memory" in error.message
    assert "builder.parallel" in error.hint


def test_leftovers_of_a_killed_run_are_removed_first(
    host: FakeContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, "print('nothing')")
    (spec,) = specs_in(tmp_path / "fleet", "fp32")
    host.leave_behind({LABEL_JOB: spec.key, LABEL_OWNER: owner()})
    host.leave_behind({LABEL_JOB: spec.key, LABEL_OWNER: "another-machine"})
    build(host, [spec], tmp_path)
    assert host.containers == [{LABEL_JOB: spec.key, LABEL_OWNER: "another-machine"}]


def test_a_key_that_another_process_builds_is_waited_for(
    host: FakeContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container is no leftover, and Ctrl-C ends the wait."""
    instead(monkeypatch, "print('nothing')")
    (spec,) = specs_in(tmp_path / "fleet", "fp32")
    host.leave_behind({LABEL_JOB: spec.key, LABEL_OWNER: owner()})
    with locked(f"engine-{spec.tag}", "the other process", deadline_s=1.0):
        threading.Timer(1.0, press_ctrl_c).start()
        with pytest.raises(KeyboardInterrupt):
            build(host, [spec], tmp_path)
    assert len(host.containers) == 1


def test_an_interruption_stops_all_containers(
    host: FakeContainerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, "import time; print('started', flush=True); time.sleep(300)")
    specs = specs_in(tmp_path / "fleet", "fp32", "fp16", "int8")
    interrupted = threading.Event()

    def on_event(event: BuildEvent) -> None:
        if event.kind == "log" and not interrupted.is_set():
            interrupted.set()
            press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        build_engines(
            specs, host_of=lambda _: host, fetch_source=lambda spec: spec.source_path or Path("/nowhere"),
            work_dir=tmp_path / "work", on_event=on_event, image_of=image_of,
        )  # fmt: skip
    assert interrupted.is_set()
    assert host.containers == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("builder")] == []


def test_what_was_built_is_kept_when_pushing_fails(host: FakeContainerHost, tmp_path: Path) -> None:
    (spec,) = specs_in(tmp_path / "fleet", "fp32")

    def refuse(engine: BuiltEngine) -> None:
        raise RegistryError("registry.test is not reachable", hint="start it")

    summary = build_engines(
        [spec], host_of=lambda _: host, fetch_source=lambda one: one.source_path or Path("/nowhere"),
        work_dir=tmp_path / "work", on_built=refuse, image_of=image_of,
    )  # fmt: skip
    assert summary.built == ()
    assert isinstance(summary.error(), RegistryError)


def test_an_image_that_cannot_be_built_is_tried_once_and_fails_its_engines(
    host: FakeContainerHost, tmp_path: Path
) -> None:
    specs = specs_in(tmp_path / "fleet", "fp32", "fp16")
    tried: list[str] = []

    def broken(host: ContainerHost, recipe: Recipe, on_log: LogLine) -> str:
        tried.append(recipe.tag)
        raise BuildError("the builder image cannot be built", hint="mend it")

    summary = build_engines(
        specs, host_of=lambda _: host, fetch_source=lambda spec: spec.source_path or Path("/nowhere"),
        work_dir=tmp_path / "work", image_of=broken,
    )  # fmt: skip
    error = summary.error()
    assert isinstance(error, BuildError)
    assert error.message.splitlines() == ["2 of 2 engines were not built:", "- the builder image cannot be built"]
    assert error.hint == "mend it"
    assert len(tried) == 1
    assert host.jobs_started == []


def test_an_engine_that_is_down_is_said(host: FakeContainerHost, tmp_path: Path) -> None:
    (spec,) = specs_in(tmp_path / "fleet", "fp32")
    host.down = True
    assert isinstance(build(host, [spec], tmp_path).error(), DockerError)


def test_gates_alone_exit_4_anything_else_3() -> None:
    gate, outside = EngineGateError("a", hint="x"), BuildError("b", hint="y")
    spec = object()
    gates = BuildSummary((), (FailedEngine(spec, gate), FailedEngine(spec, EngineGateError("c", hint="x"))))  # type: ignore[arg-type]
    mixed = BuildSummary((), (FailedEngine(spec, gate), FailedEngine(spec, outside)))  # type: ignore[arg-type]
    first, second = gates.error(), mixed.error()
    assert first is not None
    assert second is not None
    assert (first.exit_code, second.exit_code) == (4, 3)
    assert first.hint == "x"
    assert second.hint == "x; y"


def lie(out: Path, changes: dict[str, Any]) -> None:
    """Change what an honest builder left behind."""
    report = json.loads((out / "report.json").read_text())
    identity = report["identity"]
    identity["device"].update(changes.get("device", {}))
    identity.update({key: value for key, value in changes.items() if key in identity and key != "device"})
    (out / "report.json").write_text(json.dumps(report))
    if not changes.get("disagree"):
        (out / "engine.json").write_text(json.dumps(identity))
    if "without" in changes:
        (out / changes["without"]).unlink()
    with (out / "engine.onnx").open("ab") as file:
        file.write(changes.get("appended", b""))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "sha256:" + "0" * 64}, "key is sha256:000"),
        ({"precision": "fp16"}, "precision is fp16, expected fp32"),
        ({"model": "other"}, "model is other, expected detector"),
        ({"precision": "fp16", "disagree": True}, "engine.json and report.json disagree"),
        ({"device": {"platform": "linux/arm64"}}, "platform linux/arm64, the profile says linux/amd64"),
        ({"engine_file": "../../etc/passwd"}, "not one of engine.onnx, engine.plan"),
        ({"engine_file": "engine.plan"}, "engine.plan is missing"),
        ({"engine_sha256": "0" * 64}, "the report says"),
        ({"appended": b"more"}, "the report says"),
        ({"without": "golden.npz"}, "golden.npz is missing"),
        ({"without": "report.json"}, "no readable report.json"),
    ],
)
def test_a_builders_word_is_checked(
    changes: dict[str, Any], words: str, honest: Path, tmp_path: Path, spec: EngineSpec
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for path in honest.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    lie(out, changes)
    with pytest.raises(BuildError) as caught:
        read_answer(spec, JobResult(0, False, "", None), out)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineSpec, Path]:
    folder = tmp_path_factory.mktemp("honest")
    (spec,) = specs_in(folder / "fleet", "fp32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert cache_dir().is_relative_to(folder)
        summary = build(FakeContainerHost(images={IMAGE: {}}), [spec], folder)
    assert summary.error() is None
    return spec, summary.built[0].folder


@pytest.fixture
def spec(built_once: tuple[EngineSpec, Path]) -> EngineSpec:
    return built_once[0]


@pytest.fixture
def honest(built_once: tuple[EngineSpec, Path]) -> Path:
    return built_once[1]


def test_no_explanation_gives_the_last_lines(spec: EngineSpec, tmp_path: Path) -> None:
    log = "\n".join(f"line {number}" for number in range(100))
    with pytest.raises(BuildError) as caught:
        read_answer(spec, JobResult(1, False, log, None), tmp_path)
    assert "exit code 1" in caught.value.message
    assert "line 99" in caught.value.message
    assert "line 50" not in caught.value.message
