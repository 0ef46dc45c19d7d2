"""TensorRT's version: of the library that is loaded, and of a plan, whose header can be read without a GPU.

A plan starts with 28 bytes: the magic ``ftrt``, a zero, and in its last four bytes major, minor, patch and build.
NVIDIA's samples read it from TensorRT 9 on; plans of 8.6.0 were seen to start the same way. Of 8.5 nothing is known:
there only the sidecar says what built a plan.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from runtime.engines.errors import EngineError
from runtime.engines.plan_header import HEADER_BYTES, PlanHeader, read_plan_header

_FIRST_WITH_HEADER = (8, 6)
_REBUILD = "build it again for this device's profile: fleet build, then publish and roll out"


def parse_plan_header(content: bytes) -> PlanHeader | None:
    """Return the header of a plan of TensorRT 8.6 or newer; None when the bytes are something else."""
    return read_plan_header(content, _FIRST_WITH_HEADER)


def check_plan(plan: Path, *, claimed: str | None, running: str) -> None:
    """Hold a plan's header against the sidecar's TensorRT (``claimed``) and the one here (``running``).

    Raises EngineError: ``corrupt`` for what is no plan, ``device-mismatch`` for another version's.
    """
    try:
        with plan.open("rb") as stream:
            start = stream.read(HEADER_BYTES)
    except OSError as error:
        raise EngineError("corrupt", f"{plan} cannot be read: {error.strerror}", _REBUILD) from error
    if len(start) < HEADER_BYTES:
        raise EngineError("corrupt", f"{plan} has {len(start)} bytes: it is no TensorRT plan", _REBUILD)
    if claimed is not None and not same_version(claimed, running):
        raise _mismatch(plan, f"its sidecar says TensorRT {claimed}", running)
    header = parse_plan_header(start)
    if header is not None and not same_version(str(header), running):
        raise _mismatch(plan, f"its header says TensorRT {header}", running)
    if header is None and _first_two(running) >= _FIRST_WITH_HEADER:
        raise EngineError("corrupt", f"{plan} does not start like a TensorRT plan", _REBUILD)


def same_version(one: str, other: str) -> bool:
    """Return whether two versions agree in every part that both give: 10.3.0 and 10.3.0.30 do."""
    left, right = one.split("."), other.split(".")
    common = min(len(left), len(right))
    return common >= 3 and left[:common] == right[:common]


def _first_two(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _major(version: str) -> int:
    return _first_two(version)[0]


def _mismatch(plan: Path, says: str, running: str) -> EngineError:
    return EngineError(
        "device-mismatch", f"{plan.name} does not belong here: {says}, this device has {running}", _REBUILD
    )


def full_version(module_version: str, root: Path = Path("/")) -> str:
    """Return TensorRT's version with four parts where that can be known, else ``module_version`` as it is.

    The Python module gives three. The fourth (the build) is asked of the library (10.x), else of dpkg.
    """
    if module_version.count(".") >= 3:
        return module_version
    for found in (_of_library(module_version), _of_package(module_version, root)):
        if found is not None and found.startswith(f"{module_version}."):
            return found
    return module_version


def _of_library(module_version: str) -> str | None:
    try:
        library = ctypes.CDLL(f"libnvinfer.so.{_major(module_version)}")
        names = ("Major", "Minor", "Patch", "Build")
        return ".".join(str(int(getattr(library, f"getInferLib{name}Version")())) for name in names)
    except (OSError, AttributeError):  # not on the search path, or older than 10
        return None


def _of_package(module_version: str, root: Path) -> str | None:
    """Return the version of the Debian package of the library: ``8.6.2.3-1+cuda12.2`` → 8.6.2.3."""
    try:
        status = (root / "var/lib/dpkg/status").read_text("utf-8", errors="replace")
    except OSError:
        return None
    package = rf"^Package: libnvinfer{_major(module_version)}\n(?:[^\n]+\n)*?Version: (\d+\.\d+\.\d+\.\d+)"
    found = re.search(package, status, re.MULTILINE)
    return found[1] if found else None
