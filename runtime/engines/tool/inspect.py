"""What a file or folder is: told from its bytes and documents; loaded only where its layers are asked for."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from runtime.contract.codec import ContractError, from_dict, from_json
from runtime.contract.device import same_fact
from runtime.contract.engine.build import REPORT_FILE, DeviceFacts, EngineIdentity, EngineReport, TensorSpec
from runtime.contract.engine.engine_facts import Compatibility, EngineFacts, LayerFacts, PlanFacts
from runtime.contract.engine.engine_tool import USAGE, InspectRequest, Shapes
from runtime.contract.json_decoder import WORDS, decode
from runtime.engines.backend import Progress, backend_named
from runtime.engines.device.device_facts import JetsonFacts, read_jetson
from runtime.engines.device.plan_header import HEADER_BYTES, read_plan_header
from runtime.engines.device.preflight import check_engine, this_platform
from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import layer_rows
from runtime.engines.store import load_engine_dir, sha256_of
from runtime.engines.tool.file_kind import ENGINE, ONNX, PLAN, REPORT, kind_of

_MAX_FRONT = 1 << 20
_NOTHING_OF_TENSORS = "tensors and layers of a plan can be read only with the TensorRT and GPU that it was built for"
_NO_LAYERS = "layers are not listed: the report does not hold them"


def run(request: InspectRequest, _progress: Progress) -> EngineFacts:
    """Look, and judge where that is asked for. Raises EngineError."""
    facts = look(Path(request.path))
    if request.layers and not facts.layers:
        facts = _with_layers(facts, request.shapes)
    elif request.layers and request.times and all(layer.ms is None for layer in facts.layers):
        facts = _with_times(facts, request.shapes)
    if request.check:
        facts = replace(facts, verdict=judge(facts))
    return facts


def look(path: Path) -> EngineFacts:
    """Return what is at ``path``. Raises EngineError ``usage``, ``corrupt``, ``bad-model``."""
    kind, there = kind_of(path)
    if kind == ENGINE:
        return _engine(there)
    if kind == REPORT:
        return _report(there)
    facts = EngineFacts(str(there), kind, there.stat().st_size, sha256_of(there))
    if kind == PLAN:
        return replace(facts, plan=plan_facts(there), notes=_plan_notes(there))
    from runtime.engines.tool.onnx_facts import read_onnx

    return replace(facts, onnx=read_onnx(there))


def _engine(folder: Path) -> EngineFacts:
    identity, files = load_engine_dir(folder)
    report = _report_beside(folder, identity)
    facts = EngineFacts(
        str(folder), ENGINE, identity.engine_bytes, identity.engine_sha256, identity, report, layers=_layers_in(report)
    )
    if report is None:
        facts = replace(facts, notes=(f"there is no {REPORT_FILE} in its folder: its measurements are not known",))
    if identity.backend == "tensorrt":
        return replace(facts, plan=plan_facts(files.engine))
    try:
        from runtime.engines.tool.onnx_facts import read_onnx
    except ImportError:  # a robot runs engines without the packages that build them
        return facts
    return replace(facts, onnx=read_onnx(files.engine))


def _report_beside(folder: Path, identity: EngineIdentity) -> EngineReport | None:
    """Return the report that belongs to this very engine. Raises EngineError ``corrupt``."""
    path = folder / REPORT_FILE
    if not path.is_file():
        return None
    report = _parse(path)
    if report.identity != identity:
        raise EngineError(
            "corrupt",
            f"{path} is the report of another engine than the one in this folder",
            "remove it, or build the engine again",
        )
    return report


def _report(path: Path) -> EngineFacts:
    report = _parse(path)
    identity = report.identity
    return EngineFacts(
        str(path), REPORT, identity.engine_bytes, identity.engine_sha256, identity, report, layers=_layers_in(report)
    )


def _parse(path: Path) -> EngineReport:
    try:
        return from_json(EngineReport, path.read_bytes())
    except ContractError as error:
        raise EngineError(
            USAGE, f"{path} is not an engine report: {error}", "give a report.json that a build wrote"
        ) from error


def _layers_in(report: EngineReport | None) -> tuple[LayerFacts, ...]:
    rows: Any = report.extra.get("layers") if report is not None else None
    return tuple(from_dict(LayerFacts, row) for row in rows or ())


def plan_facts(path: Path) -> PlanFacts:
    """Read a plan's first bytes, past a text that an exporter put in front. Raises EngineError ``corrupt``, OSError."""
    with path.open("rb") as stream:
        start = stream.read(HEADER_BYTES)
        if len(start) < HEADER_BYTES:
            raise EngineError(
                "corrupt", f"{path} has {len(start)} bytes: too few for a TensorRT plan", "build the engine again"
            )
        front = _front(stream, start)
        at = 4 + len(front.encode()) if front else 0
        stream.seek(at)
        header = read_plan_header(stream.read(HEADER_BYTES))
    return PlanFacts(str(header) if header else None, at, front)


def _front(stream: BinaryIO, start: bytes) -> str:
    """Return the JSON text that Ultralytics' exporter puts in front, after four bytes with its length; or nothing."""
    (length,) = struct.unpack_from("<I", start)
    if not (2 <= length <= _MAX_FRONT and start[4:5] == b"{"):
        return ""
    stream.seek(4)
    try:
        text = stream.read(length).decode("utf-8")
        decode(text, "the exporter's words", WORDS)
    except ValueError:
        return ""
    return text


def _plan_notes(path: Path) -> tuple[str, ...]:
    facts = plan_facts(path)
    notes = [_NOTHING_OF_TENSORS]
    if facts.tensorrt is None:
        notes.append("its first bytes name no TensorRT version: older than 8.6, or not a plan")
    if facts.starts_at:
        notes.append(f"the plan begins after {facts.starts_at} bytes added by an exporter: TensorRT needs them removed")
    return tuple(notes)


def _with_times(facts: EngineFacts, shapes: Shapes) -> EngineFacts:
    """Measure the layers' times here; where the engine cannot run, say why they are not known."""
    if facts.kind == REPORT:
        return replace(facts, notes=(*facts.notes, "the report has no layers' times: it is of an older builder"))
    try:
        return _with_layers(facts, shapes)
    except EngineError as error:
        return replace(facts, notes=(*facts.notes, f"layers' times are not known: {error.message}"))


def _with_layers(facts: EngineFacts, shapes: Shapes) -> EngineFacts:
    """List the layers by loading the engine, where that is possible here."""
    if facts.kind == REPORT:
        return replace(facts, notes=(*facts.notes, _NO_LAYERS))
    file = Path(facts.path) / facts.identity.engine_file if facts.identity is not None else Path(facts.path)
    if facts.kind == PLAN or (facts.identity is not None and facts.identity.backend == "tensorrt"):
        backend_named("tensorrt")
        from runtime.engines.tensorrt_.run.bare import plan_layers

        core = facts.identity.dla_core if facts.identity is not None else None
        found = [from_dict(LayerFacts, row) for row in plan_layers(file, core)]
    else:
        found = _onnx_layers(file, facts, shapes)
    notes = tuple(note for note in facts.notes if note != _NOTHING_OF_TENSORS)
    return replace(facts, layers=tuple(found), notes=notes)


def _onnx_layers(file: Path, facts: EngineFacts, shapes: Shapes) -> list[LayerFacts]:
    from runtime.engines.onnxruntime_.probe_run import layers_of
    from runtime.engines.tool.onnx_facts import check_names, fixed_shape

    inputs: Sequence[TensorSpec] = facts.identity.inputs if facts.identity is not None else ()
    if facts.onnx is not None and facts.identity is None:
        check_names(shapes, [tensor.name for tensor in facts.onnx.inputs])
        inputs = [TensorSpec(item.name, fixed_shape(item, shapes), item.dtype) for item in facts.onnx.inputs]
    return [from_dict(LayerFacts, row) for row in layer_rows(layers_of(file, inputs))]


def judge(facts: EngineFacts) -> Compatibility:
    """Hold what is claimed against this machine, as a robot does before it loads. Raises EngineError ``usage``."""
    if facts.kind == ONNX:
        raise EngineError(
            USAGE,
            "an ONNX file fits every device: there is nothing to check",
            "check the engine that is built from it",
        )
    claims_tensorrt = facts.kind == PLAN or (facts.identity is not None and facts.identity.backend == "tensorrt")
    here = this_machine("tensorrt" if claims_tensorrt else "onnxruntime")
    jetson = read_jetson()
    try:
        if facts.identity is None:
            return _plan_verdict(facts, here)
        plan = Path(facts.path) / facts.identity.engine_file if facts.kind == ENGINE and claims_tensorrt else None
        check_engine(facts.identity, facts.identity.backend, here, plan=plan, jetson=jetson)
    except EngineError as error:
        return Compatibility(False, error.message, error.hint, here)
    return Compatibility(True, "it fits this machine", "", here)


def _plan_verdict(facts: EngineFacts, here: DeviceFacts) -> Compatibility:
    claimed = facts.plan.tensorrt if facts.plan is not None else None
    hint = "build the engine on this machine, or for its profile: fleet engine build, fleet build"
    if claimed is None:
        return Compatibility(
            False, "the plan does not say which TensorRT built it, so nothing can be checked", hint, here
        )
    if here.tensorrt is None or not same_fact("tensorrt", claimed, here.tensorrt):
        message = f"the plan was built by TensorRT {claimed}, this machine has {here.tensorrt or 'none'}"
        return Compatibility(False, message, hint, here)
    message = f"its TensorRT {claimed} is this machine's; a bare plan does not say for which module it was built"
    return Compatibility(True, message, "", here)


def this_machine(backend: str, jetson: JetsonFacts | None = None) -> DeviceFacts:
    """Return what this machine is for a backend; where the backend is missing, what its files say."""
    try:
        return backend_named(backend).device_facts()
    except EngineError:
        facts = jetson or read_jetson()
        return DeviceFacts(this_platform(), facts.module, facts.l4t, facts.sm_count)
