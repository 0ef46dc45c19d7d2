"""The search on real engines: what passes, what is kept, and what a killed process leaves.

Accuracy is measured. Times are given where they would decide what is tried next.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import JOB_FILE, BuildOptions, EngineReport, Int8Options, Percentiles
from runtime.contract.engine.engine_tool import TOOL_MODULE, TUNE, ToolAnswer, TuneRequest
from runtime.contract.engine.tuning import (
    ACCURACY,
    ANSWER_FILE,
    CRASHED,
    PASSED,
    STATE_FILE,
    TUNE_FILE,
    UNFINISHED,
    TuneAnswer,
    TuneJob,
    TuneState,
)
from runtime.engines.build import job as build_job
from runtime.engines.build import measure
from runtime.engines.store import read_identity
from runtime.engines.tool.tune import main
from runtime.engines.tool.tuning import search
from runtime.engines.tool.tuning.trial import job_of
from tests.unit.engines.tool.site import refuse, tell
from tests.unit.engines.tuning.site import RUINED, trial, tune_job, whole

ROOT = Path(__file__).parents[4]


def ask(folder: Path, **changes: object) -> TuneAnswer:
    if changes:
        asked = from_json(TuneJob, (folder / TUNE_FILE).read_bytes())
        (folder / TUNE_FILE).write_bytes(canonical_json(replace(asked, **changes)))  # type: ignore[arg-type]
    answer: TuneAnswer = tell(TUNE, TuneRequest(str(folder), str(folder / "state")))
    return answer


def state_of(folder: Path) -> TuneState:
    return from_json(TuneState, (folder / "state" / STATE_FILE).read_bytes())


MILLISECONDS = {"int8": 1.0, "fp16": 2.0, "fp32": 3.0}


def given(precision: str) -> Percentiles:
    milliseconds = MILLISECONDS[precision]
    return Percentiles(milliseconds, milliseconds, milliseconds, milliseconds, 10)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TuneAnswer]]:
    folder = tmp_path_factory.mktemp("tune")
    tune_job(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "bench", lambda runner, golden, *, seconds: given(runner.identity.precision))
        patch.setattr(search, "measured_in_turn", lambda folders, seconds: [in_turn(each) for each in folders])
        yield folder, ask(folder)


def in_turn(folder: Path) -> tuple[float, float, int]:
    times = given(read_identity(folder).precision)
    return times.p50, times.p99, times.count


def test_whole_int8_is_refused_and_a_mix_of_it_passes(found: tuple[Path, TuneAnswer]) -> None:
    _, answer = found
    by_line = {(each.mix.line, each.mix.regions): each for each in answer.state.trials}
    refused = by_line[("int8 minmax", 0)]
    assert refused.verdict == ACCURACY
    assert refused.accuracy[0].min_cosine < 0.995  # measured all the same, for the table
    assert refused.latency is not None
    mix = by_line[("int8 minmax", 1)]
    assert mix.verdict == PASSED
    assert mix.mix.options.int8 is not None
    assert RUINED in mix.mix.options.int8.exclude_nodes
    assert mix.main_precisions == {"fp32": 1, "int8": 4}
    assert by_line[("fp16", 0)].verdict == by_line[("fp32", 0)].verdict == PASSED
    assert answer.complete


def test_regions_are_ranked_with_their_cost_and_their_time(found: tuple[Path, TuneAnswer]) -> None:
    ranked = next(each for each in found[1].state.ranked if each.line == "int8 minmax")
    assert ranked.regions[0].name == RUINED
    assert ranked.regions[0].severity is not None
    assert ranked.regions[0].severity > 1.0 > (ranked.regions[1].severity or 0.0)
    assert all(region.milliseconds for region in ranked.regions)
    assert ranked.suggested == 1


def test_the_proposal_passed_and_is_what_the_builder_then_builds(
    found: tuple[Path, TuneAnswer], tmp_path: Path
) -> None:
    folder, answer = found
    assert answer.proposal is not None
    assert answer.proposal in [each.mix for each in answer.state.trials if each.verdict == PASSED]
    assert (answer.proposal.precision, answer.proposal.regions) == ("int8", 1)  # the only kind that is fast and passes
    asked = from_json(TuneJob, (folder / TUNE_FILE).read_bytes())
    (folder / JOB_FILE).write_bytes(canonical_json(job_of(asked, answer.proposal)))
    assert build_job.run(folder, tmp_path / "out") == 0
    report = from_json(EngineReport, (tmp_path / "out/report.json").read_bytes())
    there = next(each for each in answer.state.trials if each.mix == answer.proposal)
    assert report.accuracy == there.accuracy


def test_the_fastest_are_measured_in_turn_with_a_plain_precision(found: tuple[Path, TuneAnswer]) -> None:
    measured = [each.mix for each in found[1].state.in_turn]
    assert found[1].proposal in measured
    assert any(mix.precision != "int8" for mix in measured)


def test_what_was_found_is_not_looked_for_again(found: tuple[Path, TuneAnswer]) -> None:
    folder, answer = found
    again = ask(folder)
    assert again.state.trials == answer.state.trials
    assert again.state.in_turn == answer.state.in_turn
    assert again.proposal == answer.proposal
    assert again.gone_on_with == len(answer.state.trials)
    assert again.state.runs == answer.state.runs + 1


def test_a_refused_engine_is_not_kept_as_one(found: tuple[Path, TuneAnswer]) -> None:
    for sidecar in (found[0] / "state").glob("engine-*/engine.json"):
        assert from_json(EngineReport, (sidecar.parent / "report.json").read_bytes()).accuracy[0].min_cosine >= 0.995


def test_a_killed_search_is_gone_on_with(tmp_path: Path) -> None:
    tune_job(tmp_path)
    (tmp_path / "request.json").write_bytes(canonical_json(TuneRequest(str(tmp_path), str(tmp_path / "state"))))
    command = [sys.executable, "-m", TOOL_MODULE, TUNE, "request.json", "answer.json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for text in process.stdout:  # the second trial has begun: the first is on disk
        if "trial 2:" in text:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    before = state_of(tmp_path)
    assert len(before.trials) == 1
    assert before.running is not None
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=True)
    answer = from_json(ToolAnswer, (tmp_path / "answer.json").read_bytes())
    assert answer.failure is None, done.stdout
    state = state_of(tmp_path)
    assert state.trials[0] == before.trials[0]
    assert state.trials[1].mix == before.running
    assert answer.result is not None
    assert (answer.result["gone_on_with"], answer.result["complete"]) == (1, True)
    assert state.spent_s > before.spent_s


def test_what_ended_the_process_twice_is_left_out(tmp_path: Path) -> None:
    tune_job(tmp_path)
    ask(tmp_path, seconds=0.5)  # no time for anything
    begun = replace(state_of(tmp_path), running=whole(), attempts=2)
    (tmp_path / "state" / STATE_FILE).write_bytes(canonical_json(begun))
    answer = ask(tmp_path, seconds=300.0)
    crashed = answer.state.trials[0]
    assert (crashed.mix, crashed.verdict) == (whole(), CRASHED)
    assert "2 times" in crashed.why
    assert answer.proposal is not None


def test_without_time_nothing_is_proposed_and_more_time_goes_on(tmp_path: Path) -> None:
    tune_job(tmp_path)
    answer = ask(tmp_path, seconds=0.5)
    assert (answer.proposal, answer.complete, answer.state.trials) == (None, False, ())
    assert any("the time (0 s) was over" in note for note in answer.notes)


def test_another_gate_is_another_search(tmp_path: Path) -> None:
    asked = tune_job(tmp_path)
    ask(tmp_path, seconds=0.5)
    known = replace(state_of(tmp_path), trials=(trial(whole()), trial(whole("fp16", "fp16"), UNFINISHED)))
    (tmp_path / "state" / STATE_FILE).write_bytes(canonical_json(known))
    same = ask(tmp_path, seconds=0.4)
    assert [each.verdict for each in same.state.trials] == [PASSED]  # what had no time to end is tried again
    jobs = {name: replace(job, accuracy=replace(job.accuracy, min_cosine=0.9)) for name, job in asked.jobs.items()}
    other = ask(tmp_path, jobs=jobs)
    assert other.gone_on_with == 0
    assert any("another model, gate, data or library version" in note for note in other.notes)


def test_bad_input_ends_the_search_with_one_sentence(tmp_path: Path) -> None:
    asked = tune_job(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"something else")
    failure = refuse(TUNE, TuneRequest(str(tmp_path), str(tmp_path / "state")))
    assert failure.kind == "bad-model"
    assert not (tmp_path / "state").exists()
    jobs = {"int8": replace(asked.jobs["int8"], onnx_sha256="0" * 64), "fp32": asked.jobs["fp32"]}
    (tmp_path / TUNE_FILE).write_bytes(canonical_json(replace(asked, jobs=jobs)))
    assert "holds no jobs of one model" in refuse(TUNE, TuneRequest(str(tmp_path), str(tmp_path / "state"))).message


def test_a_builders_container_leaves_answer_and_state(tmp_path: Path) -> None:
    folder, out = tmp_path / "job", tmp_path / "out"
    asked = tune_job(folder)
    (folder / TUNE_FILE).write_bytes(canonical_json(replace(asked, jobs={"fp32": asked.jobs["fp32"]})))
    assert main(["--job", str(folder), "--out", str(out)]) == 0
    answer = from_json(TuneAnswer, (out / ANSWER_FILE).read_bytes())
    assert answer.proposal is not None
    assert from_json(TuneState, (out / STATE_FILE).read_bytes()) == answer.state
    assert sorted(path.name for path in out.iterdir()) == [ANSWER_FILE, STATE_FILE]


def test_int8_as_declared_is_tried_too(tmp_path: Path) -> None:
    asked = tune_job(tmp_path)
    declared = BuildOptions(int8=Int8Options("minmax", exclude_nodes=(RUINED,)))
    jobs = {"int8": replace(asked.jobs["int8"], options=declared)}
    answer = ask(tmp_path, jobs=jobs)
    lines = {each.mix.line: each.verdict for each in answer.state.trials}
    assert lines["int8 minmax, as declared"] == PASSED
