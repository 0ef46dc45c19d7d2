"""Record what a real builder answers, for the test of the road with a TensorRT profile (test_tensorrt_road.py).

On a host with an NVIDIA GPU, Python 3.10 or newer, TensorRT and pycuda, and the wheels numpy, onnx and onnxruntime; no
Docker and no network. In the repository's root:

    python3 tests/gpu/record_road.py tests/data/road

builds a small network at fp32, fp16 and int8 by `runtime.engines.build.job` itself and leaves the result archives
(engine, sidecar, golden data, report, timing cache; well below 1 MB in all) with the model and its data in
tests/data/road, which then goes into git. Where cuBLAS or cuDNN are missing, set
``JETFLEET_TACTIC_SOURCES=EDGE_MASK_CONVOLUTIONS,JIT_CONVOLUTIONS``. A precision that cannot be built is left out, with
the builder's sentence; none at all is exit code 1.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    FAILURE_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildFailure,
    BuildOptions,
    EngineReport,
    Int8Options,
)
from runtime.contract.engine.decoded import OutputDecoder
from runtime.engines import tensorrt_
from runtime.engines.build.job import run
from tests.fakes.registries.recordings import (
    RECORDING_FILE,
    RecordedJob,
    Recording,
    files_of,
    question_of,
    write_archive,
)
from tests.gpu.site import NETWORKS, backend, frames, make_job

NETWORK = NETWORKS["tiny"]
OPTIONS = {"fp32": BuildOptions(), "fp16": BuildOptions(), "int8": BuildOptions(int8=Int8Options("minmax"))}
"""As the manifest of the test comes to: a job that the manifest does not ask for would never be looked up."""
MIN_COSINE = 0.95
FRAMES = 16


def record(to: Path) -> int:
    """Build and save everything; return the exit code."""
    to.mkdir(parents=True, exist_ok=True)
    for old in (*to.glob("*.tar"), to / RECORDING_FILE):
        old.unlink(missing_ok=True)
    tensorrt_.BACKEND = backend()
    with tempfile.TemporaryDirectory(prefix="record-road-") as name:
        made = [done for precision in OPTIONS if (done := _one(precision, Path(name) / precision, to)) is not None]
    if not made:
        print("nothing could be recorded", file=sys.stderr)
        return 1
    report = made[0][1]
    where = f"TensorRT {report.identity.device.tensorrt} on {report.extra['gpu']}"
    recording = Recording(
        made_with=where,
        tensorrt=str(report.identity.device.tensorrt),
        model=NETWORK.name,
        onnx=MODEL_FILE,
        golden=GOLDEN_FILE,
        calibration="calibration.npz",
        jobs=tuple(job for job, _ in made),
    )
    (to / RECORDING_FILE).write_bytes(canonical_json(recording))
    size = sum(path.stat().st_size for path in to.iterdir())
    print(f"recorded {', '.join(job.precision for job in recording.jobs)} with {where}: {size / 1024:.0f} KiB in {to}")
    return 0


def _one(precision: str, work: Path, to: Path) -> tuple[RecordedJob, EngineReport] | None:
    job, out = work / "job", work / "out"
    _write_job(job, precision)
    code = run(job, out)
    if code != 0:
        failure = from_json(BuildFailure, (out / FAILURE_FILE).read_bytes())
        print(f"{precision} is not recorded: {failure.message} ({failure.hint})", file=sys.stderr)
        return None
    write_archive(files_of(out), to / f"{precision}.tar")
    for name in (MODEL_FILE, GOLDEN_FILE):
        shutil.copyfile(job / name, to / name)
    if precision == "int8":
        shutil.copyfile(job / CALIBRATION_DIR / "calibration.npz", to / "calibration.npz")
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    return RecordedJob(question_of(files_of(job)), precision, code, f"{precision}.tar"), report


def _write_job(folder: Path, precision: str) -> None:
    """Write the job that the test's manifest comes to, but for key, device and deadline."""
    decoders = (OutputDecoder(NETWORK.output, "tensor"),)
    make_job(folder, NETWORK, precision, OPTIONS[precision], accuracy=AccuracyGate(MIN_COSINE), decoders=decoders)
    if precision == "int8":
        shutil.rmtree(folder / CALIBRATION_DIR)
        (folder / CALIBRATION_DIR).mkdir()
        np.savez_compressed(folder / CALIBRATION_DIR / "calibration.npz", image=frames(FRAMES, NETWORK.camera))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(record(Path(sys.argv[1])))
