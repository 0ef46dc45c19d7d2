"""Pin the Python packages of the images: ``python3.11 images/base/lock.py`` (x86-64 Linux, network).

Each Python pins the images that run it: 3.11 the simulated ones, 3.10 those of L4T 36, 3.12 those of L4T 39. Reads
``images/{builder,runtime}/requirements-LINE.in``, asks pip to resolve them, and writes ``requirements-LINE.txt``
next to them: one line a package, exact version, the sha256 of its wheel for every platform that has one, or of its
source where it has none.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parent.parent
#: Line → the Python of its images, and the machines that they run on.
LINES = {
    "sim": ((3, 11), ("x86_64", "aarch64")),
    "l4t-36": ((3, 10), ("aarch64",)),
    "l4t-39": ((3, 12), ("aarch64",)),
}
PYTHON = sys.version_info[:2]
#: No wheels: built in a stage of the image.
FROM_SOURCE = ("pycuda",)
GLIBC = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")

#: Needed to generate message packages, not to use them: none is imported by rclpy or a message, none holds a library.
EXCLUDE = (
    "empy",
    "lark-parser",
    "ros-ament-cmake-",
    "ros-rmw-implementation-cmake",
    "ros-rosidl-adapter",
    "ros-rosidl-cli",
    "ros-rosidl-cmake",
    "ros-rosidl-generator-cpp",
    "ros-rosidl-generator-type-description",
    "ros-rosidl-pycommon",
)


def _report(*arguments: str) -> list[dict[str, Any]]:
    """Return what ``pip install`` would install; empty when it finds no such wheel."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        done = subprocess.run(
            [*command, "--report", str(report), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode and "No matching distribution" not in done.stderr:
            sys.exit(done.stderr)
        return json.loads(report.read_text())["install"] if done.returncode == 0 else []


def _wheel_hash(pin: str, machine: str) -> str | None:
    tags = [f"--platform=manylinux_{glibc}_{machine}" for glibc in GLIBC]
    tags += [f"--platform=manylinux2014_{machine}", f"--platform=manylinux2010_{machine}"]
    with tempfile.TemporaryDirectory() as target:
        found = _report(
            "--no-deps", "--only-binary=:all:", f"--target={target}", "--implementation=cp",
            f"--python-version={PYTHON[0]}{PYTHON[1]}", *tags, pin,
        )  # fmt: skip
    return found[0]["download_info"]["archive_info"]["hashes"]["sha256"] if found else None


def lock(kind: str, line: str) -> None:
    """Write one lock file."""
    source = IMAGES / kind / f"requirements-{line}.in"
    lines = []
    resolved = {item["metadata"]["name"].lower().replace("_", "-"): item for item in _report("-r", str(source))}
    for name in sorted(resolved):
        if name.startswith(EXCLUDE) or (name == "setuptools" and line == "sim"):
            continue
        pin = f"{name}=={resolved[name]['metadata']['version']}"
        if name in FROM_SOURCE:
            hashes = [resolved[name]["download_info"]["archive_info"]["hashes"]["sha256"]]
        else:
            hashes = sorted({value for machine in LINES[line][1] if (value := _wheel_hash(pin, machine))})
        if not hashes:
            sys.exit(f"{kind}: {pin} has no wheel for {', '.join(LINES[line][1])}")
        lines.append(" ".join([pin, *(f"--hash=sha256:{value}" for value in hashes)]))
        print(f"{kind} {line}: {pin}: {len(hashes)} hashes", file=sys.stderr)
    head = f"# Written by images/base/lock.py from {source.name}: change that file and run the command again.\n"
    source.with_suffix(".txt").write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    mine = [line for line, (python, _) in LINES.items() if python == PYTHON]
    if not mine or platform.machine() != "x86_64" or sys.platform != "linux":
        versions = ", ".join(sorted({"{}.{}".format(*python) for python, _ in LINES.values()}))
        sys.exit(f"run this with Python {versions} on x86-64 Linux: each locks the images that have it")
    for image in ("builder", "runtime"):
        for each in mine:
            lock(image, each)
