"""What `fleet-updater doctor` says of one thing, and what it knows while it looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from runtime.contract.robot.update import UpdateState
from runtime.updater.state.records import Journal
from runtime.updater.state.world import World

OK, WARN, FAIL = "ok", "WARN", "FAIL"
RECOVER = "`sudo fleet-updater recover`"
RESTART = "`sudo systemctl restart fleet-updater`; when it does not stay up: " + RECOVER
BOOTSTRAP = "`fleet bootstrap` for this robot"


@dataclass(frozen=True)
class DoctorResult:
    """One thing that was looked at."""

    level: str
    """ok | WARN (an update may still go well) | FAIL (something must be put right)."""
    name: str
    what: str
    do: str = ""


@dataclass
class Patient:
    """One robot, and what earlier checks found that later ones need."""

    root: Path
    socket: Path
    machine: Path
    world: World
    journal: Journal = field(default_factory=Journal)
    daemon: Optional[UpdateState] = None
    """What the daemon answers; None when it does not."""
    engine_root: str = ""
    """Folder of Docker's images; empty while the Engine does not answer."""


Check = Callable[[Patient], DoctorResult]
Checks = Dict[str, Check]


def result_lines(findings: List[DoctorResult]) -> List[str]:
    """Return findings as lines for a person: level, name, what, and what to do."""
    return [
        "{:<4} {:<9} {}{}".format(found.level, found.name, found.what, " -> " + found.do if found.do else "")
        for found in findings
    ]


def as_document(findings: List[DoctorResult]) -> Dict[str, Any]:
    """Return findings for machines."""
    return {"well": is_well(findings), "findings": findings}


def is_well(findings: List[DoctorResult]) -> bool:
    """Whether nothing must be put right."""
    return all(finding.level != FAIL for finding in findings)
