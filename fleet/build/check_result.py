"""A builder's word is checked: against the job it was given, and against the bytes that it handed over."""

from __future__ import annotations

from pathlib import Path

from fleet.build.sensitivity import gate_error
from fleet.errors import BuildError, FleetError
from fleet.manifest.files.named_files import file_sha256
from fleet.ports import JobResult
from fleet.resolve.desired import EngineSpec
from runtime.contract.codec import ContractError, T, from_json
from runtime.contract.device import differing_facts
from runtime.contract.engine.build import (
    FAILURE_FILE,
    GOLDEN_FILE,
    IDENTITY_FILE,
    REPORT_FILE,
    BuildFailure,
    DeviceFacts,
    EngineIdentity,
    EngineReport,
)

ENGINE_FILES = ("engine.onnx", "engine.plan")
EXIT_GATE = 4
_GATES = ("accuracy", "latency")
_KILLED = 137
_TAIL_LINES = 20


def describe(spec: EngineSpec) -> str:
    """Name an engine the way messages do: ``sign_text int8 for sim-x86``."""
    core = spec.job.options.dla_core
    where = "" if core is None else f" (DLA core {core})"
    return f"{spec.model} {spec.precision} for {spec.profile.name}{where}"


def read_answer(spec: EngineSpec, result: JobResult, folder: Path) -> EngineReport:
    """Return the report of a finished job whose outputs are in ``folder``, everything in it checked.

    Raises EngineGateError when the builder's gate refused the engine, BuildError when there is none, or when the
    answer does not fit the job.
    """
    if (folder / FAILURE_FILE).is_file():
        raise failure_of(spec, result, _document(BuildFailure, folder / FAILURE_FILE, spec))
    if result.exit_code != 0:
        raise _died(spec, result)
    report = _document(EngineReport, folder / REPORT_FILE, spec)
    sidecar = _document(EngineIdentity, folder / IDENTITY_FILE, spec)
    wrong = _mismatches(spec, report.identity, sidecar, folder)
    if wrong:
        raise BuildError(
            f"{describe(spec)}: the builder's answer does not fit its job: {'; '.join(wrong)}",
            hint=f"nothing was published; check the builder {spec.profile.builder.endpoint} and its image, then build "
            "again",
        )
    return report


def failure_of(spec: EngineSpec, result: JobResult, failure: BuildFailure) -> FleetError:
    """Return the error for what the builder itself said."""
    message = f"{describe(spec)}: {failure.message}"
    if failure.kind in _GATES or result.exit_code == EXIT_GATE:
        remedy = "write those lines into the model's file, then run fleet build again"
        return gate_error(message, failure, remedy=remedy)
    if failure.detail:
        message += "\n" + "\n".join(f"  {line}" for line in failure.detail.strip().splitlines()[-_TAIL_LINES:])
    return BuildError(message, hint=failure.hint)


def _died(spec: EngineSpec, result: JobResult) -> BuildError:
    endpoint = spec.profile.builder.endpoint
    if result.oom_killed or result.exit_code == _KILLED:
        return BuildError(
            f"{describe(spec)}: the builder on {endpoint} was killed, out of memory most likely",
            hint="give the builder more memory or swap, set the profile's builder.parallel to 1, "
            "or use fewer calibration samples",
        )
    tail = "\n".join(f"  {line}" for line in result.log_tail.strip().splitlines()[-_TAIL_LINES:])
    return BuildError(
        f"{describe(spec)}: the builder on {endpoint} ended with exit code {result.exit_code} and no explanation; "
        f"its last lines:\n{tail or '  (no output)'}",
        hint="this is a defect of the builder image: report it with these lines",
    )


def _document(cls: type[T], path: Path, spec: EngineSpec) -> T:
    try:
        return from_json(cls, path.read_bytes())
    except (OSError, ContractError) as error:
        raise BuildError(
            f"{describe(spec)}: the builder left no readable {path.name}: {error}",
            hint="builder image and fleet must be of one version: run fleet build again after updating jetfleet",
        ) from error


def _mismatches(spec: EngineSpec, claimed: EngineIdentity, sidecar: EngineIdentity, folder: Path) -> list[str]:
    pairs = (
        ("key", claimed.key, spec.key),
        ("model", claimed.model, spec.model),
        ("precision", claimed.precision, spec.precision),
        ("backend", claimed.backend, spec.job.backend),
        ("DLA core", claimed.dla_core, spec.job.options.dla_core),
    )
    wrong = [f"{name} is {found}, expected {asked}" for name, found, asked in pairs if found != asked]
    if sidecar != claimed:
        wrong.append(f"{IDENTITY_FILE} and {REPORT_FILE} disagree")
    if not (folder / GOLDEN_FILE).is_file():
        wrong.append(f"{GOLDEN_FILE} is missing")
    return wrong + _device_mismatches(spec.job.device, claimed.device) + _file_mismatches(claimed, folder)


def _device_mismatches(asked: DeviceFacts, found: DeviceFacts) -> list[str]:
    return [
        f"it was built on {name} {have}, the profile says {want}" for name, want, have in differing_facts(asked, found)
    ]


def _file_mismatches(claimed: EngineIdentity, folder: Path) -> list[str]:
    if claimed.engine_file not in ENGINE_FILES:
        return [f"engine file {claimed.engine_file!r} is not one of {', '.join(ENGINE_FILES)}"]
    path = folder / claimed.engine_file
    if not path.is_file():
        return [f"{claimed.engine_file} is missing"]
    size, found = path.stat().st_size, file_sha256(path)
    if claimed.engine_bytes != size or claimed.engine_sha256 != found:
        said = f"{claimed.engine_bytes} with {claimed.engine_sha256[:12]}…"
        return [f"{claimed.engine_file} has {size} bytes with sha256 {found[:12]}…, the report says {said}"]
    return []
