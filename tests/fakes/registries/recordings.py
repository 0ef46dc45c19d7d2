"""What builders really answered, kept as files: jobs with their result archives, recorded where there was a GPU.

A recording is a folder: ``recording.json``, the model, golden and calibration data, and one uncompressed tar of the
output folder for each job. Needs nothing but `runtime.contract`: the recorder runs on bare GPU hosts.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from runtime.contract.codec import canonical_json, digest_of, from_json
from runtime.contract.engine.build import JOB_FILE, BuildJob, DeviceFacts
from runtime.contract.engine.timing import TIMING_DIR

RECORDING_FILE = "recording.json"
COMMAND = "python3 tests/gpu/record_road.py tests/data/road"


@dataclass(frozen=True)
class RecordedJob:
    """One job and where its answer is."""

    question: str
    """:func:`question_of` the job's files."""
    precision: str
    exit_code: int
    archive: str
    """File beside ``recording.json``; names in it start with ``out/``."""


@dataclass(frozen=True)
class Recording:
    """``recording.json``."""

    made_with: str
    """What stood for TensorRT and GPU, for people: ``TensorRT 8.6.0 on NVIDIA H100``."""
    tensorrt: str
    """As the builder's device says it."""
    model: str
    onnx: str
    """Files beside this one; so are ``golden`` and ``calibration``."""
    golden: str
    calibration: str
    jobs: tuple[RecordedJob, ...]


def read_recording(folder: Path) -> Recording:
    """Read ``recording.json``. Raises OSError, ContractError."""
    return from_json(Recording, (folder / RECORDING_FILE).read_bytes())


ADDED_SINCE = (
    '"max_relative_error":null,', ',"tensors":{}', '"layout":"",', '"pad":[],', '"place":"",', '"constants":[],',
    '"observations":[],', ',"state":[]',
)  # fmt: skip
"""Fields that jobs got after recordings were made, while unset."""


def question_of(files: Mapping[str, bytes]) -> str:
    """Return a digest of all that a job's answer depends on, but for the device and our own sources.

    Left out are the engine key (our sources are in it), the device that it claims, what only bounds or judges a build,
    and timing caches, which change no answer's meaning.
    """
    job = from_json(BuildJob, files[JOB_FILE])
    job = replace(
        job, key="", device=DeviceFacts(""), deadline_s=None, max_latency_p99_ms=None, bench_seconds=0.0,
        enforce_accuracy=True,
    )  # fmt: skip
    data = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name != JOB_FILE and not name.startswith(f"{TIMING_DIR}/")
    }
    text = canonical_json(job).decode()
    for later in ADDED_SINCE:  # unset, it changes no answer: recordings made before it stay valid
        text = text.replace(later, "")
    return digest_of([text, sorted(data.items())])


def files_of(folder: Path) -> dict[str, bytes]:
    """Return a job folder as a job archive names it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def write_archive(files: Mapping[str, bytes], to: Path) -> None:
    """Write the output folder's tar, as Docker hands it out."""
    with tarfile.open(to, "w") as tar:
        folder = tarfile.TarInfo("out")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"out/{name}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))


def read_archive(path: Path) -> dict[str, bytes]:
    """Return name → content of an output folder's tar."""
    with tarfile.open(path) as tar:
        return {name.partition("/")[2]: content for name, content in _files(tar, tar.getmembers())}


def read_inputs(stream: BinaryIO) -> dict[str, bytes]:
    """Return name → content of a job's tar."""
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        return dict(_files(tar, tar))


def _files(tar: tarfile.TarFile, entries: Iterable[tarfile.TarInfo]) -> Iterable[tuple[str, bytes]]:
    for entry in entries:
        file = tar.extractfile(entry)
        if file is not None:
            yield entry.name, file.read()
