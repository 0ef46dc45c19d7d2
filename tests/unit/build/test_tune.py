"""The search in a builder's container: gone on with, killed, and asked again. Its command really runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fleet.build import tune
from fleet.build.tune import COMMAND, LABEL_TUNE, tune_on_builder
from fleet.errors import BuildError
from fleet.resolve.documents.tuned import tune_job
from fleet.resolve.images.image_files import runtime_sources, search_sources
from runtime.contract.codec import from_json
from runtime.contract.engine.tuning import STATE_FILE, TuneAnswer, TuneJob, TuneState
from tests.fakes.container_host import FakeContainerHost
from tests.unit.build.specs import engine_specs


class Site:
    """One question, a builder, and a folder for what is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        specs = engine_specs(folder / "manifests", "fp32", "int8")
        self.spec = specs[1]
        self.model = folder / "manifests/models/onnx/detector.onnx"
        self.asked: TuneJob = tune_job({each.precision: each for each in specs}, bench_seconds=0.02)
        self.host = FakeContainerHost()
        self.host.images["builder"] = {}
        self.state = folder / "known" / STATE_FILE
        self.log: list[str] = []
        self.runs = 0

    def tune(self) -> TuneAnswer:
        self.runs += 1
        work = self.folder / f"work-{self.runs}"
        work.mkdir()
        return tune_on_builder(
            self.asked, self.spec, self.host, "builder", self.model, work, self.state, fleet="testing",
            on_log=self.log.append,
        )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_container_answers_and_what_it_knows_stays_here(site: Site) -> None:
    answer = site.tune()
    assert answer.proposal is not None
    assert from_json(TuneState, site.state.read_bytes()) == answer.state
    assert site.host.jobs({}) == []  # it is not left on the builder
    again = site.tune()
    assert again.gone_on_with == len(answer.state.trials)
    assert again.state.trials == answer.state.trials


def test_a_container_that_is_killed_is_gone_on_with(site: Site) -> None:
    def kill_after_the_first_trial() -> None:
        while not any("trial 2:" in line for line in list(site.log)):
            time.sleep(0.02)
        (running,) = site.host._containers.values()
        assert running.process is not None
        os.kill(running.process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_the_first_trial, daemon=True)
    killer.start()
    with pytest.raises(BuildError, match="ended with exit code") as caught:
        site.tune()
    killer.join(timeout=60)
    assert "it goes on with what was tried" in (caught.value.hint or "")
    known = from_json(TuneState, site.state.read_bytes())
    assert len(known.trials) == 1
    answer = site.tune()
    assert answer.gone_on_with == 1
    assert answer.state.trials[0] == known.trials[0]


def test_a_container_whose_operator_died_is_gone_on_with(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as died:
        died.setattr(tune, "discard", lambda host, name: None)
        first = site.tune()
    (facts,) = site.host.jobs({LABEL_TUNE: site.host.jobs_started[0][LABEL_TUNE]})
    assert facts.command == COMMAND
    site.state.unlink()
    other = site.tune()
    assert site.host.followed == [facts.name]
    assert other == first
    assert site.host.jobs({}) == []


def test_the_search_travels_with_the_question_and_is_no_part_of_engines_keys() -> None:
    for backend in ("onnxruntime", "tensorrt"):
        there = search_sources(backend)
        image = {name.removeprefix("src/") for name in runtime_sources("builder", backend)}
        assert "runtime/engines/tool/tuning/search.py" in there
        assert not [name for name in image if "/tool/" in name or name.endswith("tuning.py")]


def test_what_the_search_refuses_is_its_own_sentence(site: Site) -> None:
    site.model.write_bytes(b"something else")
    with pytest.raises(BuildError, match=r"model\.onnx has sha256"):
        site.tune()
