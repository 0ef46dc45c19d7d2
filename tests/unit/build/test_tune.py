"""The search in a builder's container: gone on with, killed, and asked again. Its command really runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fleet.build.tune import COMMAND, LABEL_TUNE, tune_on_builder
from fleet.errors import BuildError
from fleet.resolve.documents.tuned import tune_job
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
        self.asked: TuneJob = tune_job({each.precision: each for each in specs})
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


def test_another_operator_goes_on_with_the_container_that_runs(site: Site) -> None:
    started = threading.Thread(target=site.tune, daemon=True)
    started.start()
    while not any("trial 1:" in line for line in list(site.log)):
        time.sleep(0.02)
    (facts,) = site.host.jobs({})
    assert facts.command[1:] == COMMAND[1:]
    other = site.tune()
    started.join(timeout=120)
    assert site.host.followed
    assert other.proposal is not None
    assert all(LABEL_TUNE in labels for labels in site.host.jobs_started)


def test_what_the_search_refuses_is_its_own_sentence(site: Site) -> None:
    site.model.write_bytes(b"something else")
    with pytest.raises(BuildError, match=r"model\.onnx has sha256"):
        site.tune()
