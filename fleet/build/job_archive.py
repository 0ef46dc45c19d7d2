"""The two archives of a builder job: what is copied in, and what comes back."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fleet.errors import BuildError
from fleet.manifest.files.named_files import calibration_files
from fleet.ports import DEFAULT_LIMITS
from fleet.resolve.desired import EngineSpec
from fleet.tar_entries import PlainTarInfo
from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import CALIBRATION_DIR, GOLDEN_FILE, JOB_FILE, MODEL_FILE
from runtime.contract.engine.timing import TIMING_DIR

_MAX_FILES = 64
_NEWER = "fleet and the builder image do not match: run fleet build again with one version of jetfleet"


def write_inputs(spec: EngineSpec, model: Path, to: BinaryIO, *, timings: Path | None = None) -> None:
    """Write the job's tar: ``job.json``, the model, golden frames, calibration samples (int8 only), timing caches."""
    with tarfile.open(fileobj=to, mode="w") as tar:
        _add_bytes(tar, JOB_FILE, canonical_json(spec.job))
        _add_file(tar, MODEL_FILE, model)
        for name in spec.job.external:
            _add_file(tar, name, model.parent / name)
        _add_file(tar, GOLDEN_FILE, spec.golden)
        if spec.calibration is not None and spec.precision == "int8":
            for sample in calibration_files(spec.calibration):
                _add_file(tar, f"{CALIBRATION_DIR}/{sample.name}", sample)
        for cache in sorted(timings.iterdir()) if timings is not None else ():
            _add_file(tar, f"{TIMING_DIR}/{cache.name}", cache)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            tar.addfile(_entry(name, path.stat().st_size), file)
    except OSError as error:
        raise BuildError(
            f"cannot put {path} into the build job: {error}",
            hint="the file changed or vanished since the manifest was read, or the disk is full: run it again",
        ) from error


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def unpack_outputs(archive: Path, into: Path, limit: int = DEFAULT_LIMITS.output_bytes) -> None:
    """Unpack the output folder's files, flat. Raises BuildError for anything that is not a plain file in the folder,
    and for more than ``limit`` bytes in all.

    A builder is another machine: a name with a path in it, a link or a device would write outside of ``into``.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, mode="r:", tarinfo=PlainTarInfo) as tar:
            left, there = limit, archive.stat().st_size
            for count, entry in enumerate(tar):
                parts = PurePosixPath(entry.name).parts
                if entry.isdir() and len(parts) <= 1:
                    continue
                _check_entry(entry, parts, count)
                if entry.size > there - entry.offset_data:
                    raise tarfile.ReadError(
                        f"{parts[1]} should have {entry.size} bytes, but the archive ends before them"
                    )
                left -= entry.size
                if left < 0:
                    hint = "raise builder.output in the profile if an engine is that large"
                    raise BuildError(f"the builder's answer holds more than {limit >> 20} MiB", hint=hint)
                source = tar.extractfile(entry)
                assert source is not None  # a plain file has content
                with source, (into / parts[1]).open("xb") as file:
                    shutil.copyfileobj(source, file, 1024 * 1024)
    except (tarfile.TarError, EOFError) as error:
        raise BuildError(f"the builder's answer is not a readable archive: {error}", hint=_NEWER) from error


def _check_entry(entry: tarfile.TarInfo, parts: tuple[str, ...], count: int) -> None:
    plain = entry.isreg() and len(parts) == 2 and not parts[1].startswith(".") and "\0" not in entry.name
    if not plain or parts[0] in ("/", "..") or parts[1] == "..":
        raise BuildError(
            f"the builder's answer holds {entry.name!r}, which is not a regular file in its folder", hint=_NEWER
        )
    if count > _MAX_FILES:
        raise BuildError(f"the builder's answer holds more than {_MAX_FILES} files", hint=_NEWER)
