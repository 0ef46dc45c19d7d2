"""What a Jetson's files say of it: module, L4T, power mode, and how many SMs that mode leaves. No GPU, no tools.

``root`` stands for ``/``; tests give a folder with recorded files. On another machine every fact is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from runtime.contract.jetson import module_in, release_in
from runtime.contract.robot.power import MODE_STATUS, MODE_TABLE, parse_modes, sms_left

ROOT = Path("/")

_STATUS = re.compile(r"pmode:(\d+)")

COMPATIBLE = ("run/jetfleet/device-tree-compatible", "proc/device-tree/compatible")
"""Docker hides the device tree from containers, so the compose file mounts it at the first of these."""
TPC_MASKS = (
    "sys/devices/platform/gpu.0/tpc_pg_mask",  # JetPack 6
    "sys/devices/gpu.0/tpc_pg_mask",  # JetPack 5
    "sys/devices/platform/17000000.gpu/tpc_pg_mask",
    "sys/devices/platform/bus@0/17000000.gpu/tpc_pg_mask",
)


@dataclass(frozen=True)
class JetsonFacts:
    """A fact is None where the machine does not say it."""

    module: str | None = None
    """Part number, ``p3767-0003``."""
    l4t: str | None = None
    """``36.4.3``."""
    power_mode: str | None = None
    """By name, as ``nvpmodel -q`` prints it: numbers differ between modules."""
    sm_count: int | None = None
    """SMs that are powered now."""
    modes: dict[str, int | None] = field(default_factory=dict)
    """Every power mode of this machine → SMs that it leaves."""


def read_jetson(root: Path = ROOT) -> JetsonFacts:
    """Return what the files below ``root`` say. Files that are missing or unreadable say nothing."""
    modes = {mode.id: (mode.name, mode.sm_count) for mode in parse_modes(_text(root / MODE_TABLE))}
    status = _STATUS.search(_text(root / MODE_STATUS))
    mode = modes.get(int(status[1])) if status else None
    return JetsonFacts(
        module=_module(root),
        l4t=release_in(_text(root / "etc/nv_tegra_release")),
        power_mode=mode[0] if mode else None,
        sm_count=_powered_sms(root) or (mode[1] if mode else None),
        modes=dict(modes.values()),
    )


def _powered_sms(root: Path) -> int | None:
    """Return what the kernel says is powered: it is right also after a mode was set whose reboot is still to come."""
    masks = (_number(_text(root / path)) for path in TPC_MASKS)
    return next((sms_left(mask) for mask in masks if mask is not None), None)


def _module(root: Path) -> str | None:
    """Return the module, not its carrier: ``model`` names the wrong one on some boards, the P-number does not."""
    found = (module_in(_text(root / path)) for path in COMPATIBLE)
    return next((module for module in found if module), None)


def _number(text: str) -> int | None:
    try:
        return int(text.strip(), 0)
    except ValueError:
        return None


def _text(path: Path) -> str:
    """Return a file's text; empty where there is none or it may not be read: then it says nothing."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
