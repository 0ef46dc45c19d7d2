"""What an engine of a job would answer with some nodes in float, without building it: on the CPU, in ONNX Runtime.

The graphs are those that the builder makes. Half precision is rounded after every node, whatever this CPU would keep in
fp32 between them. For TensorRT they run without ONNX Runtime's optimizations, so that Q/DQ pairs do what they say:
close to what the GPU does, and not the same. The next build tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto

from runtime.contract.engine.accuracy_gate import decoded_limit, lost
from runtime.contract.engine.build import CALIBRATION_DIR, GOLDEN_FILE, MODEL_FILE, BuildJob, Int8Options
from runtime.contract.engine.decoded import NOTHING
from runtime.contract.engine.task_metric import violation as metric_violation
from runtime.engines.backend import Progress, backend_named
from runtime.engines.build.calibration_sequence import with_front
from runtime.engines.build.measure import fp32_answers
from runtime.engines.build.qsnr import half, qsnr_db, steps_of, values_of
from runtime.engines.build.sensitivity import WORST_SEVERITY, Candidate, Measurement, severity_of, share_of
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import violation, worst
from runtime.engines.golden.calibration import calibration_of
from runtime.engines.golden.decoded import DecodingError, decoders_of, view_of
from runtime.engines.golden.golden_data import Arrays, load_golden
from runtime.engines.golden.run_golden import Buffers, first_frame, run_frames
from runtime.engines.golden.task_metric import measure_metric, share_used
from runtime.engines.graph.branches import decided
from runtime.engines.graph.fp16 import halvable, to_fp16
from runtime.engines.graph.front import front_of, with_constants
from runtime.engines.graph.normalize import declared_shapes, freeze, load_model, serialize
from runtime.engines.graph.precision import moves
from runtime.engines.graph.preprocess import engine_input, prepend, preprocess_model
from runtime.engines.graph.quantize import STYLES, Quantizer
from runtime.engines.graph.quantized import PAIRS, check_quantized
from runtime.engines.graph.rounding import rounded
from runtime.engines.graph.transform import folded
from runtime.engines.onnxruntime_.session import free_outputs, open_session


def _newest_opset(backend: str) -> int | None:
    """Return what the backend's parser reads; what TensorRT reads is known only where it is installed."""
    try:
        return backend_named(backend).newest_opset()
    except EngineError:
        return None


def declared_nodes(job: BuildJob) -> tuple[str, ...]:
    """Return the nodes that the job leaves at the higher precision already."""
    if job.precision == "int8":
        return (job.options.int8 or Int8Options()).exclude_nodes
    return job.options.keep_fp32_nodes


class Simulation:
    """Measures a job's graph with some nodes in float, on its golden frames."""

    def __init__(self, job: BuildJob, folder: Path, log: Progress, *, threads: int = 1) -> None:
        """Calibrate, and run the model at fp32. ``threads``: of a run. Raises EngineError."""
        self._threads = threads
        self._job, self._declared = job, frozenset(declared_nodes(job))
        inputs = tuple(map(engine_input, job.inputs))
        golden = load_golden(
            folder / GOLDEN_FILE,
            inputs,
            [spec.name for spec in job.outputs],
            may_be_empty=job.golden_expect == NOTHING,
            state=job.state,
        )
        self._fp32 = fp32_answers(folder / MODEL_FILE, job, inputs, golden)
        self._decoders, _ = decoders_of(job.decoders, view_of(job.inputs), plugins=False)
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

    @property
    def graph(self) -> GraphProto:
        """The folded float graph, whose nodes the options name."""
        graph: GraphProto = self._core.graph
        return graph

    def _halved(self, excluded: Collection[str]) -> ModelProto:
        return rounded(to_fp16(self._core, self._job.options.keep_fp32_ops, excluded))

    def __call__(self, nodes: frozenset[str]) -> Measurement:
        """Return what the gate says with ``nodes`` and the declared ones in float. Raises EngineError."""
        core = self._low(self._declared | nodes)
        self._front.compose(core, self._job.inputs)
        graph = prepend(core, self._job.inputs)
        session = open_session(serialize(graph), self._threads, optimize=self._job.backend == "onnxruntime")
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
        of_decoders = self._decoded_severity(answers)
        numbers_pass = violation(measured, gate) is None
        return Measurement(
            min(item.min_cosine for item in against_fp32),
            max(item.max_abs_error for item in against_fp32),
            max(severity_of(measured, gate), of_metric, of_decoders),
            numbers_pass and of_decoders <= 1.0 and not (metric and metric_violation(metric, metric.limit)),
        )

    def _decoded_severity(self, answers: Sequence[Arrays]) -> float:
        """Return how much of what the gate allows the decoders' results differ from those of fp32's answers."""
        if not self._decoders.declared:
            return 0.0
        try:
            decoded = self._decoders.report(self._decoders(answers), self._decoders(self._fp32))
        except DecodingError:
            return WORST_SEVERITY
        limit = decoded_limit(self._job.accuracy)
        shares = [share_of(1.0 - item.agreement, 1.0 - limit) for item in decoded if item.agreement is not None]
        # Rounding decides nothing: what the gate itself says of the same numbers does.
        return max([*shares, 0.0]) if lost(decoded, self._job.accuracy) else min(max([*shares, 0.0]), 1.0)

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
        first = self._front.with_composed(first_frame(self._inputs, self._golden, self._job.state), self._job.inputs)
        found: dict[str, npt.NDArray[Any]] = {}
        for spec in self._own:
            frame = first[spec.name]
            if spec.preprocess is not None:
                session = open_session(preprocess_model(spec).SerializeToString(), optimize=False)
                frame = np.asarray(session.run(None, {"frame": frame})[0])
            found[spec.name] = frame
        return found
