"""Builder containers that are there already: of a run that died, of another machine, of another operator right now.

A container is named after all that decides its result, so an Engine has one of each, and whoever comes second goes on
with it. It stays until its engine is in the registry.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress

from fleet.build.cache import is_locked
from fleet.build.check_result import EXIT_GATE
from fleet.cache_folder import cache_dir
from fleet.errors import FleetError
from fleet.manifest.files.named_files import file_sha256
from fleet.ports import CREATED, ENDED, RUNNING, ContainerHost, JobFacts
from fleet.resolve.desired import EngineSpec
from runtime.contract.codec import canonical_json

JOB_DIR, OUT_DIR = "/job", "/out"
COMMAND = ("python3", "-m", "runtime.engines.build.job", "--job", JOB_DIR, "--out", OUT_DIR)

LABEL_JOB = "io.jetfleet.job"
"""Engine key of a builder container."""
LABEL_FLEET = "io.jetfleet.fleet"
"""Name of the fleet that it was started for: another fleet neither goes on with it nor removes it."""
LABEL_OWNER = "io.jetfleet.owner"
"""Who started it (:func:`owner`): what carries our name and our key while we hold the key's lock has nobody else."""
LABEL_RUN = "io.jetfleet.run"
"""One `fleet build`, so that Ctrl-C stops what this run started and nothing else."""
LABEL_TIMEOUT = "io.jetfleet.timeout"
"""Seconds that it may run (``builder.timeout``): whoever finds it running longer removes it."""

_GRACE_S = 120.0
_KEPT_S = 24 * 3600.0
"""A result that nobody fetched is kept for a day."""
COPYING_S = 1800.0
"""Inputs take no longer to be copied in; a container that was created before that and never started is dead."""


def owner() -> str:
    """Return the name of all `fleet` processes that share our locks: this machine and cache folder."""
    return f"{socket.gethostname()}/{hashlib.sha256(str(cache_dir().resolve()).encode()).hexdigest()[:12]}"


def job_name(fleet: str, spec: EngineSpec, image_id: str | None) -> str:
    """Return the name of the container that builds ``spec``: gates and golden frames are in it, which no key holds."""
    parts = [fleet, spec.key, file_sha256(spec.golden), str(image_id), *COMMAND]
    digest = hashlib.sha256("\n".join(parts).encode() + b"\n" + canonical_json(spec.job)).hexdigest()
    return f"jetfleet-build-{spec.tag[:12]}-{digest[:16]}"


def labels_of(fleet: str, spec: EngineSpec, run_id: str) -> Mapping[str, str]:
    """Return what a builder container carries."""
    return {
        LABEL_JOB: spec.key,
        LABEL_FLEET: fleet,
        LABEL_OWNER: owner(),
        LABEL_RUN: run_id,
        LABEL_TIMEOUT: f"{spec.profile.builder.timeout:g}",
    }


def is_ours(facts: JobFacts) -> bool:
    """Say whether a process of this machine and user started it."""
    return facts.labels.get(LABEL_OWNER) == owner()


def is_copying(facts: JobFacts) -> bool:
    """Say whether another operator's inputs may still be on their way into it. Ours are not: we hold the key's lock."""
    return facts.state == CREATED and not is_ours(facts) and facts.since_s < COPYING_S


def can_go_on(facts: JobFacts, image_id: str | None) -> bool:
    """Say whether its result, when there is one, can be ours: it runs, or ended with an engine or a gate's word.

    What was killed, or could not build for a reason that may have been mended since, is built anew.
    """
    if facts.image_id != image_id or facts.command != COMMAND:
        return False
    return facts.state == RUNNING or (facts.state == ENDED and facts.exit_code in (0, EXIT_GATE))


def remove_own_leftovers(host: ContainerHost, spec: EngineSpec, keep: str) -> None:
    """Remove what we once started for a key, but the container ``keep``. To be called under the key's lock."""
    for facts in host.jobs({LABEL_JOB: spec.key, LABEL_OWNER: owner()}):
        if facts.name != keep:
            host.remove_job(facts.name)


def remove_dead(host: ContainerHost, fleet: str, wanted: Collection[str]) -> int:
    """Remove a fleet's containers that nobody will go on with, whoever started them; return how many.

    ``wanted``: keys that are about to be built, whose containers their own builds look after.
    """
    dead = [
        facts
        for facts in host.jobs({LABEL_FLEET: fleet})
        if LABEL_JOB in facts.labels and facts.labels[LABEL_JOB] not in wanted and _is_dead(facts)
    ]
    for facts in dead:
        host.remove_job(facts.name)
    return len(dead)


def _is_dead(facts: JobFacts) -> bool:
    if facts.state == RUNNING:
        return facts.since_s > _timeout(facts) + _GRACE_S
    if facts.state == ENDED and facts.exit_code in (0, EXIT_GATE):
        return facts.since_s > _KEPT_S
    if is_ours(facts):
        return not is_locked(f"engine-{facts.labels[LABEL_JOB].removeprefix('sha256:')}")
    return facts.since_s > COPYING_S


def _timeout(facts: JobFacts) -> float:
    try:
        return float(facts.labels.get(LABEL_TIMEOUT, ""))
    except ValueError:
        return _KEPT_S


def discard(host: ContainerHost, name: str) -> None:
    """Remove a container whose result is not needed any more. One that cannot be removed now is removed by a later
    build (:func:`remove_dead`)."""
    with suppress(FleetError):
        host.remove_job(name)
