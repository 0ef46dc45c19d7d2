"""Files of three devices as they come from the factory, for the probe of `fleet init` and `fleet doctor`.

Formats and values are those that NVIDIA's releases have (docs/profiles.md says what was seen where); nothing here was
recorded on a device of ours. `docker` and `ros2` are programs that print what these devices print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MODES = """\
< POWER_MODEL ID={id} NAME={name} >
CPU_ONLINE CORE_0 1
TPC_POWER_GATING TPC_PG_MASK {mask}
"""
STATUS = "Package: {name}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {version}\nDescription: x\n\n"


@dataclass(frozen=True)
class Recorded:
    """One device."""

    release: str
    compatible: tuple[str, ...]
    modes: tuple[tuple[str, int], ...]
    """Name and TPC mask, by ID."""
    mode: int
    packages: dict[str, str]
    cuda: str
    runtimes: str = "io.containerd.runc.v2 nvidia runc"
    mask_at: str = "sys/devices/platform/gpu.0/tpc_pg_mask"
    topics: str = ""
    ros: str = ""
    programs: dict[str, str] = field(default_factory=dict)


NANO = Recorded(
    release="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025",
    compatible=("nvidia,p3768-0000+p3767-0003-super", "nvidia,p3767-0003", "nvidia,tegra234"),
    modes=(("15W", 240), ("25W", 240), ("MAXN_SUPER", 240)),
    mode=1,
    packages={"libnvinfer10": "10.3.0.30-1+cuda12.5", "cuda-cudart-12-6": "12.6.68-1", "nvidia-l4t-core": "36.4.3-1"},
    cuda='{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
    ros="humble",
    topics="/camera/color/image_raw [sensor_msgs/msg/Image]\n/scan [sensor_msgs/msg/LaserScan]\n"
    "/camera/compressed [sensor_msgs/msg/CompressedImage]\n/rosout [rcl_interfaces/msg/Log]\n",
)
NX = Recorded(
    release="# R39 (release), REVISION: 2.0, GCID: 45000000, BOARD: generic, EABI: aarch64, DATE: Mon Jun  1 2026",
    compatible=("nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234"),
    modes=(("MAXN_SUPER", 240), ("10W", 252), ("15W", 252), ("25W", 240), ("40W", 240)),
    mode=2,
    packages={"libnvinfer10": "10.16.2.10-1+cuda13.2", "cuda-cudart-13-2": "13.2.20-1"},
    cuda='{"cuda": {"version": "13.2.0"}}',
    runtimes="io.containerd.runc.v2 runc",
    mask_at="sys/devices/platform/bus@0/17000000.gpu/tpc_pg_mask",
)
OLD = Recorded(
    release="# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 2023",
    compatible=("nvidia,p3509-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
    modes=(("MAXN", 240), ("10W", 252), ("15W", 252), ("25W", 240)),
    mode=0,
    packages={"libnvinfer8": "8.5.2-1+cuda11.4"},
    cuda='{"cuda": {"version": "11.4.19"}}',
    mask_at="sys/devices/gpu.0/tpc_pg_mask",
)
DEVICES = {"nano-8gb-36.4": NANO, "nx-16gb-39.2": NX, "jetpack-5": OLD}


def write_device(root: Path, device: Recorded, *, free_kib: int = 60_000_000, at: Path | None = None) -> Path:
    """Write the device's files below ``root`` and return it. ``at``: where that folder will be when they are used."""
    place = at or root
    modes = "".join(MODES.format(id=n, name=name, mask=mask) for n, (name, mask) in enumerate(device.modes))
    files = {
        "etc/nv_tegra_release": device.release + "\n",
        "proc/device-tree/compatible": "\0".join(device.compatible) + "\0",
        "etc/nvpmodel.conf": modes + "< PM_CONFIG DEFAULT=1 >\n",
        "var/lib/nvpmodel/status": f"pmode:{device.mode:04d} fmode:quiet\n",
        "var/lib/dpkg/status": "".join(STATUS.format(name=n, version=v) for n, v in device.packages.items()),
        "usr/local/cuda/version.json": device.cuda,
        device.mask_at: f"{device.modes[device.mode][1]}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "var/lib/dpkg/info").mkdir()
    programs = {
        "bin/uname": "echo aarch64",
        "bin/docker": f'case "$*" in *Runtimes*) echo "{device.runtimes}";; *RootDir*) echo /var/lib/docker;; esac',
        "bin/df": f"echo head; echo /dev/nvme0n1p1 99999999 1 {free_kib} 1% /",
    }
    if device.ros:
        setup = root / f"opt/ros/{device.ros}/setup.sh"
        setup.parent.mkdir(parents=True)
        setup.write_text(f'PATH="{place}/opt/ros/{device.ros}/bin:$PATH"\n')
        programs[f"opt/ros/{device.ros}/bin/ros2"] = f"cat <<'END'\n{device.topics}END"
    for name, text in programs.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return root


def probe_at(root: Path, probe: str) -> str:
    """Return the probe for the files below ``root``, with their programs before the machine's."""
    assert probe.startswith("\nroot=\n")
    return probe.replace("\nroot=\n", f"\nroot={root}\nPATH={root}/bin:$PATH\n", 1)
