"""What may be tried for a job: which whole precisions, calibration methods and placements of Q/DQ pairs there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onnx import ModelProto

from runtime.contract.engine.build import BuildJob, BuildOptions, Int8Options
from runtime.contract.engine.tuning import Mix, TuneJob
from runtime.engines.graph.nodes import all_nodes
from runtime.engines.graph.precision import MAIN_OPERATORS
from runtime.engines.graph.quantize import STYLES, operators_for
from runtime.engines.graph.quantized import FLOAT, quantization_of
from runtime.engines.tool.tuning.keep_state import mix_digest
from runtime.engines.tool.tuning.planner import Plan

_METHODS = ("minmax", "percentile", "entropy")
CALIBRATOR = "calibrator"


def plan_of(asked: TuneJob, source: ModelProto) -> Plan:
    """Return what a search may try. ``source``: the model, nodes named."""
    levels = asked.levels or (next(iter(asked.jobs.values())).options.optimization_level,)
    level, wholes = levels[0], []
    on_tensorrt = next(iter(asked.jobs.values())).backend == "tensorrt"
    is_float = quantization_of(source) == FLOAT
    int8 = asked.jobs.get("int8")
    if int8 is not None:
        wholes += (
            _int8(int8, source, level) if is_float else [_mix("int8, its own scales", "int8", int8.options, level)]
        )
    floats = _floats(asked, level)
    slow = [mix for mix in floats if mix.precision == "fp32" and on_tensorrt and len(asked.jobs) > 1]
    first = [*wholes, *(mix for mix in floats if mix not in slow)]
    later = [*(_methods(int8, level) if int8 is not None and is_float else []), *slow]
    rankable = frozenset(mix.line for mix in (*first, *later) if is_float and _has_nodes(mix))
    return Plan(_once(first), _once(later), rankable, tuple(levels[1:]))


def _mix(line: str, precision: str, options: BuildOptions, level: int) -> Mix:
    return Mix(precision, replace(options, optimization_level=level), line)


def _int8(job: BuildJob, source: ModelProto, level: int) -> list[Mix]:
    """Everything at int8; convolutions and matrix products alone; and what the manifest leaves in float today."""
    declared = job.options.int8 or Int8Options()
    method = declared.method
    wholes = [_mix(f"int8 {method}", "int8", BuildOptions(int8=Int8Options(method)), level)]
    quantizable = set(operators_for(Int8Options(method), STYLES[job.backend])) - set(MAIN_OPERATORS)
    between = sorted({node.op_type for node in all_nodes(source.graph)} & quantizable)
    if between and method != CALIBRATOR:
        options = BuildOptions(int8=Int8Options(method, exclude_ops=tuple(between)))
        wholes.append(_mix(f"int8 {method}, products alone", "int8", options, level))
    if declared.exclude_ops or declared.exclude_nodes:
        wholes.append(_mix(f"int8 {method}, as declared", "int8", BuildOptions(int8=declared), level))
    return wholes


def _methods(job: BuildJob, level: int) -> list[Mix]:
    declared = (job.options.int8 or Int8Options()).method
    methods = [*_METHODS, CALIBRATOR] if job.backend == "tensorrt" else [*_METHODS]
    return [
        _mix(f"int8 {method}", "int8", BuildOptions(int8=Int8Options(method)), level)
        for method in methods
        if method != declared
    ]


def _floats(asked: TuneJob, level: int) -> list[Mix]:
    found = []
    for precision in ("fp16", "fp32"):
        job = asked.jobs.get(precision)
        if job is None:
            continue
        found.append(_mix(precision, precision, BuildOptions(), level))
        if job.options.keep_fp32_ops or job.options.keep_fp32_nodes:
            options = BuildOptions(keep_fp32_ops=job.options.keep_fp32_ops, keep_fp32_nodes=job.options.keep_fp32_nodes)
            found.append(_mix(f"{precision}, as declared", precision, options, level))
    return found


def _has_nodes(mix: Mix) -> bool:
    method = mix.options.int8.method if mix.options.int8 else ""
    return mix.precision == "fp16" or (mix.precision == "int8" and method != CALIBRATOR)


def _once(mixes: Iterable[Mix]) -> tuple[Mix, ...]:
    found = {mix_digest(mix): mix for mix in reversed(list(mixes))}
    return tuple(reversed(found.values()))
