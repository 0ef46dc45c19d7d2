"""What a Jetson's files say of it: module, L4T, power mode, and how many SMs that mode leaves. No GPU, no tools.

``root`` stands for ``/``; tests give a folder with recorded files. On another machine every fact is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/")
SMS_PER_TPC = 2
_TPCS = 8
"""Bits of the mask that stand for a TPC on Orin Nano and NX (half of them are not there at all)."""

_L4T = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
_MODULE = re.compile(r"p3767-\d{4}")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_MASK = re.compile(r"^\s*TPC_POWER_GATING\s+TPC_PG_MASK\s+(\S+)", re.MULTILINE)
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
    modes = _modes(_text(root / "etc/nvpmodel.conf"))
    status = _STATUS.search(_text(root / "var/lib/nvpmodel/status"))
    mode = modes.get(int(status[1])) if status else None
    return JetsonFacts(
        module=_module(root),
        l4t=_l4t(_text(root / "etc/nv_tegra_release")),
        power_mode=mode[0] if mode else None,
        sm_count=_powered_sms(root) or (mode[1] if mode else None),
        modes=dict(modes.values()),
    )


def sms_left(mask: int) -> int | None:
    """Return the SMs that a TPC power-gating mask leaves (240 → 8, 252 → 4); None for a mask that gates nothing.

    A set bit is a TPC that is off. Orin Nano and NX always have half of the eight off: a mask of 0 was never set.
    """
    off = bin(mask & ((1 << _TPCS) - 1)).count("1")
    return SMS_PER_TPC * (_TPCS - off) if 0 < off < _TPCS else None


def _powered_sms(root: Path) -> int | None:
    """Return what the kernel says is powered: it is right also after a mode was set whose reboot is still to come."""
    masks = (_number(_text(root / path)) for path in TPC_MASKS)
    return next((sms_left(mask) for mask in masks if mask is not None), None)


def _module(root: Path) -> str | None:
    """Return the module, not its carrier: ``model`` names the wrong one on some boards, the P-number does not."""
    found = (_MODULE.search(_text(root / path)) for path in COMPATIBLE)
    return next((match[0] for match in found if match), None)


def _l4t(text: str) -> str | None:
    found = _L4T.search(text)
    return f"{found[1]}.{found[2]}" if found else None


def _modes(text: str) -> dict[int, tuple[str, int | None]]:
    """Return id → (name, SMs) of an nvpmodel.conf."""
    starts = list(_MODE.finditer(text))
    found: dict[int, tuple[str, int | None]] = {}
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        mask = _MASK.search(text, start.end(), end)
        number = _number(mask[1]) if mask else None
        found[int(start[1])] = (start[2], None if number is None else sms_left(number))
    return found


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
