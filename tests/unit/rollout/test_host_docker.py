"""Which Docker a host has, from the words of real ones, and the package that helps there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.bootstrap.host_facts import PROBE, facts_from_probe, host_problems
from fleet.link.host_docker import DockerFacts, docker_problems

JAMMY, BOOKWORM, TRIXIE = "ubuntu 22.04", "debian 12", "debian 13"


@pytest.mark.parametrize(
    ("facts", "what", "do"),
    [
        (
            DockerFacts("19.03.15", "2.0.1", system=JAMMY),
            "Docker Engine 19.03.15, 20.10 is needed",
            "install docker.io",
        ),
        (DockerFacts("27.5.1", "", package="docker-ce", system=JAMMY), "no Compose", "install docker-compose-plugin"),
        (DockerFacts("27.5.1", "", package="docker.io", system=JAMMY), "no Compose", "install docker-compose-v2"),
        (DockerFacts("26.1.5", "", package="docker.io", system=TRIXIE), "no Compose", "apt-get install docker-compose"),
        (DockerFacts("20.10.24", "", package="docker.io", system=BOOKWORM), "no Compose", "docs.docker.com"),
        (DockerFacts("28.0.4", "", system="fedora 42"), "no Compose", "sudo dnf install docker-compose-plugin"),
        (DockerFacts("28.0.4", "", system="alpine 3.22"), "no Compose", "sudo apk add docker-cli-compose"),
        (DockerFacts("27.5.1", "", compose_v1="1.29.2", system=JAMMY), "docker-compose 1.29.2 is the old one", "-v2"),
        (DockerFacts("27.5.1", "1.29.2", system=JAMMY), "Docker Compose 1.29.2, 2.0 is needed", "docker-compose-v2"),
        (DockerFacts("27.5.1", "dev", system=JAMMY), "Docker Compose dev, 2.0 is needed", "docker-compose-v2"),
        (DockerFacts("", "", program="/usr/bin/docker", words="permission denied"), "(permission denied)", "systemctl"),
        (
            DockerFacts("", "", system=JAMMY),
            "no Docker Engine answers",
            "sudo apt-get install docker.io; sudo systemctl",
        ),
        (
            DockerFacts("", "", of_user="27.5.1", words="Cannot connect"),
            "rootless one of jetson's (27.5.1)",
            "rootless",
        ),
        (DockerFacts("27.5.1", "2.33.0", security="[name=rootless]"), "is a rootless one", "enable --now docker"),
        (DockerFacts("4.9.3", "podman-compose version 1.0.6"), "is Podman", "remove podman-docker"),
        (DockerFacts("4.3.1", "2.3.3", kind="podman version 4.3.1"), "is Podman (podman version 4.3.1)", "docker.io"),
        (DockerFacts("5.4.2", "2.3.3", kind="Docker version 28.5.1 Podman Engine Conmon"), "is Podman", "docker.io"),
    ],
)
def test_what_is_wrong_and_what_helps(facts: DockerFacts, what: str, do: str) -> None:
    (problem,) = docker_problems(facts, "jetson")
    assert what in problem.what
    assert do in problem.do


def test_an_old_engine_without_compose_is_two_things() -> None:
    assert len(docker_problems(DockerFacts("19.03.15", "", system=JAMMY), "jetson")) == 2


@pytest.mark.parametrize("engine", ["20.10", "20.10.24+dfsg1", "29.0.0-rc.1", "28.5.2"])
def test_an_engine_that_will_do(engine: str) -> None:
    assert docker_problems(DockerFacts(engine, "v2.40.3", system=JAMMY), "jetson") == []


# ── the probe itself, in real shells, with programs that stand in ────────────────────────────────────────────────

PODMAN = """case "$*" in version*) echo 4.9.3;; compose*) echo "podman-compose version 1.0.6";; esac"""
OLD = """case "$*" in version*) echo 19.03.15;; compose*) echo 2.0.1;; esac"""
ROOTLESS = """[ "$AS_ROOT" ] && { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case "$*" in version*) echo 27.5.1;; compose*) echo 2.33.0;; esac"""
NO_COMPOSE = """case "$*" in version*) echo 27.5.1;;
compose*) echo "docker: 'compose' is not a docker command." >&2; exit 1;; esac"""
SUDO = """shift; AS_ROOT=1 exec "$@" """
TTY = "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1"
PASSWORD = "echo 'sudo: a password is required' >&2; exit 1"


def probed(tmp_path: Path, shell: list[str], **programs: str) -> list[str]:
    """Run the probe where `docker`, `sudo` and `id` are these; return what stands in the way."""
    for name, text in {
        "id": 'case "$1" in -u) echo 1000;; *) echo jetson docker;; esac',
        "sudo": SUDO,
        **programs,
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [*shell, "-c", PROBE], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    facts = facts_from_probe(done.stdout, "jetson", 0.0)
    assert facts.complete
    return [problem.what for problem in host_problems(facts) if "clock" not in problem.what]


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda shell: str(shell[0]))
@pytest.mark.parametrize(
    ("programs", "words"),
    [
        ({"docker": PODMAN}, "its docker is Podman (podman-compose version 1.0.6)"),
        ({"docker": OLD}, "it has Docker Engine 19.03.15, 20.10 is needed"),
        ({"docker": ROOTLESS}, "rootless one of jetson's (27.5.1)"),
        ({"docker": NO_COMPOSE}, "Docker has no Compose plugin (docker: 'compose' is not a docker command.)"),
        ({"docker": OLD, "sudo": TTY}, "without a password (sudo: sorry, you must have a tty to run sudo)"),
        ({"docker": OLD, "sudo": PASSWORD}, "without a password (sudo: a password is required)"),
        ({"docker": OLD, "python3": "echo broken >&2; exit 1"}, "it has Python none, 3.8 is needed (broken)"),
    ],
)
def test_the_probe_passes_on_what_programs_say(
    tmp_path: Path, shell: list[str], programs: dict[str, str], words: str
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.fail(f"no {shell[0]} here: `make setup` installs it")
    assert any(words in found for found in probed(tmp_path, shell, **programs))
