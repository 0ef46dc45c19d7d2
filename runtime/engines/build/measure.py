"""From an engine file to a result that can be trusted: sidecar, golden data, measurements, gates, report."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.contract.codec import canonical_json
from runtime.contract.engine.accuracy_gate import described
from runtime.contract.engine.build import (
    GOLDEN_FILE,
    IDENTITY_FILE,
    MODEL_FILE,
    REPORT_FILE,
    BuildJob,
    EngineIdentity,
    EngineReport,
    OutputAccuracy,
    Percentiles,
    TensorSpec,
)
from runtime.contract.engine.decoded import NOTHING
from runtime.contract.engine.task_metric import TaskMetric
from runtime.engines.backend import Backend, BuiltEngine, Progress, Runner
from runtime.engines.build.decoded_gate import judge_decoded
from runtime.engines.build.half_precision import half_precision_notes
from runtime.engines.build.resolved_job import require_sequence
from runtime.engines.errors import EngineError, ForeignOperatorError
from runtime.engines.golden.accuracy import free_axes, violation, worst
from runtime.engines.golden.bench import bench
from runtime.engines.golden.golden_data import Arrays, Golden, load_golden, save_golden, stack
from runtime.engines.golden.run_golden import run_frames, run_golden
from runtime.engines.golden.task_metric import measure_metric, require_metric
from runtime.engines.graph.front import front_of
from runtime.engines.graph.precision import require_precision
from runtime.engines.graph.transform import OWN_SCALES
from runtime.engines.store import sha256_of, write_atomic
from runtime.engines.weight_loss import counted, judge_weights


def finish(
    job: BuildJob,
    backend: Backend,
    built: BuiltEngine,
    *,
    folder: Path,
    out: Path,
    log: Progress,
    build_seconds: float,
    started: float,
) -> EngineReport:
    """Measure ``built``, hold it against the job's gates, and write everything that belongs beside it.

    ``started`` is the job's start on the monotonic clock. Raises EngineError.
    """
    names = [spec.name for spec in built.outputs]
    empty = job.golden_expect == NOTHING
    given = load_golden(folder / GOLDEN_FILE, built.inputs, names, may_be_empty=empty, state=job.state)
    require_sequence(job, given)
    free = free_axes(built.outputs)
    fp32, unrunnable = _reference(folder / MODEL_FILE, job, built, given, log)
    save_golden(out / GOLDEN_FILE, given if given.expected else Golden(given.frames, stack(fp32, free)))
    identity = _identity(job, backend, built)
    write_atomic(out / IDENTITY_FILE, canonical_json(identity))
    runner = backend.load(out)
    try:
        own = run_golden(runner, given)
        accuracy = worst(own, fp32, free, zeros_agree=empty, state=job.state)
        answered = given.expected_samples() if given.expected else []
        expected = worst(own, answered, free, zeros_agree=empty, state=job.state) if answered else ()
        notes = [
            *built.notes,
            *unrunnable,
            *_usable_on_robots(job, built, out),
            *_accuracy_gates(job, accuracy, expected, log),
        ]
        metric = measure_metric(job.metric, own, fp32, answered, job.inputs) if job.metric else None
        notes += _metric_gate(job, metric, log) if metric else []
        notes += half_precision_notes(job, built, given, fp32)
        decoded, said = judge_decoded(job, own, fp32, log)
        notes += said
        notes += judge_weights(job, built.weight_losses)
        if job.precision in ("fp16", "int8"):
            _precision_gate(job, built)
        latency = _latency(job, runner, given, log)
    finally:
        runner.close()
    report = EngineReport(
        identity=identity,
        versions=backend.versions(),
        layer_precisions=built.layer_precisions,
        accuracy=accuracy,
        golden_accuracy=expected,
        latency=latency,
        source_bytes=(folder / MODEL_FILE).stat().st_size,
        build_seconds=build_seconds,
        total_seconds=time.monotonic() - started,
        notes=tuple(notes),
        extra={
            **built.extra,
            "main_layer_precisions": built.main_precisions,
            "golden_frames": len(given),
            **({"fp16_weights": counted(built.weight_losses)} if built.weight_losses else {}),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        },
        metric=metric,
        decoded=decoded,
    )
    write_atomic(out / REPORT_FILE, canonical_json(report))
    return report


def _usable_on_robots(job: BuildJob, built: BuiltEngine, out: Path) -> list[str]:
    """Read the golden data that was written, as a robot does before it serves.

    Returns a note where the manifest waives accuracy. Raises EngineError ``golden`` for data that its self-test would
    refuse, such as a class number that is 0 in every frame.
    """
    try:
        names = [spec.name for spec in built.outputs]
        empty = job.golden_expect == NOTHING
        load_golden(out / GOLDEN_FILE, built.inputs, names, may_be_empty=empty, state=job.state)
    except EngineError as error:
        if job.enforce_accuracy:
            hint = f"{error.hint}; where a right model answers nothing else, say so: golden: {{expect: nothing}}"
            raise EngineError(error.kind, error.message, hint) from error
        return [f"a robot's self-test would refuse this: {error.message}"]
    return []


def _reference(
    source: Path, job: BuildJob, built: BuiltEngine, golden: Golden, log: Progress
) -> tuple[list[Arrays], tuple[str, ...]]:
    """Return the right answers to the golden frames, and what the report should note. Raises EngineError.

    Where ONNX Runtime cannot run the source model, the golden data's expected outputs are all that there is.
    """
    try:
        log(f"reference: the source model at fp32 on {len(golden)} golden frames")
        return fp32_answers(source, job, built.inputs, golden), ()
    except ForeignOperatorError as error:
        if not golden.expected:
            raise EngineError(
                "golden",
                f"{error.message}, so the source model cannot be asked what is right, and the golden data has no "
                "expected outputs",
                "add what a right model answers under each output's name, one entry a frame",
            ) from error
        note = f"{error.message}: the golden data's expected outputs are the reference, not the source model at fp32"
        log(note)
        return golden.expected_samples(), (note,)


def fp32_answers(source: Path, job: BuildJob, inputs: Sequence[TensorSpec], golden: Golden) -> list[Arrays]:
    """Return what the source model answers to every golden frame at fp32. Raises EngineError."""
    from runtime.engines.build.fp32_reference import Reference

    reference = Reference(source, job.inputs, job.outputs, front_of(job))
    # TensorRT takes int32 where the model has int64: the source model gets what it declares.
    own = {spec.name: spec.dtype for spec in job.inputs if spec.preprocess is None}
    takes = [replace(spec, dtype=own.get(spec.name, spec.dtype)) for spec in inputs]
    return run_frames(reference, takes, golden, job.state)


def _identity(job: BuildJob, backend: Backend, built: BuiltEngine) -> EngineIdentity:
    return EngineIdentity(
        key=job.key,
        model=job.model,
        backend=backend.name,
        precision=job.precision,
        engine_file=built.file.name,
        engine_sha256=sha256_of(built.file),
        engine_bytes=built.file.stat().st_size,
        device=backend.device_facts(),
        inputs=built.inputs,
        outputs=built.outputs,
        self_test=job.accuracy,
        dla_core=job.options.dla_core,
        golden_expect=job.golden_expect,
        state=job.state,
    )


def _accuracy_gates(
    job: BuildJob, accuracy: Sequence[OutputAccuracy], expected: Sequence[OutputAccuracy], log: Progress
) -> list[str]:
    """Return notes for gates that the manifest waives. Raises EngineError of kind ``accuracy`` for the others."""
    notes = []
    for measured, against in ((accuracy, "the fp32 source model"), (expected, "the golden data's expected outputs")):
        for item in measured:
            log(f"against {against}: {item.output}: {described(item)}")
        wrong = violation(measured, job.accuracy)
        if wrong is None:
            continue
        if job.enforce_accuracy:
            raise EngineError("accuracy", f"{job.precision} {wrong}, against {against}", _accuracy_hint(job, against))
        notes.append(f"accuracy gate waived: {job.precision} {wrong}, against {against}")
        log(notes[-1])
    return notes


def _metric_gate(job: BuildJob, metric: TaskMetric, log: Progress) -> list[str]:
    """Return notes for a metric's gate that the manifest waives. Raises EngineError of kind ``accuracy``."""
    golden = "" if metric.to_golden is None else f", {metric.to_golden:.5g} to the golden data"
    log(f"{metric.name} of {metric.output}: {metric.to_fp32:.5g} to fp32{golden}, over {metric.frames} frames")
    try:
        require_metric(job.precision, metric)
    except EngineError as error:
        if job.enforce_accuracy:
            raise
        log(f"accuracy gate waived: {error.message}")
        return [f"accuracy gate waived: {error.message}"]
    return []


def _accuracy_hint(job: BuildJob, against: str) -> str:
    if "golden" in against and job.precision == "fp32":
        return "the model's outputs differ from the golden data: use the right model, or make the golden data again"
    if job.precision == "int8":
        return "leave operators or nodes in float (int8.exclude_ops, exclude_nodes), or calibrate with more frames"
    return f"keep operators in fp32 (fp16.keep_fp32_ops), or lower gates.accuracy.{job.precision}"


def _precision_gate(job: BuildJob, built: BuiltEngine) -> None:
    # ONNX Runtime has fp16 kernels only on some CPUs and says so in a note: there the graph's precision is the claim.
    if job.precision == "fp16" and job.backend == "onnxruntime":
        return
    # Whoever quantized the model chose what is int8; that nothing is would still be another engine than the one named.
    own = OWN_SCALES in built.notes and built.main_precisions.get(job.precision, 0) > 0
    require_precision(
        job.precision,
        built.main_precisions,
        built.layer_precisions,
        allow_mixed=job.options.allow_mixed_precision or own,
    )


def _latency(job: BuildJob, runner: Runner, golden: Golden, log: Progress) -> Percentiles:
    """Measure, and hold p99 against the job's limit. Raises EngineError of kind ``latency``."""
    latency = bench(runner, golden, seconds=job.bench_seconds)
    log(
        f"latency: p50 {latency.p50:.2f} ms, p90 {latency.p90:.2f} ms, p99 {latency.p99:.2f} ms "
        f"over {latency.count} inferences"
    )
    limit = job.max_latency_p99_ms
    if limit is not None and not latency.p99 <= limit:
        raise EngineError(
            "latency",
            f"{job.precision} p99 {latency.p99:.1f} ms > {limit:.1f} ms",
            "use a smaller input or a lower precision, or raise gates.latency_p99 for this profile",
        )
    return latency
