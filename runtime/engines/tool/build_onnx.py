"""An engine from an ONNX file alone: what the manifest would say is read from the file, or given as options."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from runtime.contract.codec import canonical_json, digest_of, to_dict
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    JOB_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TRANSFORM_VERSION,
    AccuracyGate,
    BuildJob,
    EngineReport,
    TensorSpec,
)
from runtime.contract.engine.engine_facts import OnnxFacts
from runtime.contract.engine.engine_tool import USAGE, BuildRequest
from runtime.contract.engine.model_front import ConstantSpec, StateSpec
from runtime.contract.engine.onnx_tensors import external_files, why_not_beside
from runtime.engines.backend import Backend, Progress, backend_named
from runtime.engines.build.resolved_job import MIN_SEQUENCE
from runtime.engines.errors import EngineError
from runtime.engines.golden.golden_data import Golden, load_golden, save_golden
from runtime.engines.store import sha256_of, write_atomic
from runtime.engines.tool.build_job import build
from runtime.engines.tool.file_kind import ONNX, kind_of
from runtime.engines.tool.flag_inputs import RANDOM_FRAMES, random_frames
from runtime.engines.tool.onnx_facts import check_names, fixed_shape, read_onnx


def run(request: BuildRequest, progress: Progress) -> EngineReport:
    """Make a job of the file and build it. Raises EngineError."""
    model = Path(request.model)
    if kind_of(model)[0] != ONNX:
        raise EngineError(
            USAGE, f"{model} is not an ONNX file", "give a model's .onnx file, or a manifest's model by name"
        )
    backend = backend_named(request.backend or backend_here())
    facts = read_onnx(model)
    inputs, outputs = _tensors(facts, request)
    with tempfile.TemporaryDirectory(prefix="jetfleet-engine-") as name:
        folder = Path(name)
        (folder / MODEL_FILE).symlink_to(model.absolute())
        weights = _weights(model, folder)
        note = _golden(folder / GOLDEN_FILE, request, inputs, outputs)
        if request.precision == "int8" and "QuantizeLinear" not in facts.operators:
            _calibration(folder / CALIBRATION_DIR, request)
        job = _job(request, backend, inputs, outputs, folder, weights)
        write_atomic(folder / JOB_FILE, canonical_json(job))
        if note:
            progress(note)
        report = build(folder, Path(request.out), request.timing_cache)
    if note:
        report = replace(report, notes=(note, *report.notes))
        write_atomic(Path(request.out) / REPORT_FILE, canonical_json(report))
    return report


def _weights(model: Path, folder: Path) -> dict[str, str]:
    """Copy the files that hold the model's weights into the job; return their sha256. Raises EngineError ``usage``."""
    import onnx

    found = {}
    for name in external_files(onnx.load(str(model), load_external_data=False)):
        source = model.parent / name
        if (why := why_not_beside(name)) or not source.is_file():
            raise EngineError(
                USAGE,
                f"{model.name} keeps weights in {name!r}, which {why or 'is not next to it'}",
                "put both files together, or save the model as one",
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
        found[name] = sha256_of(source)
    return found


def backend_here() -> str:
    """Return the backend to use where nobody says which: TensorRT where it is installed."""
    return "tensorrt" if importlib.util.find_spec("tensorrt") is not None else "onnxruntime"


def _tensors(facts: OnnxFacts, request: BuildRequest) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    check_names(request.shapes, [tensor.name for tensor in facts.inputs])
    kept = {*request.state, *request.constants}
    given = [item for item in facts.inputs if item.name not in kept]
    inputs = tuple(TensorSpec(item.name, fixed_shape(item, request.shapes), item.dtype) for item in given)
    for spec in inputs:
        if _looks_like_images(spec) and spec.shape[0] != 1:
            raise EngineError(
                USAGE,
                f"input {spec.name!r} is {'x'.join(map(str, spec.shape)) or 'a scalar'}: an engine takes one frame at "
                "a time, so the first dimension is 1",
                "export the model with batch 1, or with a free first dimension",
            )
    return inputs, tuple(TensorSpec(item.name, ()) for item in facts.outputs)


def _looks_like_images(spec: TensorSpec) -> bool:
    """Pictures have channels, first or last; a state may begin with its number of layers, a setting has no shape."""
    return len(spec.shape) == 4 and (spec.shape[1] in (1, 3, 4) or spec.shape[3] in (1, 3, 4))


def _golden(
    target: Path, request: BuildRequest, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> str:
    """Put golden data in place; return what is to be said of it."""
    if request.golden is None:
        count = MIN_SEQUENCE if request.state else RANDOM_FRAMES
        save_golden(target, Golden(random_frames(inputs, request.seed, count), {}))
        return (
            f"golden data: {count} frames of a random generator (seed {request.seed}): accuracy on them says "
            "little about real frames; give some with --golden"
        )
    given = Path(request.golden)
    try:
        load_golden(given, inputs, [spec.name for spec in outputs], state=_state(request))
    except EngineError as error:
        raise EngineError(USAGE, error.message, error.hint) from error
    target.symlink_to(given)
    return ""


def _state(request: BuildRequest) -> tuple[StateSpec, ...]:
    return tuple(StateSpec(name, output, shape=request.shapes.get(name)) for name, output in request.state.items())


def _calibration(target: Path, request: BuildRequest) -> None:
    if request.calibration is None:
        raise EngineError(
            USAGE,
            "int8 needs calibration data: without it there are no ranges",
            "give frames with --calibration: an .npz file with an array under each input's name, frames first",
        )
    given = Path(request.calibration)
    if not given.exists():
        raise EngineError(USAGE, f"there is no calibration data at {given}", "name an .npz file, or a folder of them")
    if given.is_dir():
        target.symlink_to(given, target_is_directory=True)
        return
    target.mkdir()
    (target / "frames.npz").symlink_to(given)


def _job(
    request: BuildRequest,
    backend: Backend,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    folder: Path,
    weights: dict[str, str],
) -> BuildJob:
    gate = AccuracyGate() if request.min_cosine is None else AccuracyGate(request.min_cosine)
    job = BuildJob(
        key="",
        model=request.name,
        backend=backend.name,
        precision=request.precision,
        onnx_sha256=sha256_of(folder / MODEL_FILE),
        inputs=inputs,
        outputs=outputs,
        options=request.options,
        device=backend.device_facts(),
        accuracy=gate,
        enforce_accuracy=request.min_cosine is not None,
        max_latency_p99_ms=request.max_latency_p99_ms,
        bench_seconds=request.bench_seconds,
        external=weights,
        state=_state(request),
        constants=tuple(
            ConstantSpec(name, (value,), request.shapes.get(name)) for name, value in request.constants.items()
        ),
    )
    data = sorted((folder / CALIBRATION_DIR).glob("*")) if request.precision == "int8" else []
    content = {
        "bare": TRANSFORM_VERSION,  # no manifest, no builder image: such a key is in no registry
        "versions": backend.versions(),
        "job": {**to_dict(job), "bench_seconds": None, "max_latency_p99_ms": None, "enforce_accuracy": None},
        "golden": sha256_of(folder / GOLDEN_FILE),
        "weights": weights,
        "calibration": [(file.name, sha256_of(file)) for file in data if file.is_file()],
    }
    return replace(job, key=digest_of(content))
