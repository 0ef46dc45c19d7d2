"""The L4T lines that there are profiles and images for: what NVIDIA ships with each. Facts, no rules.

Which release belongs to which line is in `runtime.contract.device`: robots judge by the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.contract.device import l4t_line


@dataclass(frozen=True)
class L4tLine:
    """One line of Jetson Linux for Orin Nano and NX."""

    name: str
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
    """The repository beside ``common``."""
    tensorrt_devel: str
    """Image with TensorRT's builder; empty where NVIDIA publishes none."""


LINES = {
    line.name: line
    for line in (
        L4tLine(
            "36.3", "6.0", "22.04", "jammy", "3.10", "humble", "12.2", "8.6.2", "r36.3", "t234",
            "nvcr.io/nvidia/l4t-jetpack:r36.3.0",
        ),
        L4tLine(
            "36.4", "6.1, 6.2", "22.04", "jammy", "3.10", "humble", "12.6", "10.3.0", "r36.4", "t234",
            "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
        ),
        L4tLine("39.2", "7.2", "24.04", "noble", "3.12", "jazzy", "13.2", "10.16.2", "r39.2", "som", ""),
    )
}  # fmt: skip


def line_of(l4t: str | None) -> L4tLine | None:
    """Return the line of an L4T release, or None when there is none that is known."""
    name = l4t_line(l4t)
    return None if name is None else LINES[name]
