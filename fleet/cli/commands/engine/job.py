"""The job of `fleet build` for the machine at hand: a folder instead of a container's archive, the same key."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fleet.cli.commands.engine.shared import absolute, asked
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.manifest.checks.check_dla import why_no_dla
from fleet.manifest.files.named_files import calibration_files
from fleet.manifest.load import LoadedManifest
from fleet.manifest.schema.manifest_schema import Model, ModelUse, Profile
from fleet.manifest.yaml.explain import did_you_mean
from fleet.resolve.desired import EngineSpec
from fleet.resolve.documents.build_job import engine_spec
from fleet.resolve.images.recipe import recipe_for
from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    IDENTITY_FILE,
    JOB_FILE,
    MODEL_FILE,
    EngineReport,
)
from runtime.contract.engine.engine_tool import JOB, JobRequest

_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}


@contextmanager
def place(target: Path) -> Iterator[Path]:
    """Give a folder next to ``target`` that takes its place when the block succeeds: a failed build changes nothing.

    Raises UsageError when ``target`` is there and is no engine's folder.
    """
    if target.exists() and not (target / IDENTITY_FILE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists but is not an engine folder", hint="choose another folder with --out")
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}", hint="choose another folder with --out"
        ) from error
    try:
        yield new
        new.chmod(0o755)
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        if target.exists():
            target.rename(old / "engine")
        new.rename(target)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        for folder in made:  # deepest first; none of them stays empty after a failure
            with suppress(OSError):
                folder.rmdir()


def build_from_manifest(
    path: Path,
    model: str,
    precision: str,
    profile: str | None,
    out: Path,
    seconds: float,
    timing_cache: Path | None,
    *,
    dla_core: int | None,
    no_gates: bool,
) -> EngineReport:
    """Build what `fleet build` would build, from the same job."""
    wiring = Wiring(path)
    spec = _spec(wiring.loaded, model, precision, profile, dla_core)
    source = wiring.sources.fetch(spec)
    job = replace(spec.job, bench_seconds=seconds)
    if no_gates:
        job = replace(job, enforce_accuracy=False, max_latency_p99_ms=None)
    with tempfile.TemporaryDirectory(prefix="jetfleet-job-") as name:
        folder = Path(name)
        (folder / JOB_FILE).write_bytes(canonical_json(job))
        link_data(spec, source, folder)
        request = JobRequest(str(folder), str(out.absolute()), absolute(timing_cache))
        return asked(JOB, request, EngineReport)


def link_data(spec: EngineSpec, source: Path, folder: Path) -> None:
    """Put what a job's documents name into its folder: model, weights, golden and calibration data."""
    (folder / MODEL_FILE).symlink_to(source.absolute())
    for weights in spec.job.external:  # copied: readers of ONNX files follow no link to weights
        (folder / weights).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / weights, folder / weights)
    (folder / GOLDEN_FILE).symlink_to(spec.golden.absolute())
    if spec.calibration is not None:
        (folder / CALIBRATION_DIR).mkdir()
        for sample in calibration_files(spec.calibration):
            (folder / CALIBRATION_DIR / sample.name).symlink_to(sample.absolute())


def _spec(loaded: LoadedManifest, name: str, precision: str, profile: str | None, dla_core: int | None) -> EngineSpec:
    """Return the engine that is asked for. Raises UsageError."""
    model = model_named(loaded, name)
    if precision == "int8" and model.precisions.int8 is None:
        raise UsageError(
            f"model {name} has no calibration data for int8", hint="add precisions.int8.calibration to its file"
        )
    chosen = profile_here(loaded, profile)
    use = ModelUse.model_validate({"model": name, "precision": precision, "dla_core": dla_core})
    if (why := why_no_dla(use, chosen, model)) is not None:
        raise UsageError(why[0], hint=why[1])
    return engine_spec(loaded, chosen, model, precision, recipe_for("builder", chosen), dla_core=dla_core)


def model_named(loaded: LoadedManifest, name: str) -> Model:
    """Return a model of the manifest. Raises UsageError."""
    if name not in loaded.models:
        raise UsageError(
            f"the manifest has no model called {name}, and there is no such file",
            hint=did_you_mean(name, loaded.models) + "; or give an .onnx file",
        )
    return loaded.models[name]


def profile_here(loaded: LoadedManifest, name: str | None) -> Profile:
    """Return the profile of that name, or the only one for this machine's platform. Raises UsageError."""
    if name is not None:
        if name not in loaded.profiles:
            raise UsageError(f"the manifest has no profile called {name}", hint=did_you_mean(name, loaded.profiles))
        return loaded.profiles[name]
    here = _MACHINES.get(platform.machine().lower(), "")
    fitting = [profile for profile in loaded.profiles.values() if profile.platform == here]
    if len(fitting) != 1:
        known = ", ".join(loaded.profiles)
        raise UsageError(
            f"{len(fitting)} of the manifest's profiles are for this machine's platform ({here or platform.machine()})",
            hint=f"say which engine you want with --profile: {known}",
        )
    return fitting[0]
