"""Jobs of folders that hold a `tune.json`, built at each precision side by side, or searched for the fastest mix.

    python3 -m tests.gpu.tune_jobs each FOLDER:PRECISION …      # four at once
    python3 -m tests.gpu.tune_jobs search FOLDER                # alone on the GPU; goes on with FOLDER/state

Reports and the search's state are copied to `$OUT`, where that is set, and results are printed as they come.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from runtime.contract.codec import canonical_json
from runtime.contract.engine.accuracy_gate import described as measured
from runtime.contract.engine.build import JOB_FILE, REPORT_FILE
from runtime.contract.engine.tuning import STATE_FILE, Mix, TuneAnswer, described
from runtime.engines.errors import EngineError
from runtime.engines.tool.tune import read_tune_job
from runtime.engines.tool.tuning.search import Search
from tests.gpu.site import backend, run_job

_AT_ONCE = 4
_DEADLINE_S = 300.0


def keep(source: Path, name: str) -> None:
    """Copy a result to where it is fetched from."""
    if (out := os.environ.get("OUT")) and source.is_file():
        shutil.copyfile(source, Path(out) / name)


def build(folder: Path, precision: str) -> int:
    """Build one precision of a folder's job, with its gates set aside: a refused one is measured too."""
    name, started = f"{folder.name}.{precision}", time.monotonic()
    job = folder.with_name(name)
    shutil.copytree(folder, job, dirs_exist_ok=True)
    asked = replace(read_tune_job(folder).jobs[precision], enforce_accuracy=False, deadline_s=_DEADLINE_S)
    asked = replace(asked, options=replace(asked.options, allow_mixed_precision=True))
    (job / JOB_FILE).write_bytes(canonical_json(asked))
    try:
        report = run_job(job, job / "out", backend())
    except EngineError as error:
        print(f"NOT BUILT {name}: {error}", flush=True)
        return 1
    keep(job / "out" / REPORT_FILE, f"{name}.report.json")
    numbers = "; ".join(f"{item.output}: {measured(item)}" for item in report.accuracy)
    found = "; ".join(f"{item.said}, agreement {item.agreement}" for item in report.decoded)
    print(
        f"BUILT {name}: {time.monotonic() - started:.0f} s, "
        f"p50 {report.latency.p50:.3f} p99 {report.latency.p99:.3f} ms, "
        f"main {report.extra['main_layer_precisions']}; {numbers}; {found}",
        flush=True,
    )
    for note in report.notes:
        print(f"  note {name}: {note}", flush=True)
    return 0


def search(folder: Path) -> int:
    """Search, or go on with a search."""
    started = time.monotonic()

    def log(line: str) -> None:
        print(f"[{time.monotonic() - started:6.1f}s] {line}", flush=True)

    answer = Search(read_tune_job(folder), folder, folder / "state", backend(), log).run()
    keep(folder / "state" / STATE_FILE, f"{folder.name}.state.json")
    for report in folder.glob(f"state/engine-*/{REPORT_FILE}"):
        keep(report, f"{folder.name}.{report.parent.name}.report.json")
    show(answer)
    return 0


def show(answer: TuneAnswer) -> None:
    """Print what was tried and found."""
    for trial in answer.state.trials:
        numbers = "; ".join(measured(item) for item in trial.accuracy)
        agreement = "; ".join(f"{item.agreement}" for item in trial.decoded)
        times = f"p50 {trial.latency.p50:.3f} p99 {trial.latency.p99:.3f} ms" if trial.latency else "-"
        print(f"TRIAL {described(trial.mix)}: {trial.verdict}; {numbers}; decoded {agreement}; {times}; "
              f"{trial.main_precisions}; {trial.seconds:.0f} s; {trial.why}", flush=True)  # fmt: skip
    for ranked in answer.state.ranked:
        print(f"RANKED {ranked.line}: {ranked.said}", flush=True)
    for each in answer.state.in_turn:
        print(f"IN TURN {described(each.mix)}: p50 {each.p50:.3f} p99 {each.p99:.3f} ms over {each.count}", flush=True)
    proposal: Mix | None = answer.proposal
    print(f"PROPOSAL {described(proposal) if proposal else None}: {proposal}", flush=True)
    print(f"spent {answer.state.spent_s:.0f} s in {answer.state.runs} runs, gone on with {answer.gone_on_with} trials, "
          f"complete: {answer.complete}; {'; '.join(answer.notes)}", flush=True)  # fmt: skip


def main() -> int:
    """Entry point."""
    verb, *names = sys.argv[1:]
    if verb == "search":
        return search(Path(names[0]))
    if verb == "here":
        return build(Path(names[0]), names[1])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return max(pool.map(_process, names))


def _process(name: str) -> int:
    folder, _, precision = name.partition(":")
    command = [sys.executable, "-m", "tests.gpu.tune_jobs", "here", folder, precision]
    return abs(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
