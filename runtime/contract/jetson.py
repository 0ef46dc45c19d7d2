"""The Jetson modules and L4T lines that are supported, each in one row: for manifests, images, builders and robots.

A new line is one row of ``LINES`` here, and profiles that name it; a new module is one row of ``MODULES``. Facts are
NVIDIA's (release notes of Jetson Linux and JetPack, data sheets of Orin NX and Nano). Stdlib only and Python 3.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

MODULE_PATTERN = r"p3767-[0-9]{4}"
"""Part numbers of Orin NX and Nano modules, as the device tree and a profile write them."""

_RELEASE = re.compile(r"R([0-9]+) \(release\), REVISION: ([0-9]+(?:\.[0-9]+)*)")


@dataclass(frozen=True)
class Module:
    """One module."""

    name: str
    sm_count: int
    """Streaming multiprocessors with every one of them powered."""
    dla_cores: int = 0


MODULES = {
    "p3767-0000": Module("Orin NX 16 GB", 8, dla_cores=2),
    "p3767-0001": Module("Orin NX 8 GB", 8, dla_cores=1),
    "p3767-0003": Module("Orin Nano 8 GB", 8),
    "p3767-0004": Module("Orin Nano 4 GB", 4),
    "p3767-0005": Module("Orin Nano 8 GB of the developer kit", 8),
}
"""By part number."""


@dataclass(frozen=True)
class L4tLine:
    """Releases of Jetson Linux whose images and engines fit one another, and what NVIDIA ships with them."""

    name: str
    releases: Tuple[Tuple[int, int], ...]
    """Major and minor of every release in the line."""
    jetpack: str
    ubuntu: str
    """Release number, as in ``ubuntu:24.04``."""
    codename: str
    """Of that release, as apt names it."""
    python: str
    ros_distro: str
    """The ROS 2 distribution that has apt packages for that Ubuntu."""
    cuda: str
    tensorrt: str
    """Three parts; the fourth is the build."""
    apt_suite: str
    """Of NVIDIA's repository."""
    apt_board: str
    """The repository that belongs to the board, next to ``common``."""
    tensorrt_devel: str
    """Image with TensorRT's builder; empty where NVIDIA publishes none."""


LINES = {
    line.name: line
    for line in (
        L4tLine(
            "36.3", ((36, 3),), "6.0", "22.04", "jammy", "3.10", "humble", "12.2", "8.6.2", "r36.3", "t234",
            "nvcr.io/nvidia/l4t-jetpack:r36.3.0",
        ),
        L4tLine(
            "36.4", ((36, 4), (36, 5)), "6.1, 6.2", "22.04", "jammy", "3.10", "humble", "12.6", "10.3.0", "r36.4",
            "t234", "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
        ),
        L4tLine(
            "39.2", ((39, 2),), "7.2", "24.04", "noble", "3.12", "jazzy", "13.2", "10.16.2", "r39.2", "som", "",
        ),
    )
}  # fmt: skip
"""By name."""


def version_parts(version: str) -> Tuple[int, ...]:
    """Return the numbers of ``R36.4.3`` or ``10.3.0.30``; empty when it is no version."""
    plain = version.lstrip("rR")
    return tuple(int(part) for part in plain.split(".")) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})*", plain) else ()


def line_of(l4t: Optional[str]) -> Optional[L4tLine]:
    """Return the line of an L4T release (``36.4.3``), or None when it is in none that is known."""
    release = version_parts(l4t or "")[:2]
    return next((line for line in LINES.values() if release in line.releases), None)


def known_lines() -> str:
    """Return the lines as a person reads them: ``36.3 (JetPack 6.0), …``."""
    return ", ".join("{} (JetPack {})".format(line.name, line.jetpack) for line in LINES.values())


def release_in(text: str) -> Optional[str]:
    """Return the L4T release that ``/etc/nv_tegra_release`` names (``36.4.3``), or None."""
    found = _RELEASE.search(text)
    return "{}.{}".format(found.group(1), found.group(2)) if found else None


def module_in(text: str) -> Optional[str]:
    """Return the module's part number in a device tree's ``compatible`` (``p3767-0003``), or None."""
    found = re.search(MODULE_PATTERN, text)
    return found.group(0) if found else None
