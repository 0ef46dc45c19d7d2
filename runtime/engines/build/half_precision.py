"""What an fp16 engine would answer on hardware with half-precision kernels, said where this CPU has none."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from runtime.contract.engine.build import BuildJob
from runtime.engines.backend import BuiltEngine
from runtime.engines.golden.accuracy import Sample, free_axes, violation, worst
from runtime.engines.golden.golden_data import Golden
from runtime.engines.golden.run_golden import Buffers, run_frames
from runtime.engines.graph.rounding import rounded
from runtime.engines.onnxruntime_.session import open_session


def half_precision_notes(job: BuildJob, built: BuiltEngine, golden: Golden, fp32: Sequence[Sample]) -> list[str]:
    """Return a note when the same graph misses the gate as soon as values between nodes are float16 too.

    Only of ONNX Runtime's engines whose main layers run at fp32 here; they are judged by what they really answer.
    """
    if job.backend != "onnxruntime" or job.precision != "fp16" or not _kept_wide(built):
        return []
    session = open_session(rounded(onnx.load(str(built.file))).SerializeToString(), optimize=False)
    names = [spec.name for spec in built.outputs]

    def answer(feeds: Buffers) -> Buffers:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    answers = run_frames(answer, built.inputs, golden, job.state)
    wrong = violation(worst(answers, fp32, free_axes(built.outputs), state=job.state), job.accuracy)
    if wrong is None:
        return []
    note = f"with half precision between nodes, as GPUs have it, this engine would miss its gate: {wrong}"
    return [f"{note}; this CPU keeps fp32 there"]


def _kept_wide(built: BuiltEngine) -> bool:
    return built.main_precisions.get("fp16", 0) < sum(built.main_precisions.values())
