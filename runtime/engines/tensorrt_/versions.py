"""TensorRT's version with all of its parts: of the library that is loaded. A plan's: `plan_header.py`."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path


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


def _major(version: str) -> int:
    found = re.match(r"(\d+)\.", version)
    return int(found[1]) if found else 0
