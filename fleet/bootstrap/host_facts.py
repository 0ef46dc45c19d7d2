"""What bootstrap asks of a robot's host, and what must be so before anything is installed. Pure but for the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet.link.host_docker import DockerFacts, HostProblem, docker_problems
from runtime.contract.printable import printable
from runtime.contract.robot.update import COMMAND_PATH

MIN_PYTHON = (3, 8)
_MAX_LINE = 1000
MIN_FREE_BYTES = 1 << 30
MAX_SKEW_S = 86400.0
TELL_SKEW_S = 60.0

#: A program for `sh`. Each line of its output is a name and a value; `words` are what a program says that fails.
PROBE = f"""
exec 3</dev/null
if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi
say() {{ printf '%s=%s\\n' "$1" "$2"; }}
first() {{ "$@" <&3 2>/dev/null | head -n 1; }}
words() {{ "$@" 2>&1 >/dev/null <&3 | grep . | tail -n 1; }}
version='{{{{.Server.Version}}}}'
parts='{{{{range .Server.Components}}}}{{{{.Name}}}} {{{{end}}}}'
say uid "$(id -u)"
say groups "$(id -nG)"
if $as_root true <&3 2>/dev/null; then say root yes; else say root_words "$(words $as_root true)"; fi
python=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' <&3 2>/dev/null)
say python "$python"
[ "$python" ] || say python_words "$(words python3 -c '')"
engine=$(first $as_root docker version --format "$version")
say docker "$engine"
say docker_path "$(command -v docker)"
say docker_kind "$(first docker --version) $(readlink -f "$(command -v docker)")"
if [ "$engine" ]; then
  say docker_parts "$(first $as_root docker version --format "$parts")"
  say docker_security "$(first $as_root docker info --format '{{{{.SecurityOptions}}}}')"
  say docker_open "$(first $as_root docker info --format '{{{{json .RegistryConfig.InsecureRegistryCIDRs}}}}')"
else
  say docker_words "$(words $as_root docker version --format "$version")"
  say docker_user "$(first docker version --format "$version")"
fi
compose=$(first $as_root docker compose version --short)
say compose "$compose"
[ "$compose" ] || say compose_words "$(words $as_root docker compose version --short)"
[ "$compose" ] || say compose_v1 "$(first docker-compose version --short)"
say docker_package "$(dpkg-query -W -f '${{db:Status-Abbrev}} ${{Package}}\n' docker-ce docker.io moby-engine \
2>/dev/null | sed -n 's/^ii *//p' | head -n 1)"
say system "$(. /etc/os-release 2>/dev/null; echo "$ID $VERSION_ID")"
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
    root_words: str
    """What sudo said when they cannot."""
    python: tuple[int, ...]
    python_words: str
    """What the shell said when there is none."""
    docker: DockerFacts
    free_bytes: int | None
    skew_s: float | None
    """Its clock minus ours."""
    updater_version: str
    """Of the proven updater; empty when there is none, or none that says it."""
    complete: bool
    """The probe ran at all."""


def facts_from_probe(output: str, user: str, now: float) -> HostFacts:
    """Read what PROBE printed; ``now`` is our clock, Unix seconds. A missing or odd value counts as not there."""
    lines = [printable(line, _MAX_LINE) for line in output.splitlines() if "=" in line]
    values = dict(line.partition("=")[::2] for line in lines)

    def text(key: str) -> str:
        return values.get(key, "").strip()

    free, time = _number(text("free_kib")), _number(text("time"))
    parts = [_number(part) for part in text("python").split(".")]
    return HostFacts(
        user=user,
        is_root=text("uid") == "0",
        groups=tuple(text("groups").split()),
        root=text("root") == "yes",
        root_words="" if text("root") == "yes" else text("root_words"),
        python=tuple(part for part in parts if part is not None) if None not in parts else (),
        python_words=text("python_words"),
        docker=DockerFacts(
            engine=text("docker"),
            compose=text("compose"),
            program=text("docker_path"),
            kind=f"{text('docker_kind')} {text('docker_parts')}",
            words="" if text("docker") else text("docker_words"),
            compose_words="" if text("compose") else text("compose_words"),
            of_user=text("docker_user"),
            security=text("docker_security"),
            compose_v1=text("compose_v1"),
            package=text("docker_package"),
            system=text("system"),
            without_tls=text("docker_open"),
        ),
        free_bytes=None if free is None else free * 1024,
        skew_s=None if time is None else time - now,
        updater_version=text("updater"),
        complete="uid" in values,
    )


def host_problems(facts: HostFacts, *, judges: bool = False, privileged: bool = True) -> list[HostProblem]:
    """Return everything that stands in the way, all at once.

    ``judges``: the robot's updater takes root and updater by what is signed, so that the login needs no rights.
    ``privileged``: the login is to stay root, so it must be able to ask the updater as the group docker may.
    """
    found: list[HostProblem] = []
    if judges:
        return _disk_and_clock(facts)
    if not facts.root:
        found.append(_no_root(facts))
    if facts.python[:2] < MIN_PYTHON:
        have = ".".join(map(str, facts.python)) or "none"
        words = f" ({facts.python_words})" if facts.python_words and not facts.python else ""
        found.append(HostProblem(f"it has Python {have}, 3.8 is needed{words}", "sudo apt-get install python3"))
    if facts.root:
        found += docker_problems(facts.docker, facts.user)
    if (
        privileged
        and facts.docker.engine
        and not facts.is_root
        and "docker" not in facts.groups
        and not facts.docker.is_podman
    ):
        found.append(HostProblem(f"{facts.user} is not in the group docker", f"sudo usermod -aG docker {facts.user}"))
    return found + _disk_and_clock(facts)


def _disk_and_clock(facts: HostFacts) -> list[HostProblem]:
    found: list[HostProblem] = []
    if facts.free_bytes is not None and facts.free_bytes < MIN_FREE_BYTES:
        have = f"{facts.free_bytes >> 20} MiB"
        found.append(HostProblem(f"/var/lib has {have} free, 1024 MiB are needed", "make room: docker system df"))
    if facts.skew_s is not None and abs(facts.skew_s) > MAX_SKEW_S:
        found.append(HostProblem(f"its clock is {_ahead(facts.skew_s)}", "sudo timedatectl set-ntp true"))
    return found


def _no_root(facts: HostFacts) -> HostProblem:
    """Return the problem in sudo's own words, with what helps against them."""
    user, words = facts.user, facts.root_words
    file = f"/etc/sudoers.d/{user.replace('.', '-')}"  # sudo passes over files with a dot in their name.
    what = f"{user} cannot run commands as root without a password" + (f" ({words})" if words else "")
    if "tty" in words:
        rule = f"Defaults:{user} !requiretty"
        return HostProblem(what, f"echo '{rule}' | sudo tee {file}-notty (requiretty forbids it)")
    if "not found" in words:
        return HostProblem(what, f"as root: apt-get install sudo, then allow {user} everything (NOPASSWD)")
    return HostProblem(what, f"echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee {file}")


def host_notes(facts: HostFacts) -> list[str]:
    """Return what does not stop the installation but should be told."""
    return _clock_notes(facts) + _loopback_notes(facts)


def _loopback_notes(facts: HostFacts) -> list[str]:
    if not facts.docker.closed_loopback:
        return []
    note = (
        "its Engine asks registries on 127.0.0.1 by TLS, as its insecure-registries do not name 127.0.0.0/8: fetches "
        "are neither resumed nor slowed down. fleet bootstrap --open-loopback adds it, without a restart of Docker"
    )
    return [note]


def _clock_notes(facts: HostFacts) -> list[str]:
    if facts.skew_s is not None and TELL_SKEW_S < abs(facts.skew_s) <= MAX_SKEW_S:
        return [f"its clock is {_ahead(facts.skew_s)}"]
    return []


def _ahead(skew_s: float) -> str:
    amount = abs(skew_s)
    size = f"{amount / 86400:.0f} days" if amount >= 2 * 86400 else f"{amount:.0f} s"
    return f"{size} {'ahead of' if skew_s > 0 else 'behind'} ours"


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[0-9]{1,15}\s*", text) else None
