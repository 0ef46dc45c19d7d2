"""A builder image holds what builds engines and nothing else: real jobs run on exactly those files."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.errors import FleetError
from fleet.resolve.images.builder_sources import builder_sources
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import JOB_FILE, BuildJob
from tests.gpu.site import NETWORKS, make_job, options_for

REPO = Path(__file__).resolve().parents[3]
RUNTIME = REPO / "runtime"
STAND_INS = REPO / "tests/fakes/gpu_site"
AND_SAY_WHAT_WAS_IMPORTED = """
import sys
from runtime.engines.build.job import main
code = main(sys.argv[1:])
ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "runtime"]
print(*sorted(module.__file__ for module in ours), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def lay_out(folder: Path, backend: str) -> Path:
    for path, content in builder_sources(RUNTIME, backend).items():
        target = folder / "runtime" / path.relative_to(RUNTIME)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def job_for(folder: Path, backend: str, precision: str) -> Path:
    job: BuildJob = make_job(folder, NETWORKS["tiny"], precision, options_for(precision, 3))
    job = dataclasses.replace(job, backend=backend, bench_seconds=0.05)
    if backend == "onnxruntime":
        only = dataclasses.replace(job.device, sm_count=None, cuda=None, tensorrt=None)
        job = dataclasses.replace(job, device=only)
    (folder / JOB_FILE).write_bytes(canonical_json(job))
    assert from_json(BuildJob, (folder / JOB_FILE).read_bytes()) == job
    return folder


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("onnxruntime", "fp16"),
        ("onnxruntime", "int8"),
        ("tensorrt", "fp16"),
        ("tensorrt", "int8"),
        ("tensorrt", "int8-calibrator"),
    ],
)
def test_a_job_runs_on_these_files_alone(tmp_path: Path, backend: str, precision: str) -> None:
    alone = lay_out(tmp_path / "lib", backend)
    job = job_for(tmp_path / "job", backend, precision)
    paths = os.pathsep.join([str(alone), str(STAND_INS), *(path for path in sys.path if path and path != str(REPO))])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AND_SAY_WHAT_WAS_IMPORTED, "--job", str(job), "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    imported = {line for line in done.stderr.splitlines() if line.endswith(".py")}
    assert str(alone / "runtime/engines/build/job.py") in imported
    assert all(path.startswith(str(alone)) for path in imported)


def test_every_document_and_backend_that_builds_nothing_is_left_out() -> None:
    names = {
        backend: {path.relative_to(RUNTIME).as_posix() for path in builder_sources(RUNTIME, backend)}
        for backend in ("onnxruntime", "tensorrt")
    }
    for found in names.values():
        assert {"contract/engine/build.py", "contract/codec.py", "contract/device.py", "engines/build/job.py"} <= found
        assert not found & {"contract/node/health.py", "contract/robot/release.py", "contract/robot/update.py"}
        assert not found & {"engines/golden/selftest.py", "engines/tool/frames.py"}
        assert "decoding/decoders.py" in found, "builders hold what decoders find against fp32"
    assert "engines/tensorrt_/build/child.py" in names["tensorrt"]
    assert not [name for name in names["onnxruntime"] if "tensorrt_" in name]


def test_imports_of_every_form_are_followed(tmp_path: Path) -> None:
    def write(name: str, text: str = "") -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("__init__.py")
    write("engines/__init__.py", "import runtime.by_package\n")
    write("engines/build/__init__.py")
    write("engines/build/job.py", (
        "import json\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from runtime.only_types import A\n"
        "def late():\n"
        "    try:\n        from runtime.contract import build\n"
        "    except ImportError:\n        from runtime.contract.other import (\n            B, C,\n        )\n"
    ))  # fmt: skip
    write("engines/onnxruntime_/__init__.py")
    for name in (
        "by_package",
        "only_types",
        "contract/__init__",
        "contract/build",
        "contract/other",
        "contract/health",
    ):
        write(f"{name}.py")
    found = {path.relative_to(tmp_path).as_posix() for path in builder_sources(tmp_path, "onnxruntime")}
    assert found == {
        "__init__.py", "by_package.py", "contract/__init__.py", "contract/build.py", "contract/other.py",
        "engines/__init__.py", "engines/build/__init__.py", "engines/build/job.py", "engines/onnxruntime_/__init__.py",
    }  # fmt: skip


def test_an_import_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    packages = ("engines", "engines/build", "engines/onnxruntime_")
    for name in ("__init__.py", *(f"{package}/__init__.py" for package in packages)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "engines/build/job.py").write_text("from runtime.gone.file import name\n")
    with pytest.raises(FleetError, match=r"`runtime\.gone\.file\.name`, which builders import, is not in this"):
        builder_sources(tmp_path, "onnxruntime")


def test_a_backend_without_builder_is_refused() -> None:
    with pytest.raises(FleetError, match="no builder for backend 'abacus'"):
        builder_sources(RUNTIME, "abacus")
