"""After a failed accuracy gate: which nodes cost it, and which to leave in float. On the CPU, in ONNX Runtime.

The graphs are those that the builder makes. Half precision is rounded after every node, whatever this CPU would keep in
fp32 between them. For TensorRT they run without ONNX Runtime's optimizations, so that Q/DQ pairs do what they say:
close to what the GPU does, and not the same. The next build tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from runtime.contract.engine.build import CALIBRATION_DIR, GOLDEN_FILE, MODEL_FILE, BuildJob, Int8Options
from runtime.contract.engine.decoded import NOTHING
from runtime.contract.engine.sensitivity import Sensitivity
from runtime.contract.engine.task_metric import violation as metric_violation
from runtime.engines.backend import Progress, backend_named
from runtime.engines.build.calibration_sequence import with_front
from runtime.engines.build.measure import fp32_answers
from runtime.engines.build.qsnr import half, qsnr_db, steps_of, values_of
from runtime.engines.build.sensitivity import (
    MOST_ALONE,
    MOST_SECONDS,
    Budget,
    Candidate,
    Found,
    Measurement,
    search,
    severity_of,
)
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import violation, worst
from runtime.engines.golden.calibration import calibration_of
from runtime.engines.golden.golden_data import Arrays, load_golden
from runtime.engines.golden.run_golden import Buffers, run_frames
from runtime.engines.golden.task_metric import measure_metric, share_used
from runtime.engines.graph.branches import decided
from runtime.engines.graph.fp16 import halvable, to_fp16
from runtime.engines.graph.front import front_of, with_constants
from runtime.engines.graph.normalize import declared_shapes, freeze, load_model, serialize
from runtime.engines.graph.precision import MAIN_OPERATORS, moves
from runtime.engines.graph.preprocess import engine_input, prepend, preprocess_model
from runtime.engines.graph.quantize import STYLES, Quantizer
from runtime.engines.graph.quantized import PAIRS, check_quantized
from runtime.engines.graph.rounding import rounded
from runtime.engines.graph.shapes import fixed
from runtime.engines.graph.transform import folded
from runtime.engines.onnxruntime_.session import free_outputs, open_session

CALIBRATOR = "calibrator"
_SHARE_OF_REST = 0.7
"""Of the time until the job's deadline: what is not measured by then is said to be so, and the answer gets home."""


def diagnose(
    job: BuildJob,
    folder: Path,
    log: Progress,
    *,
    elapsed_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Sensitivity:
    """Return what a job's failed accuracy gate at int8 or fp16 comes from.

    ``folder`` is the job's, ``elapsed_s`` what the job has taken so far. Raises EngineError.
    """
    declared = _declared(job)
    if job.options.int8 is not None and job.options.int8.method == CALIBRATOR and job.precision == "int8":
        raise EngineError(
            "calibration",
            "TensorRT's own calibrator does not support node names, so no node can stay in float",
            "use method minmax, percentile or entropy",
        )
    seconds = MOST_SECONDS
    if job.deadline_s is not None:
        seconds = min(seconds, (job.deadline_s - elapsed_s) * _SHARE_OF_REST)
    # Calibrating once more takes no longer than the build took, which did the same and more.
    if seconds <= elapsed_s and seconds < MOST_SECONDS:
        raise EngineError(
            "internal",
            f"the job has {max(seconds, 0.0):.0f} s left for it, and its build took {elapsed_s:.0f} s",
            "raise the profile's builder.timeout",
        )
    job = replace(job, inputs=fixed(job.inputs))  # golden frames have the opt shape of a range
    trial = _Trial(job, folder, log)
    candidates = trial.candidates()
    log(f"sensitivity: {len(candidates)} nodes at {job.precision}, at most {seconds:.0f} s")
    budget = Budget(seconds, clock=clock)
    found = search(candidates, trial, budget)
    return _report(job, declared, candidates, found, budget)


def _newest_opset(backend: str) -> int | None:
    """Return what the backend's parser reads; what TensorRT reads is known only where it is installed."""
    try:
        return backend_named(backend).newest_opset()
    except EngineError:
        return None


def _declared(job: BuildJob) -> tuple[str, ...]:
    if job.precision == "int8":
        return (job.options.int8 or Int8Options()).exclude_nodes
    return job.options.keep_fp32_nodes


class _Trial:
    """Measures a job's graph with some nodes in float, on its golden frames."""

    def __init__(self, job: BuildJob, folder: Path, log: Progress) -> None:
        self._job, self._declared = job, frozenset(_declared(job))
        inputs = tuple(map(engine_input, job.inputs))
        golden = load_golden(
            folder / GOLDEN_FILE,
            inputs,
            [spec.name for spec in job.outputs],
            may_be_empty=job.golden_expect == NOTHING,
            state=job.state,
        )
        self._fp32 = fp32_answers(folder / MODEL_FILE, job, inputs, golden)
        self._expected = golden.expected_samples() if golden.expected else []
        self._golden, self._inputs = golden, inputs
        int8 = job.options.int8 or Int8Options()
        self._front = front_of(job)
        source = with_constants(load_model(folder / MODEL_FILE, _newest_opset(job.backend)), job.constants)
        if check_quantized(source, job.precision, int8) == PAIRS:
            raise EngineError(
                "calibration",
                "the source model is quantized already, so there is nothing to leave in float here",
                "leave nodes in float where the model is quantized, or give the float model",
            )
        self._shapes = declared_shapes(source)
        self._own = self._front.core_inputs(source, job.inputs)
        core = freeze(source, self._own, self._front.core_outputs(job.outputs))
        core = decided(core) if job.constants else core
        self._low: Callable[[Collection[str]], ModelProto]
        if job.precision == "int8":
            self._core = folded(core, "int8.exclude_ops", int8.exclude_ops)
            frames, _ = calibration_of(job, folder / CALIBRATION_DIR, source, partial(with_front, job))
            assert frames is not None
            quantizer = Quantizer(self._core, self._own, frames, int8, style=STYLES[job.backend], progress=log)
            self._low, self._operators = quantizer, frozenset(quantizer.operators)
        else:
            self._core = folded(core, "fp16.keep_fp32_ops", job.options.keep_fp32_ops)
            self._low = self._halved

    def _halved(self, excluded: Collection[str]) -> ModelProto:
        return rounded(to_fp16(self._core, self._job.options.keep_fp32_ops, excluded))

    def __call__(self, nodes: frozenset[str]) -> Measurement:
        """Return what the gate says with ``nodes`` and the declared ones in float. Raises EngineError."""
        core = self._low(self._declared | nodes)
        self._front.compose(core, self._job.inputs)
        graph = prepend(core, self._job.inputs)
        session = open_session(serialize(graph), optimize=self._job.backend == "onnxruntime")
        names = [spec.name for spec in self._job.outputs]
        free = free_outputs(session, self._fp32[0], self._shapes)

        def answer(feeds: Buffers) -> Buffers:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))

        state = self._job.state
        answers: list[Arrays] = run_frames(answer, self._inputs, self._golden, state)
        gate = self._job.accuracy
        empty = self._job.golden_expect == NOTHING
        against_fp32 = worst(answers, self._fp32, free, zeros_agree=empty, state=state)
        given = worst(answers, self._expected, free, zeros_agree=empty, state=state) if self._expected else ()
        measured = (*against_fp32, *given)
        metric = None
        if self._job.metric is not None:
            metric = measure_metric(self._job.metric, answers, self._fp32, self._expected, self._job.inputs)
        of_metric = share_used(metric) if metric else 0.0
        return Measurement(
            min(item.min_cosine for item in against_fp32),
            max(item.max_abs_error for item in against_fp32),
            max(severity_of(measured, gate), of_metric),
            violation(measured, gate) is None and not (metric and metric_violation(metric, metric.limit)),
        )

    def candidates(self) -> list[Candidate]:
        """Return the nodes that the precision changes, with their local noise."""
        reads = {node.name: [*node.input, *self._written(node.output)] for node in self._core.graph.node}
        chosen = [node for node in self._core.graph.node if node.name in self._changed()]
        noise = self._noise({name for node in chosen for name in reads[node.name]})
        return [
            Candidate(
                node.name,
                node.op_type,
                min((noise[name] for name in reads[node.name] if name in noise), default=None),
            )
            for node in chosen
        ]

    def _written(self, names: Sequence[str]) -> Sequence[str]:
        """A half-precision node's result may overflow; an int8 node's is somebody's input, and judged there."""
        return names if self._job.precision == "fp16" else ()

    def _changed(self) -> set[str]:
        if self._job.precision == "fp16":
            names = set(halvable(self._core, self._job.options.keep_fp32_ops))
        else:
            names = {node.name for node in self._core.graph.node if node.op_type in self._operators}
        moving = {node.name for node in self._core.graph.node if moves(node.op_type)}
        return names - moving - self._declared

    def _noise(self, tensors: Collection[str]) -> dict[str, float]:
        """Return the signal to noise of each tensor on the first golden frame, where it is changed at all."""
        values = values_of(self._core, tensors, self._tensors())
        if self._job.precision == "fp16":
            return {name: qsnr_db(array, half(array)) for name, array in values.items()}
        steps = steps_of(self._low(self._declared))
        return {name: qsnr_db(array, steps[name].applied(array)) for name, array in values.items() if name in steps}

    def _tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the first golden frame as the model takes it, after its preprocessing."""
        kept = {spec.input: spec.initial for spec in self._job.state}
        first = {
            spec.name: np.full(spec.shape, kept[spec.name], spec.dtype)
            if spec.name in kept
            else self._golden.frame(0, spec)
            for spec in self._inputs
        }
        composed = self._front.compose_model(self._job.inputs)
        if composed is not None:
            session = open_session(composed.SerializeToString(), optimize=False)
            names = [node.name for node in session.get_outputs()]
            feeds = {node.name: first[node.name] for node in session.get_inputs()}
            first.update(zip(names, session.run(names, feeds), strict=True))
        found: dict[str, npt.NDArray[Any]] = {}
        for spec in self._own:
            frame = first[spec.name]
            if spec.preprocess is not None:
                session = open_session(preprocess_model(spec).SerializeToString(), optimize=False)
                frame = np.asarray(session.run(None, {"frame": frame})[0])
            found[spec.name] = frame
        return found


def _report(
    job: BuildJob, declared: tuple[str, ...], candidates: Sequence[Candidate], found: Found, budget: Budget
) -> Sensitivity:
    bound = (
        f"{found.alone} of {len(candidates)} nodes tried alone (at most {MOST_ALONE}, the noisiest), {budget.used} "
        f"graphs measured (at most {budget.trials}) in {budget.spent():.0f} s (at most {budget.seconds:.0f} s)"
    )
    return Sensitivity(
        precision=job.precision,
        nodes=found.nodes,
        keep=found.keep,
        declared=declared,
        verified=found.verified,
        min_cosine=found.outcome.min_cosine if found.outcome else None,
        max_abs_error=found.outcome.max_abs_error if found.outcome else None,
        bound=bound,
        note=_note(job, candidates, found),
    )


def _note(job: BuildJob, candidates: Sequence[Candidate], found: Found) -> str:
    whole = found.all_in_float
    if whole is not None and not whole.passes:
        return (
            f"even with all {len(candidates)} nodes in float the gate is missed (cosine {whole.min_cosine:.5f} against "
            "the fp32 source model): the precision is not the cause; check the golden data and the gate"
        )
    if not found.verified:
        return "no set of nodes was found in time: the nodes named here are a guess from single measurements"
    left = [item for item in candidates if item.operator in MAIN_OPERATORS]
    kept = [item for item in left if item.node in found.keep]
    if job.precision == "int8" and not job.options.allow_mixed_precision and 2 * len(kept) >= len(left) > 0:
        return (
            f"that leaves {len(kept)} of {len(left)} convolutions and matrix products in float, and the engine would "
            "no longer be an int8 engine: declare fp16, or try another calibration method first"
        )
    return ""
