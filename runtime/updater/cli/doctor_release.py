"""Doctor: what the robot runs. Disk, folders and links, Engine, images, container, agent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List, Tuple

from runtime.contract.judgement import complaints, is_of_image
from runtime.contract.node.health import OK as HEALTH_OK
from runtime.contract.node.health_answer import read_health
from runtime.contract.versions import MIN_COMPOSE, MIN_ENGINE
from runtime.updater.cli.doctor_result import FAIL, OK, RECOVER, RESTART, WARN, Checks, DoctorResult, Patient
from runtime.updater.state.release_folder import health_port, order_in
from runtime.updater.state.transitions import kept_releases, links_of, serving_slot
from runtime.updater.storage.journal import RESERVE, RESERVE_BYTES
from runtime.updater.transaction.host_fit import UPGRADE_HINT, host_problems
from runtime.updater.transaction.observe import references_of
from runtime.updater.transaction.preflight import MARGIN_BYTES, STATE_RESERVE_BYTES, Refused, check_version

#: What else could be in the way of the journal on its own volume.
LARGE_BYTES = 1024 * 1024
MOST_NAMED = 3
LEFTOVERS = ("blobs/*.partial", "releases/.new-*")


def check_state_disk(patient: Patient) -> DoctorResult:
    """Whether the journal finds room, by its reserve and by what is free."""
    folder = patient.root / "state"
    disk = patient.world.disk(str(folder))
    reserve = folder / RESERVE
    held = reserve.exists() and reserve.stat().st_size >= RESERVE_BYTES
    text = "{} MiB free on the volume of {}".format(disk.free >> 20, folder)
    if disk.free < STATE_RESERVE_BYTES:
        text += ", {} MiB are needed".format(STATE_RESERVE_BYTES >> 20)
        named = ", ".join("{} ({} MiB)".format(path, size >> 20) for path, size in foreign_files(patient.root))
        do = "`sudo rm` what is not needed of: {}".format(named) if named else "`sudo du -xh / | sort -h | tail`"
        return DoctorResult(FAIL, "disk", text, do)
    if not held:
        return DoctorResult(WARN, "disk", text + ", the journal's reserve is not held", RESTART)
    return DoctorResult(OK, "disk", text + ", and the journal's reserve")


def check_leftovers(patient: Patient) -> DoctorResult:
    """What cut fetches and half-written folders left."""
    found = [path for pattern in LEFTOVERS for path in patient.root.glob(pattern)]
    size = sum(path.stat().st_size for path in found if path.is_file())
    if not found:
        return DoctorResult(OK, "leftovers", "none")
    text = "{} of cut downloads, {} MiB".format(len(found), size >> 20)
    return DoctorResult(OK, "leftovers", text + ": the next order continues them, or removes them")


def check_links(patient: Patient) -> DoctorResult:
    """Whether folders and links are what the journal says."""
    journal, there = patient.journal, patient.world.releases()
    gone = [release.version for release in kept_releases(journal) if release.folder not in there]
    if gone:
        text = "the release folder of {} is gone".format(", ".join(sorted(set(gone))))
        return DoctorResult(FAIL, "links", text, "roll out again with fleet")
    found, wanted = patient.world.links(), links_of(journal)
    if found != wanted:
        text = "current -> {}, previous -> {}; the journal says {}, {}".format(
            found.current or "nothing", found.previous or "nothing", wanted.current or "none", wanted.previous or "none"
        )
        return DoctorResult(FAIL, "links", text, RECOVER)
    return DoctorResult(
        OK, "links", "current -> {}, previous -> {}".format(found.current or "none", found.previous or "none")
    )


def check_engine(patient: Patient) -> DoctorResult:
    """Whether Docker and Compose answer and are new enough."""
    engine = patient.world.engine()
    patient.engine_root = engine.images_root
    try:
        check_version("Docker Engine", engine.version, MIN_ENGINE)
        check_version("Docker Compose", engine.compose_version, MIN_COMPOSE)
    except Refused as refused:
        return DoctorResult(FAIL, "engine", refused.reason, refused.hint)
    text = "Docker Engine {}, Compose {}".format(engine.version, engine.compose_version)
    if not engine.plain_loopback:
        text += "; it asks registries on 127.0.0.1 by TLS: fetches are not resumed, and no rate is kept"
        return DoctorResult(WARN, "engine", text, "`fleet bootstrap --open-loopback` for this robot")
    return DoctorResult(OK, "engine", text)


def check_host(patient: Patient) -> DoctorResult:
    """Whether the current release would still start on what the host is now."""
    if not patient.engine_root:
        return _unknown("host")
    problems = host_problems(patient.journal, patient.world)
    if problems:
        return DoctorResult(FAIL, "host", "; ".join(problems), UPGRADE_HINT)
    return DoctorResult(OK, "host", "fits the current release" if patient.journal.current else "no release yet")


def check_image_disk(patient: Patient) -> DoctorResult:
    """Whether an image finds room."""
    if not patient.engine_root:
        return _unknown("imagedisk")
    disk = patient.world.disk(patient.engine_root)
    text = "{} MiB free on the volume of {}".format(disk.free >> 20, patient.engine_root)
    if disk.free < MARGIN_BYTES:
        return DoctorResult(WARN, "imagedisk", text, "`docker system df` says what holds it")
    return DoctorResult(OK, "imagedisk", text)


def check_images(patient: Patient) -> DoctorResult:
    """Whether current and previous can be started without network."""
    if not patient.engine_root:
        return _unknown("images")
    journal = patient.journal
    named = [("current", journal.current), ("previous", journal.previous)]
    wanted = [(name, release) for name, release in named if release is not None]
    gone = [(name, release) for name, release in wanted if patient.world.image(release.image) is None]
    if gone:
        text = "not on disk: {}".format(", ".join("{} ({})".format(name, each.version) for name, each in gone))
        level = FAIL if gone[0][0] == "current" else WARN
        return DoctorResult(level, "images", text, "roll that version out again with fleet")
    return DoctorResult(
        OK, "images", ", ".join("{} {}".format(name, each.version) for name, each in wanted) or "none yet"
    )


def check_container(patient: Patient) -> DoctorResult:
    """Whether the container runs the current release's image."""
    if not patient.engine_root:
        return _unknown("container")
    current = patient.journal.current
    container = patient.world.container(serving_slot(patient.journal))
    if current is None:
        return DoctorResult(OK, "container", "no release was ever committed here")
    if container is None:
        return DoctorResult(FAIL, "container", "there is none, {} should run".format(current.version), RECOVER)
    if not is_of_image(references_of(container, patient.world), current.image):
        text = "runs {}, the journal says {}".format(container.image_name, current.image)
        level = OK if patient.journal.state != "idle" else FAIL
        return DoctorResult(level, "container", text, RECOVER if level == FAIL else "")
    if container.status != "running":
        text = "is {} (exit code {}) {}".format(container.status, container.exit_code, container.error)
        return DoctorResult(FAIL, "container", text.strip(), RECOVER)
    return DoctorResult(OK, "container", "runs {}, {} restarts".format(current.version, container.restarts))


def check_agent(patient: Patient) -> DoctorResult:
    """What the release says of itself."""
    current = patient.journal.current
    if current is None:
        return DoctorResult(OK, "agent", "no release was ever committed here")
    answer = patient.world.report(health_port(order_in(patient.world, current.folder)), current.slot)
    health = read_health(answer)
    report = health.report
    if report is None:
        return DoctorResult(FAIL, "agent", health.error, "roll a newer release out")
    wrong = "; ".join(complaints(report.checks))
    said = report.state + (": " + wrong if wrong else "")
    if not report.ready:
        logs = "`cd /var/lib/jetfleet/current && sudo docker compose logs --tail 50`"
        return DoctorResult(FAIL, "agent", "not ready, {}".format(said), logs)
    return DoctorResult(OK if report.state == HEALTH_OK else WARN, "agent", said)


def foreign_files(root: Path) -> List[Tuple[Path, int]]:
    """Return the largest files below ``root``, on its own volumes, that are not the updater's, largest first."""
    ours = {"updater", "releases", "trust", "blobs"}
    found: List[Tuple[Path, int]] = []
    for path in _files(root, ours):
        try:
            size = path.lstat().st_size
        except FileNotFoundError:
            continue
        if size >= LARGE_BYTES and path.name != RESERVE:
            found.append((path, size))
    return sorted(found, key=lambda item: -item[1])[:MOST_NAMED]


def _files(root: Path, ours: "set[str]") -> Iterator[Path]:
    for place, folders, names in os.walk(str(root)):
        if Path(place) == root:
            folders[:] = sorted(set(folders) - ours)
        for name in names:
            yield Path(place) / name


def _unknown(name: str) -> DoctorResult:
    return DoctorResult(WARN, name, "cannot be checked while the Engine does not answer")


CHECKS: Checks = {
    "disk": check_state_disk,
    "leftovers": check_leftovers,
    "links": check_links,
    "engine": check_engine,
    "host": check_host,
    "imagedisk": check_image_disk,
    "images": check_images,
    "container": check_container,
    "agent": check_agent,
}
