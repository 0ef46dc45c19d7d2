"""Which Docker a robot's host has: what the updater cannot work with, and the package that helps. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.contract.versions import MIN_COMPOSE, MIN_ENGINE


@dataclass(frozen=True, slots=True)
class HostProblem:
    """One thing that must be put right at the robot first."""

    what: str
    do: str


@dataclass(frozen=True, slots=True)
class DockerFacts:
    """What the probe found; empty where it said nothing."""

    engine: str
    """Version that root gets from the Engine."""
    compose: str
    """Version of `docker compose`."""
    program: str = ""
    """Path of `docker`."""
    kind: str = ""
    """All that names a kind: `docker --version`, the server's components, where the program leads."""
    words: str = ""
    """What `docker version` said when it failed as root."""
    compose_words: str = ""
    """What `docker compose version` said when it failed."""
    of_user: str = ""
    """Version that the user gets without root."""
    security: str = ""
    """The Engine's security options."""
    compose_v1: str = ""
    """Version of `docker-compose`, the program of its own."""
    package: str = ""
    """Installed package of the Engine."""
    system: str = ""
    """ID and VERSION_ID of os-release."""
    without_tls: str = ""
    """Networks whose registries it asks without TLS, as JSON."""

    @property
    def is_podman(self) -> bool:
        """Podman answers under Docker's name."""
        return "podman" in f"{self.kind} {self.compose} {self.compose_words} {self.words}".lower()

    @property
    def closed_loopback(self) -> bool:
        """It asks registries on 127.0.0.1 by TLS. Every Engine before 29.10 names 127.0.0.0/8 by itself."""
        return self.without_tls.startswith(("[", "null")) and '"127.0.0.0/8"' not in self.without_tls

    @property
    def is_rootless(self) -> bool:
        """The Engine is one of the user's own."""
        return "rootless" in self.security or (not self.engine and bool(self.of_user))


def docker_problems(facts: DockerFacts, user: str) -> list[HostProblem]:
    """Return what stands in the way of the updater, which runs as root and speaks to the system's Docker Engine."""
    if facts.is_podman:
        shown = next((text for text in (facts.kind, facts.compose) if "podman" in text.lower()), "podman")
        remove = _command(facts, "podman-docker", remove=True)
        return [
            HostProblem(
                f"its docker is Podman ({_short(shown)}): the updater needs Docker's own Engine",
                f"{remove}; {install_engine(facts)}",
            )
        ]
    if facts.is_rootless:
        return [
            HostProblem(
                f"its Docker Engine is a rootless one of {user}'s ({facts.of_user or facts.engine}): the updater runs "
                f"as root and needs the system's{_words(facts.words)}",
                f"{install_engine(facts)}; sudo systemctl enable --now docker "
                f"(and for {user}: dockerd-rootless-setuptool.sh uninstall, unset DOCKER_HOST)",
            )
        ]
    if not facts.engine:
        start = "sudo systemctl enable --now docker"
        do = start if facts.program else f"{install_engine(facts)}; {start}"
        return [HostProblem(f"no Docker Engine answers{_words(facts.words)}", do)]
    found: list[HostProblem] = []
    if _older(facts.engine, MIN_ENGINE):
        needed = ".".join(map(str, MIN_ENGINE))
        what = f"it has Docker Engine {_short(facts.engine)}, {needed} is needed"
        found.append(HostProblem(what, install_engine(facts)))
    return found + _compose_problems(facts)


def _compose_problems(facts: DockerFacts) -> list[HostProblem]:
    found: list[HostProblem] = []
    if not facts.compose:
        only = f"; docker-compose {facts.compose_v1} is the old one" if facts.compose_v1 else ""
        words = _words(facts.compose_words)
        found.append(HostProblem(f"Docker has no Compose plugin{only}{words}", install_compose(facts)))
    elif _older(facts.compose, MIN_COMPOSE):
        needed = ".".join(map(str, MIN_COMPOSE))
        what = f"it has Docker Compose {_short(facts.compose)}, {needed} is needed"
        found.append(HostProblem(what, install_compose(facts)))
    return found


def install_engine(facts: DockerFacts) -> str:
    """Return the command that brings the distribution's Engine, or a newer one."""
    if facts.package == "docker-ce":
        return _command(facts, "docker-ce docker-ce-cli containerd.io")
    if _family(facts) == "rpm":
        return f"sudo dnf install {'moby-engine' if facts.system.startswith('fedora') else 'docker-ce'}"
    return _command(facts, "docker.io" if _family(facts) == "deb" else "docker")


def install_compose(facts: DockerFacts) -> str:
    """Return the command that brings the Compose plugin for the Engine that is there."""
    name, _, version = facts.system.partition(" ")
    if facts.package == "docker-ce":
        return _command(facts, "docker-compose-plugin")
    if name == "debian":
        if _older(version or "0", (13, 0)):
            return (
                "Debian has the plugin from 13 on; before: Docker's own packages "
                "(https://docs.docker.com/engine/install/debian), then sudo apt-get install docker-compose-plugin"
            )
        return "sudo apt-get install docker-compose"
    if _family(facts) == "deb":
        return "sudo apt-get install docker-compose-v2"
    if _family(facts) == "rpm":
        return "sudo dnf install docker-compose-plugin"
    return _command(facts, "docker-cli-compose" if name == "alpine" else "docker-compose")


def _command(facts: DockerFacts, packages: str, *, remove: bool = False) -> str:
    verbs = {
        "deb": "sudo apt-get remove" if remove else "sudo apt-get install",
        "rpm": "sudo dnf remove" if remove else "sudo dnf install",
        "apk": "sudo apk del" if remove else "sudo apk add",
        "arch": "sudo pacman -R" if remove else "sudo pacman -S",
        "suse": "sudo zypper remove" if remove else "sudo zypper install",
    }
    return f"{verbs[_family(facts)]} {packages}"


def _family(facts: DockerFacts) -> str:
    name = facts.system.partition(" ")[0]
    if name in ("fedora", "rhel", "centos", "rocky", "almalinux", "amzn", "ol"):
        return "rpm"
    if name.startswith(("opensuse", "sles")):
        return "suse"
    return {"alpine": "apk", "arch": "arch", "manjaro": "arch"}.get(name, "deb")


def _older(version: str, least: tuple[int, int]) -> bool:
    numbers = [*re.findall(r"\d+", version), "0"]
    return len(numbers) < 2 or (int(numbers[0]), int(numbers[1])) < least


def _words(text: str) -> str:
    return f" ({_short(text, 160)})" if text else ""


def _short(text: str, most: int = 60) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:most]
