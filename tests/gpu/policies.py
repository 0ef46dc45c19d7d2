"""Policies with state and observations on a real TensorRT, against NumPy: ``python3 -m tests.gpu.policies FOLDER``.

A policy of 48 observations that the graph composes (with its previous action), an LSTM, and Silero VAD where
``SILERO`` names its file. Every precision; prints one line each, exit code 1 when one is not as it should be.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    FAILURE_FILE,
    JOB_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.contract.engine.model_front import StateSpec
from runtime.engines.build.job import run
from runtime.engines.golden.golden_data import Golden
from runtime.engines.golden.run_golden import run_golden
from runtime.engines.tensorrt_ import BACKEND
from tests.fakes.nodes.legged_robot import INPUTS, LEGGED, STATE, messages, observed
from tests.fakes.nodes.policy_models import ACTIONS, lstm_answers, lstm_policy, mlp_answer, mlp_policy, mlp_weights
from tests.unit.engines.models import make_job

ACTIONS_OUT = (TensorSpec("actions", ()),)
LIMITS = {"fp32": 1e-3, "fp16": 0.03, "int8": 0.6}
"""Largest difference of an action, whose usual size is 1."""


def walk(count: int) -> np.ndarray:
    return np.random.default_rng(9).normal(0, 1, (count, 6)).astype(np.float32)


def legged_answers(frames: dict[str, np.ndarray], answers: list[np.ndarray]) -> np.ndarray:
    """What the policy should answer to each frame, given what it answered before."""
    found, previous = [], np.zeros(ACTIONS)
    for index, answer in enumerate(answers):
        seen = observed({name: array[index] for name, array in frames.items()}, previous)
        found.append(mlp_answer(seen, mlp_weights())[0])
        previous = answer
    return np.array(found)


def build(folder: Path, precision: str, content: Any, golden: dict[str, np.ndarray], **changes: Any) -> EngineReport:
    # Of layers as small as these TensorRT takes whichever precision is fastest; what counts here is what comes out.
    options = BuildOptions(
        int8=Int8Options() if precision == "int8" else None, optimization_level=1, allow_mixed_precision=True
    )
    job = make_job(
        folder, model=content, golden=golden, precision=precision, backend="tensorrt", options=options,
        accuracy=AccuracyGate(0.9), **changes,
    )  # fmt: skip
    facts = BACKEND.device_facts()
    (folder / JOB_FILE).write_bytes(canonical_json(replace(job, device=facts)))
    np.savez(folder / CALIBRATION_DIR / "frames.npz", allow_pickle=False, **golden)
    if run(folder, folder / "out"):
        raise SystemExit((folder / "out" / FAILURE_FILE).read_text())
    return from_json(EngineReport, (folder / "out" / REPORT_FILE).read_bytes())


def judge(name: str, precision: str, off: float, report: EngineReport) -> bool:
    passed = off <= LIMITS[precision]
    host = report.extra.get("host_p50_ms", 0.0)
    print(
        f"POLICY {name} {precision}: off by {off:.2g} (at most {LIMITS[precision]:g}), host p50 {host:.3f} ms, "
        f"main layers {report.extra['main_layer_precisions']}: {'as it should be' if passed else 'WRONG'}",
        flush=True,
    )
    return passed


def legged(folder: Path, precision: str) -> bool:
    made = {"inputs": INPUTS, "outputs": ACTIONS_OUT, "state": STATE, "observations": (LEGGED,)}
    report = build(folder, precision, mlp_policy(), messages(24), **made)
    frames = messages(20, seed=8)
    answers = [each["actions"][0] for each in _run(folder, frames)]
    return judge("legged", precision, float(np.abs(np.array(answers) - legged_answers(frames, answers)).max()), report)


def lstm(folder: Path, precision: str) -> bool:
    state = (StateSpec("h_in", "h_out"), StateSpec("c_in", "c_out"))
    made = {"inputs": (TensorSpec("obs", (1, 6)),), "outputs": ACTIONS_OUT, "state": state}
    report = build(folder, precision, lstm_policy(), {"obs": walk(24)}, **made)
    answers = np.concatenate([each["actions"] for each in _run(folder, {"obs": walk(24)})])
    return judge("lstm", precision, float(np.abs(answers - lstm_answers(walk(24))).max()), report)


def silero(folder: Path, precision: str) -> bool:
    from tests.unit.engines.silero_loop import FRONT, as_its_authors_run_it, sound

    content = Path(os.environ["SILERO"]).read_bytes()
    report = build(folder, precision, content, {"audio": sound(16)}, **FRONT)
    answers = [float(each["output"][0, 0]) for each in _run(folder, {"audio": sound(24)})]
    right = as_its_authors_run_it(sound(24), Path(os.environ["SILERO"]))
    return judge("silero", precision, float(np.abs(np.array(answers) - right).max()), report)


def _run(folder: Path, frames: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    runner = BACKEND.load(folder / "out")
    try:
        return run_golden(runner, Golden(frames, {}))
    finally:
        runner.close()


def main() -> int:
    """Build and judge what is asked for; return the exit code."""
    known = {"legged": legged, "lstm": lstm, **({"silero": silero} if os.environ.get("SILERO") else {})}
    asked = sys.argv[2:] or [f"{name}:{precision}" for name in known for precision in LIMITS]
    passed = []
    for each in asked:
        name, _, precision = each.partition(":")
        try:
            passed.append(known[name](Path(sys.argv[1]) / f"{name}-{precision}", precision))
        except SystemExit as refused:
            print(f"POLICY {name} {precision}: NOT BUILT {refused}", flush=True)
            passed.append(False)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
