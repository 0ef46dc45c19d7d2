"""The search itself: one step after the other until nothing is left to try or the time is over.

The state is written before and after every step, so a process that was killed is gone on with by the next one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.contract.engine.build import CALIBRATION_DIR, GOLDEN_FILE, IDENTITY_FILE, MODEL_FILE, BuildJob
from runtime.contract.engine.tuning import (
    CRASHED,
    FAILED,
    UNFINISHED,
    InTurn,
    Mix,
    RankedLine,
    TuneAnswer,
    TuneJob,
    TuneState,
    TuneTrial,
    described,
)
from runtime.engines.backend import Backend, Progress
from runtime.engines.build.sensitivity import Budget
from runtime.engines.build.simulate import Simulation
from runtime.engines.errors import EngineError
from runtime.engines.graph.normalize import load_model
from runtime.engines.graph.shapes import fixed
from runtime.engines.store import sha256_of
from runtime.engines.tool.tuning.finals import busy, finalists, measured_in_turn, proposal
from runtime.engines.tool.tuning.keep_state import StateFolder, asked_digest, mix_digest
from runtime.engines.tool.tuning.plan import plan_of
from runtime.engines.tool.tuning.planner import Build, Rank, next_step
from runtime.engines.tool.tuning.rank import rank
from runtime.engines.tool.tuning.regions import regions_of, timed
from runtime.engines.tool.tuning.trial import job_of, layer_times, run_trial

_MOST_ATTEMPTS = 2
_OF_FINAL = 0.06
"""Of the whole time, for measuring the fastest in turn."""
_OF_RANKING = 0.3
_LEAST_STEP_S = 1.0


@dataclass
class Box:
    """The time that all runs together may take."""

    seconds: float
    before: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.clock()

    def spent(self) -> float:
        """Return seconds of this run and those before."""
        return self.before + self.clock() - self._started

    def left(self) -> float:
        """Return seconds until the search must measure its fastest mixes; negative when that is over."""
        return self.seconds * (1.0 - _OF_FINAL) - self.spent()


class Search:
    """One search in one folder of state. Owned by one process."""

    def __init__(
        self,
        asked: TuneJob,
        folder: Path,
        state_folder: Path,
        backend: Backend,
        log: Progress,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the model and what is known. ``folder``: model, golden and calibration data. Raises EngineError."""
        self._asked, self._folder, self._backend, self._log = asked, folder, backend, log
        self._kept = StateFolder(state_folder)
        self._source = load_model(folder / MODEL_FILE, backend.newest_opset())
        self._plan = plan_of(asked, self._source)
        self._facts = {**backend.versions(), **_flat(backend)}
        state, said = self._kept.load(asked_digest(asked, self._facts, _data(folder)))
        self._notes = [said] if said else []
        self._before = len(state.trials)
        self._box = Box(asked.seconds, state.spent_s, clock)
        self._state = replace(state, runs=state.runs + 1)
        if said or not state.trials:
            self._forget_engines()

    def run(self) -> TuneAnswer:
        """Go on until nothing is left to try or the time is over. Raises EngineError for what every mix would have."""
        self._again()
        step = next_step(self._plan, self._state)
        while step is not None and self._box.left() > self._least(step):
            self._do(step)
            step = next_step(self._plan, self._state)
        complete = step is None
        self._finish()
        self._notes += busy()
        if not complete:
            self._notes.append(
                f"the time ({self._asked.seconds:.0f} s) was over before everything had been tried: run it again with "
                "more --seconds to go on"
            )
        first = next(iter(self._asked.jobs.values()))
        return TuneAnswer(
            model=first.model,
            backend=first.backend,
            state=self._state,
            proposal=proposal(self._state),
            complete=complete,
            gone_on_with=self._before,
            versions=self._backend.versions(),
            notes=tuple(self._notes),
        )

    def close(self) -> None:
        """Give the state's folder to others."""
        self._kept.close()

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, step: Build | Rank) -> None:
        if isinstance(step, Build):
            self._add(self._build(step.mix))
        else:
            self._save(replace(self._state, ranked=(*self._state.ranked, self._rank(step.whole))))

    def _build(self, mix: Mix) -> TuneTrial:
        attempts = self._state.attempts + 1 if self._state.running == mix else 1
        if attempts > _MOST_ATTEMPTS:
            return TuneTrial(mix, CRASHED, f"the process ended {_MOST_ATTEMPTS} times while it was built or measured")
        self._save(replace(self._state, running=mix, attempts=attempts))
        left = self._box.left()
        self._log(f"trial {len(self._state.trials) + 1}: {described(mix)}, {left:.0f} s left")
        job = job_of(self._asked, mix, left)
        out = self._kept.engine(mix)
        trial = run_trial(
            job, mix, self._backend, folder=self._folder, out=out, cache=self._kept.folder / "cache", log=self._log
        )
        if trial.verdict == FAILED and self._box.left() < _LEAST_STEP_S:
            trial = replace(trial, verdict=UNFINISHED)
        self._log(f"{described(mix)}: {trial.verdict}{f', {trial.why}' if trial.why else ''}")
        return trial

    def _rank(self, whole: Mix) -> RankedLine:
        job = job_of(self._asked, whole)
        # What it finds is worth nothing without the time to build it.
        seconds = min(self._box.left() - self._usual(), self._asked.seconds * _OF_RANKING)
        self._log(f"{whole.line}: looking for the regions that cost the accuracy, at most {seconds:.0f} s")
        started = time.monotonic()
        try:
            ranked = self._simulated(job, whole, Budget(seconds, 10_000))
        except EngineError as error:  # what cannot be simulated cannot be repaired; other lines can
            self._notes.append(f"{whole.line}: {error.message}")
            ranked = RankedLine(whole.line, (), 0, f"not measured: {error.message}")
        self._log(f"{whole.line}: {ranked.said}")
        return replace(ranked, seconds=time.monotonic() - started)

    def _simulated(self, job: BuildJob, whole: Mix, budget: Budget) -> RankedLine:
        job = replace(job, inputs=fixed(job.inputs))
        simulation = Simulation(job, self._folder, self._log, threads=os.cpu_count() or 1)
        candidates = simulation.candidates()
        regions = regions_of(simulation.graph, {item.node for item in candidates})
        regions = timed(regions, self._float_times())
        return rank(whole.line, regions, {item.node: item.qsnr_db for item in candidates}, simulation, budget)

    def _float_times(self) -> list[tuple[tuple[str, ...], float]]:
        """Return the layers' times of a float engine that was built already; none where there is none."""
        floats = [trial.mix for trial in self._state.trials if trial.mix.precision != "int8" and not trial.mix.regions]
        for mix in sorted(floats, key=lambda mix: mix.precision, reverse=True):  # fp32 first
            if times := layer_times(self._kept.engine(mix)):
                return times
        return []

    def _finish(self) -> None:
        """Measure the fastest in turn: what separate runs say of each other depends on what else the machine did."""
        mixes = finalists(self._state)
        known = {mix_digest(each.mix) for each in self._state.in_turn}
        if not mixes or known == {mix_digest(mix) for mix in mixes}:
            return
        missing = [mix for mix in mixes if not (self._kept.engine(mix) / IDENTITY_FILE).is_file()]
        if missing:
            self._notes.append(f"not measured in turn: the engine of {described(missing[0])} is not kept any more")
            return
        self._log(f"measuring {len(mixes)} in turn: {', '.join(map(described, mixes))}")
        seconds = min(self._asked.bench_seconds, self._asked.seconds * _OF_FINAL / len(mixes))
        times = measured_in_turn([self._kept.engine(mix) for mix in mixes], seconds)
        found = tuple(InTurn(mix, *each) for mix, each in zip(mixes, times, strict=True))
        self._save(replace(self._state, in_turn=found))

    # ── what is known ────────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, trial: TuneTrial) -> None:
        self._save(replace(self._state, trials=(*self._state.trials, trial), running=None, attempts=0))
        self._drop_engines()

    def _save(self, state: TuneState) -> None:
        self._state = replace(state, spent_s=self._box.spent())
        self._kept.save(self._state)

    def _again(self) -> None:
        """Forget what had no time to end: this run may have more."""
        ended = tuple(trial for trial in self._state.trials if trial.verdict != UNFINISHED)
        self._save(replace(self._state, trials=ended))

    def _least(self, step: Build | Rank) -> float:
        """Return the seconds that a step needs at least: with less left it would be cut, and what it found lost.

        A build takes as long as half of those so far did. A ranking calibrates, runs graphs and leads to a build.
        """
        return max(_LEAST_STEP_S, self._usual() * (1.5 if isinstance(step, Rank) else 1.0))

    def _usual(self) -> float:
        times = sorted(trial.seconds for trial in self._state.trials if trial.verdict not in (CRASHED, UNFINISHED))
        return times[len(times) // 2] if times else 0.0

    def _drop_engines(self) -> None:
        """Keep the engines that may be measured again: the fastest, and those whose layers' times are asked for."""
        floats = [trial.mix for trial in self._state.trials if trial.mix.precision != "int8"]
        keep = {self._kept.engine(mix) for mix in (*finalists(self._state), *floats)}
        for folder in self._kept.folder.glob("engine-*"):
            if folder not in keep:
                shutil.rmtree(folder)

    def _forget_engines(self) -> None:
        for folder in self._kept.folder.glob("engine-*"):
            shutil.rmtree(folder)


def _data(folder: Path) -> list[tuple[str, str]]:
    files = [folder / GOLDEN_FILE, *sorted((folder / CALIBRATION_DIR).glob("*"))]
    return [(file.name, sha256_of(file)) for file in files if file.is_file()]


def _flat(backend: Backend) -> dict[str, str]:
    facts = backend.device_facts()
    return {"device": repr(facts)}
