"""Power: what a robot may do (PowerPolicy), what the host's table says (PowerMode), how things are (PowerStatus).

A mode is known by its name. Its number is looked up on the robot, in its own table, at the moment it is set: 0 is the
fastest mode of one module and the slowest of another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Tuple

from runtime.contract.codec import SCHEMA

#: A robot's PowerPolicy as JSON, in the environment of its container and in its release folder. Absent: nothing of
#: power is touched on this robot.
ENV_POWER = "JETFLEET_POWER"
#: The user that the runtime container runs as (compose file), the only one besides root that may ask for a mode.
ENV_UID = "JETFLEET_UID"
DEFAULT_UID = 1000
#: The socket on the host; its folder is mounted into the container at the same place.
POWER_SOCKET = "/run/jetfleet/power/power.sock"
#: Where NVIDIA's tool keeps the modes of this board (a link that boot sets), and the one that is set.
MODE_TABLE, MODE_STATUS = "etc/nvpmodel.conf", "var/lib/nvpmodel/status"

SMS_PER_TPC = 2
_TPCS = 8
"""Bits of the mask that stand for a TPC on Orin Nano and NX (half of them are not there at all)."""

_MODE = re.compile(r"^[ \t]*<[ \t]*POWER_MODEL[ \t]+([^<>\n]*?)[ \t]*>", re.MULTILINE)
_ID, _NAME = re.compile(r"(?:^|\s)ID=(\d+)(?:\s|$)"), re.compile(r"(?:^|\s)NAME=(\S+)")
_SECTION = re.compile(r"^[ \t]*<", re.MULTILINE)
_SAYS = "NV Power Mode:"


@dataclass(frozen=True)
class GovernorSettings:
    """When the governor acts. Temperatures are of the chip's hottest zone, degrees Celsius."""

    hot_c: float = 85.0
    """At or above it for ``worse_after_s``: one step down."""
    critical_c: float = 95.0
    """At or above it for a few seconds: the last step at once. The module throttles by itself at about 97."""
    hysteresis_c: float = 5.0
    """So far below ``hot_c`` for ``better_after_s``: one step up."""
    over_current_per_minute: float = 60.0
    """More events than this count as hot. A few are normal in the fastest modes."""
    busy: float = 0.9
    """Share of the GPU in use from which the next faster mode is taken, when nothing is hot."""
    idle: float = 0.3
    """Share under which it is given back."""
    worse_after_s: float = 10.0
    better_after_s: float = 60.0
    rate_steps: Tuple[float, ...] = (0.5, 0.25)
    """Share of the frames that are still looked at, step by step."""


@dataclass(frozen=True)
class PowerPolicy:
    """What one robot may do about power, as its manifest says."""

    mode: Optional[str] = None
    """The mode it rests in; what it has when None."""
    modes: Tuple[str, ...] = ()
    """Modes the governor may choose, slowest first; ``mode`` is among them."""
    sm_count: Optional[int] = None
    """SMs that the engines were built for: a mode that leaves another count is never set."""
    essential: Tuple[str, ...] = ()
    """Models that are neither slowed nor refused."""
    governor: Optional[GovernorSettings] = None
    """None: the mode is set and that is all."""
    lighter: Tuple[str, ...] = ()
    """Models whose declared fallback costs less: after fewer frames and before a slower mode, it serves."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class PowerAnswer:
    """What the host says to whoever asks about power."""

    mode: Optional[str] = None
    """As `nvpmodel -q` last said; None where it cannot say."""
    asked: Optional[str] = None
    """What is wanted of it now."""
    verified: bool = False
    """``asked`` is set, and nvpmodel says so too."""
    reboot_needed: Tuple[str, ...] = ()
    """Modes that were asked for and can only be reached through a reboot."""
    problem: str = ""
    """Why ``asked`` is not set, and what to do."""
    changes: int = 0
    """Modes set since the updater started."""


@dataclass(frozen=True)
class PowerStatus:
    """The governor's part of the health report."""

    mode: Optional[str] = None
    """As the host last verified; None when it does not say."""
    wanted: Optional[str] = None
    """What the governor wants; None when it has no mode to choose."""
    modes: Tuple[str, ...] = ()
    """What it chooses from, slowest first."""
    level: int = 0
    """Steps down that are in force; 0 is normal."""
    max_level: int = 0
    """At this level models are refused."""
    rate: float = 1.0
    """Share of the frames that models still look at."""
    refused: Tuple[str, ...] = ()
    """Models that are not served now."""
    slowed: Tuple[str, ...] = ()
    """Models that ``rate`` holds for."""
    reason: str = ""
    """Why it is as it is; empty when normal."""
    reboot_needed: Tuple[str, ...] = ()
    problem: str = ""
    """Why the host does not do what is wanted."""
    mode_changes: int = 0
    over_current_per_minute: float = 0.0
    load: Optional[float] = None
    """Share of the GPU in use, 0 to 1; None where the machine does not say."""
    lightened: Tuple[str, ...] = ()
    """Models whose lighter engine is ordered."""


@dataclass(frozen=True)
class ServingOrders:
    """Agent → executor: how much each model may do. A model that is not named does all it can."""

    rates: Dict[str, float] = field(default_factory=dict)
    """Share of the frames that are looked at, more than 0 and at most 1."""
    refused: Dict[str, str] = field(default_factory=dict)
    """Models that are not served now, and why."""
    lighter: Dict[str, str] = field(default_factory=dict)
    """Models whose fallback is to serve, and why."""


@dataclass(frozen=True)
class PowerMode:
    """One section of an nvpmodel.conf."""

    id: int
    name: str
    sm_count: Optional[int] = None
    """SMs that it leaves; None where the section has no mask that says."""
    boot_time: Tuple[Tuple[str, str], ...] = ()
    """What only a boot changes once the GPU was used: power-gating masks and CPU cores online. Sorted, numbers in
    decimal digits: the order and form of a file's lines make no difference."""


def parse_modes(text: str) -> Tuple[PowerMode, ...]:
    """Return the modes of an nvpmodel.conf, in its order; none when the text is not one.

    The form is NVIDIA's own: ``< POWER_MODEL ID=0 NAME=15W >``, then lines ``PARAM ARG VALUE`` up to the next ``<``.
    """
    found = []
    for start in _MODE.finditer(text):
        number, name = _ID.search(start.group(1)), _NAME.search(start.group(1))
        if number is None or name is None:
            continue
        end = _SECTION.search(text, start.end())
        settings = dict(_settings(text[start.end() : end.start() if end else len(text)]))  # the last of two counts
        mask = settings.get("TPC_POWER_GATING TPC_PG_MASK")
        gates = sorted(
            (key, _plain(value))
            for key, value in settings.items()
            if "_POWER_GATING " in key or key.startswith("CPU_ONLINE ")
        )
        sms = None if mask is None else _sms(mask)
        found.append(PowerMode(int(number.group(1)), name.group(1), sms, tuple(gates)))
    return tuple(found)


def mode_named(modes: Tuple[PowerMode, ...], name: Optional[str]) -> Optional[PowerMode]:
    """Return the mode called ``name``, or None."""
    return next((mode for mode in modes if mode.name == name), None)


def needs_reboot(here: PowerMode, there: PowerMode) -> bool:
    """Say whether one cannot become the other without a boot: other power-gating masks, other CPU cores."""
    return here.boot_time != there.boot_time


def parse_query(text: str) -> Optional[str]:
    """Return the mode that ``nvpmodel -q`` prints (``NV Power Mode: 15W``, after warnings of any kind), or None."""
    return _query(text)[0] or None


def parse_query_id(text: str) -> Optional[int]:
    """Return the number that ``nvpmodel -q`` prints on the line after the mode, also where the name is empty."""
    return _query(text)[1]


def _query(text: str) -> Tuple[str, Optional[int]]:
    lines = text.splitlines()
    for index, line in enumerate(lines):
        _, says, name = line.partition(_SAYS)
        if says:
            after = lines[index + 1].strip() if index + 1 < len(lines) else ""
            return name.strip(), int(after) if re.fullmatch(r"[0-9]{1,4}", after) else None
    return "", None


def sms_left(mask: int) -> Optional[int]:
    """Return the SMs that a TPC power-gating mask leaves (240 → 8, 252 → 4); None for a mask that gates nothing.

    A set bit is a TPC that is off. Orin Nano and NX always have half of the eight off: a mask of 0 was never set.
    """
    off = bin(mask & ((1 << _TPCS) - 1)).count("1")
    return SMS_PER_TPC * (_TPCS - off) if 0 < off < _TPCS else None


def _settings(section: str) -> Iterator[Tuple[str, str]]:
    for line in section.splitlines():
        words: List[str] = line.partition("#")[0].split()
        if len(words) == 3:
            yield words[0] + " " + words[1], words[2]


def _plain(value: str) -> str:
    """Return a number as decimal digits, however it is written; another word as it is."""
    try:
        return str(int(value, 0))
    except ValueError:
        return value


def _sms(value: str) -> Optional[int]:
    try:
        return sms_left(int(value, 0))
    except ValueError:
        return None
