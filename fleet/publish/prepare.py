"""Repositories that must exist before anything is pushed: which a fleet needs, which are missing, how they are made.

Most registries make a repository with the first push. ECR and Artifact Registry do not (their own documentation; AWS
containers-roadmap #853), so each is tried by an upload that is dropped again, and created where its vendor's program is
known and installed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.errors import OutsideError, RegistryError, RepositoryMissing
from fleet.oci.repositories import repositories_of
from fleet.ports import LogLine, Registry

COMMAND_TIMEOUT_S = 120.0
_ECR = re.compile(r"^(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?$")
_ARTIFACT_REGISTRY = re.compile(r"^(?P<location>[a-z0-9-]+)-docker\.pkg\.dev$")
RunProgram = Callable[[Sequence[str]], str]
"""Runs a program to its end; returns why it failed, empty when it did not."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of a fleet, after it was looked at."""

    name: str
    """``warehouse/engines``."""
    state: str
    """``there`` (or made with the first push), ``created``, or ``missing``."""
    command: tuple[str, ...] = ()
    """What creates it, where that is known and was not run."""
    why: str = ""
    """What the program that should have created it said."""

    @property
    def shell(self) -> str:
        """Return the command as one types it; empty where none is known."""
        return shlex.join(self.command)


def create_command(host: str, repository: str) -> tuple[str, ...]:
    """Return what creates a repository at this registry; empty where that is not known."""
    if ecr := _ECR.match(host):
        place = ("--registry-id", ecr["account"], "--region", ecr["region"])
        return ("aws", "ecr", "create-repository", *place, "--repository-name", repository)
    if (google := _ARTIFACT_REGISTRY.match(host)) and repository.count("/"):
        project, name = repository.split("/")[:2]
        where = (f"--project={project}", f"--location={google['location']}")
        return ("gcloud", "artifacts", "repositories", "create", name, "--repository-format=docker", *where)
    return ()


def prepare(
    registry: Registry,
    prefix: str,
    *,
    create: bool = True,
    run: RunProgram | None = None,
    on_progress: LogLine = lambda _line: None,
) -> list[Repository]:
    """Try every repository of a fleet, and create those that are missing where that can be done.

    ``create`` False: nothing is run. Raises RegistryError when the registry refuses for another reason.
    """
    found: list[Repository] = []
    ran: dict[tuple[str, ...], str] = {}
    for name in repositories_of(prefix):
        on_progress(name)
        if _there(registry, name):
            found.append(Repository(name, "there"))
            continue
        command = create_command(registry.host, name)
        if not create or not command or (run is None and shutil.which(command[0]) is None):
            found.append(Repository(name, "missing", command))
            continue
        if command not in ran:  # one repository of Artifact Registry holds all of ours
            ran[command] = (run or _run)(command)
        made = _there(registry, name)
        found.append(Repository(name, "created") if made else Repository(name, "missing", command, ran[command]))
    return found


def missing_error(host: str, found: Sequence[Repository]) -> RegistryError | None:
    """Return the error for repositories that are still missing, or None."""
    missing = [each for each in found if each.state == "missing"]
    if not missing:
        return None
    names = ", ".join(each.name for each in missing)
    why = next((f" ({each.why})" for each in missing if each.why), "")
    hint = "run the commands that are shown, then this again"
    if not missing[0].command:
        hint = "create them at the registry (its own documentation says how), then run this again"
    return RepositoryMissing(f"{host} lacks {len(missing)} repositories that a fleet needs: {names}{why}", hint=hint)


def _there(registry: Registry, name: str) -> bool:
    try:
        registry.check_push(name)
    except RepositoryMissing:
        return False
    return True


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OutsideError(f"{command[0]} cannot be run: {error}", hint=f"by hand: {shlex.join(command)}") from error
    said = done.stderr.strip()
    # Another machine may have made it meanwhile.
    if done.returncode == 0 or "AlreadyExists" in said or "ALREADY_EXISTS" in said:
        return ""
    return f"{command[0]} ended with exit code {done.returncode}: {said[-500:] or 'no output'}"
