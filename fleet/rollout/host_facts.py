"""What bootstrap asks of a robot's host, and what must be so before anything is installed. Pure but for the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.contract.printable import printable
from runtime.contract.update import COMMAND_PATH

MIN_PYTHON = (3, 8)
_MAX_LINE = 1000
MIN_FREE_BYTES = 1 << 30
MAX_SKEW_S = 86400.0
TELL_SKEW_S = 60.0

#: Read by `sh -s`, so every program in it gets an input of its own.
PROBE = f"""
exec 3</dev/null
if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
say uid "$(id -u)"
say groups "$(id -nG)"
say root "$($as_root true <&3 2>/dev/null && echo yes)"
say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' <&3 2>/dev/null)"
say docker "$($as_root docker version --format '{{{{.Server.Version}}}}' <&3 2>/dev/null | head -n 1)"
say compose "$($as_root docker compose version --short <&3 2>/dev/null | head -n 1)"
say free_kib "$(df -Pk /var/lib 2>/dev/null | awk 'NR == 2 {{ print $4 }}')"
say time "$(date +%s)"
say updater "$({COMMAND_PATH} version <&3 2>/dev/null)"
"""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A robot's host as the probe found it; empty or None where it said nothing."""

    user: str
    is_root: bool
    groups: tuple[str, ...]
    root: bool
    """Commands can be run as root without a password."""
    python: tuple[int, ...]
    docker: str
    compose: str
    free_bytes: int | None
    skew_s: float | None
    """Its clock minus ours."""
    updater_version: str
    """Of the proven updater; empty when there is none, or none that says it."""


@dataclass(frozen=True, slots=True)
class HostProblem:
    """One thing that must be put right at the robot first."""

    what: str
    do: str


def facts_from_probe(output: str, user: str, now: float) -> HostFacts:
    """Read what PROBE printed; ``now`` is our clock, Unix seconds. A missing or odd value counts as not there."""
    lines = [printable(line, _MAX_LINE) for line in output.splitlines() if "=" in line]
    values = dict(line.partition("=")[::2] for line in lines)
    free, time = _number(values.get("free_kib", "")), _number(values.get("time", ""))
    parts = [_number(part) for part in values.get("python", "").split(".")]
    return HostFacts(
        user=user,
        is_root=values.get("uid") == "0",
        groups=tuple(values.get("groups", "").split()),
        root=values.get("root") == "yes",
        python=tuple(part for part in parts if part is not None) if None not in parts else (),
        docker=values.get("docker", "").strip(),
        compose=values.get("compose", "").strip(),
        free_bytes=None if free is None else free * 1024,
        skew_s=None if time is None else time - now,
        updater_version=values.get("updater", "").strip(),
    )


def host_problems(facts: HostFacts) -> list[HostProblem]:
    """Return everything that stands in the way, all at once."""
    found: list[HostProblem] = []
    if not facts.root:
        found.append(
            HostProblem(
                f"{facts.user} cannot run commands as root without a password",
                f"echo '{facts.user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/{facts.user}",
            )
        )
    if facts.python[:2] < MIN_PYTHON:
        have = ".".join(map(str, facts.python)) or "none"
        found.append(HostProblem(f"it has Python {have}, 3.8 is needed", "sudo apt-get install python3"))
    if facts.root and not facts.docker:
        found.append(
            HostProblem("no Docker Engine answers", "sudo apt-get install docker.io; sudo systemctl start docker")
        )
    elif facts.root and not facts.compose:
        found.append(HostProblem("Docker has no Compose plugin", "sudo apt-get install docker-compose-plugin"))
    if facts.docker and not facts.is_root and "docker" not in facts.groups:
        found.append(HostProblem(f"{facts.user} is not in the group docker", f"sudo usermod -aG docker {facts.user}"))
    if facts.free_bytes is not None and facts.free_bytes < MIN_FREE_BYTES:
        have = f"{facts.free_bytes >> 20} MiB"
        found.append(HostProblem(f"/var/lib has {have} free, 1024 MiB are needed", "make room: docker system df"))
    if facts.skew_s is not None and abs(facts.skew_s) > MAX_SKEW_S:
        found.append(HostProblem(f"its clock is {_ahead(facts.skew_s)}", "sudo timedatectl set-ntp true"))
    return found


def host_notes(facts: HostFacts) -> list[str]:
    """Return what does not stop the installation but should be told."""
    if facts.skew_s is not None and TELL_SKEW_S < abs(facts.skew_s) <= MAX_SKEW_S:
        return [f"its clock is {_ahead(facts.skew_s)}"]
    return []


def _ahead(skew_s: float) -> str:
    amount = abs(skew_s)
    size = f"{amount / 86400:.0f} days" if amount >= 2 * 86400 else f"{amount:.0f} s"
    return f"{size} {'ahead of' if skew_s > 0 else 'behind'} ours"


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[0-9]{1,15}\s*", text) else None
