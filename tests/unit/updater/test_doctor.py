"""Every finding of the doctor: what is looked at, what is said, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.resources import ENV_INHIBIT, LOCK_FILE
from runtime.contract.node.serving import node_folder
from runtime.contract.robot.trust import TrustSettings
from runtime.contract.robot.update import UpdateState
from runtime.executor.robot.update_lock import UpdateLock
from runtime.updater.cli import doctor, doctor_host, doctor_release
from runtime.updater.cli.doctor import examine
from runtime.updater.cli.doctor_result import FAIL, OK, WARN, DoctorResult, Patient, as_document, is_well, result_lines
from runtime.updater.cli.terminal import COLUMNS, fold
from runtime.updater.selfupdate import launcher
from runtime.updater.state.world import ContainerFacts, WorldError
from runtime.updater.storage.journal import JournalStore
from tests.fakes.robots.robot_world import order, reference
from tests.unit.updater.robot import Robot


@pytest.fixture
def patient(robot: Robot) -> Patient:
    """A robot on 1.2.0 that came from 1.1.0, with all that belongs to it on disk; no daemon answers."""
    robot.on("1")
    robot.on("2")
    root = robot.root
    slot = root / "updater" / "a"
    slot.mkdir(parents=True)
    (slot / launcher.NAME).write_text("an updater")
    (root / "updater" / "in-use").symlink_to("a")
    _trust(root, TrustSettings("warehouse"))
    machine = root / "machine"
    machine.mkdir()
    found = Patient(root, root / "updater.sock", machine, robot.world)
    found.journal = robot.journal
    found.engine_root = "/var/lib/docker"
    return found


def _trust(root: Path, settings: TrustSettings, signers: str = "ops namespaces=x ssh-ed25519 AAAA\n") -> None:
    folder = root / "trust"
    folder.mkdir(exist_ok=True)
    (folder / "trust.json").write_bytes(canonical_json(settings))
    (folder / "allowed_signers").write_text(signers)


def _seen(finding: DoctorResult, level: str, *words: str) -> None:
    assert finding.level == level, finding
    for word in words:
        assert word in finding.what + " -> " + finding.do
    assert (finding.do == "") == (level == OK), "what is not well says what to do"


def _fake(patient: Patient) -> Any:
    return patient.world


# ── daemon and journal ───────────────────────────────────────────────────────────────────────────────────────────


ROOT = Path(__file__).parents[3]
DAEMON = """
import json, sys
from pathlib import Path
from runtime.updater.robot.json_socket import Server
Server(Path(sys.argv[1]), lambda request, peer: json.loads(sys.argv[2])).serve()
"""


def test_a_daemon_that_answers(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    state = canonical_json(UpdateState("amr-001", "idle", "1.0+test")).decode()
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(patient.socket), state], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not patient.socket.exists():
            assert daemon.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        _seen(doctor.check_daemon(patient), OK, "answers, version 1.0+test")
        _seen(doctor_host.check_socket(patient), OK, "for root and group")
        _seen(doctor_host.check_supervisor(patient), OK, f"process {os.getpid()}")
        with monkeypatch.context() as patch:
            patch.setattr(doctor_host, "_parent_of", lambda _pid: (1, "init"))  # that of whoever has lost its parent
            _seen(doctor_host.check_supervisor(patient), WARN, "nothing restarts the updater", "supervisor")
        patient.socket.chmod(0o600)
        _seen(doctor_host.check_socket(patient), WARN, "mode 600, not 660")
    finally:
        daemon.kill()
        daemon.wait(60)


def test_a_daemon_that_does_not(patient: Patient) -> None:
    _seen(doctor.check_daemon(patient), FAIL, "does not answer", "systemctl restart fleet-updater", "recover")
    _seen(doctor_host.check_socket(patient), FAIL, "does not exist")
    _seen(doctor_host.check_supervisor(patient), FAIL, "the updater is not running")


def test_the_journal(patient: Patient, robot: Robot) -> None:
    _seen(doctor.check_journal(patient), OK, "idle; last order to-2: committed")
    robot.updater.submit(order("3"))
    _seen(doctor.check_journal(patient), FAIL, "was cut in preflight of order order-3", "recover")
    patient.daemon = UpdateState("amr-001", "preflight", "1.0")
    _seen(doctor.check_journal(patient), OK, "preflight of order order-3")
    for name in ("journal.json", "journal.previous.json"):
        (robot.root / "state" / name).write_bytes(b"\x00garbage")
    _seen(doctor.check_journal(patient), FAIL, "journal.json: damaged", "journal.previous.json", "recover")


# ── the updater's surroundings ───────────────────────────────────────────────────────────────────────────────────


def test_slots_and_trial(patient: Patient) -> None:
    folder = patient.root / "updater"
    _seen(doctor_host.check_updater(patient), OK, "slot a, no trial")
    now = launcher.this_moment()
    trial = launcher.Trial("b", "1.1+new", now.boot_id, now.boot + 60)
    launcher.write_trial(folder, trial)
    _seen(doctor_host.check_updater(patient), WARN, "1.1+new is on trial in slot b")
    launcher.write_trial(folder, trial._replace(failed="its daemon ended"))
    _seen(doctor_host.check_updater(patient), WARN, "1.1+new failed its trial: its daemon ended", "bootstrap")
    shutil.rmtree(folder / "a")
    _seen(doctor_host.check_updater(patient), FAIL, "no slot", "bootstrap")


def test_trust(patient: Patient) -> None:
    _seen(doctor_host.check_trust(patient), WARN, "fleet warehouse: no signed trust root yet", "bootstrap")
    _trust(patient.root, TrustSettings("warehouse"), "")
    _seen(doctor_host.check_trust(patient), FAIL, "names no signer", "bootstrap")
    _trust(patient.root, TrustSettings("warehouse", unsigned=True))
    _seen(doctor_host.check_trust(patient), WARN, "takes unsigned releases")
    (patient.root / "trust" / "trust.json").write_text("{")
    with pytest.raises(WorldError, match="not JSON"):
        doctor_host.check_trust(patient)
    shutil.rmtree(patient.root / "trust")
    _seen(doctor_host.check_trust(patient), FAIL, "it has no trust root", "bootstrap")


def test_the_clock(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    written = patient.journal.updated_at
    monkeypatch.setattr(doctor_host.time, "time", lambda: written)
    _seen(doctor_host.check_clock(patient), OK, "UTC")
    monkeypatch.setattr(doctor_host.time, "time", lambda: written - 365 * 86400.0)
    _seen(doctor_host.check_clock(patient), FAIL, "went back", "8760.0 h later", "timedatectl")
    monkeypatch.setattr(doctor_host.time, "time", lambda: 3600.0)
    _seen(doctor_host.check_clock(patient), FAIL, "was never set: it says 1970-01-01 01:00:00 UTC")


def test_the_update_lock(patient: Patient, robot: Robot) -> None:
    _seen(doctor_host.check_update_lock(patient), OK, "has no rules")
    robot.run(order("3", environment={ENV_INHIBIT: "{}"}))
    patient.journal = robot.journal
    _seen(doctor_host.check_update_lock(patient), WARN, "counts as held", "the node has not started", "--override")
    current = robot.journal.current
    assert current is not None
    folder = patient.machine / node_folder(current.slot, current.folder).lstrip("/")
    folder.mkdir(parents=True)
    lock = UpdateLock(folder / Path(LOCK_FILE).name)
    lock.update(("/cmd_vel: the robot moves",))
    _seen(doctor_host.check_update_lock(patient), WARN, "the node holds it: /cmd_vel: the robot moves")
    lock.update(())
    _seen(doctor_host.check_update_lock(patient), OK, "free")
    lock.close()


# ── what runs ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_disk_of_the_journal(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    _seen(doctor_release.check_state_disk(patient), OK, "MiB free")
    reserve = patient.root / "state" / "reserve"
    reserve.write_bytes(reserve.read_bytes()[:-1])
    _seen(doctor_release.check_state_disk(patient), WARN, "reserve is not held")
    _fake(patient).free = 1024 * 1024
    _seen(doctor_release.check_state_disk(patient), FAIL, "1 MiB free", "16 MiB are needed", "du -xh")
    core = patient.root / "state" / "core.4711"
    core.write_bytes(b"x" * (2 << 20))
    _seen(doctor_release.check_state_disk(patient), FAIL, f"`sudo rm` what is not needed of: {core} (2 MiB)")


def test_leftovers(patient: Patient) -> None:
    _seen(doctor_release.check_leftovers(patient), OK, "none")
    blobs = patient.root / "blobs"
    blobs.mkdir()
    (blobs / "sha256-1.partial").write_bytes(b"x" * (3 << 20))
    _seen(doctor_release.check_leftovers(patient), OK, "1 of cut downloads, 3 MiB")


def test_links_and_folders(patient: Patient) -> None:
    _seen(doctor_release.check_links(patient), OK, "current -> ")
    (patient.root / "current").unlink()
    _seen(doctor_release.check_links(patient), FAIL, "current -> nothing", "the journal says", "recover")
    shutil.rmtree(patient.root / "releases" / patient.journal.previous.folder)  # type: ignore[union-attr]
    _seen(doctor_release.check_links(patient), FAIL, "the release folder of 1.1.0 is gone", "roll out again")


def test_the_engine(patient: Patient) -> None:
    patient.engine_root = ""
    for check in (doctor_release.check_images, doctor_release.check_container, doctor_release.check_image_disk):
        assert check(patient).level == WARN
    world = _fake(patient)
    _seen(doctor_release.check_engine(patient), OK, "Docker Engine 20.10.24, Compose 2.40.3")
    assert patient.engine_root
    world.facts = replace(world.facts, version="19.3.1")
    _seen(doctor_release.check_engine(patient), FAIL, "Docker Engine is 19.3.1, at least 20.10", "update it")
    world.free = 100 << 20
    assert doctor_release.check_image_disk(patient).level == WARN


def test_an_engine_that_asks_the_loopback_by_tls(patient: Patient) -> None:
    world = _fake(patient)
    world.facts = replace(world.facts, plain_loopback=False)
    _seen(doctor_release.check_engine(patient), WARN, "by TLS", "fleet bootstrap --open-loopback")


def test_images_of_containerd_are_on_its_volume(patient: Patient) -> None:
    world = _fake(patient)
    world.facts = replace(world.facts, images="/var/lib/containerd")
    doctor_release.check_engine(patient)
    _seen(doctor_release.check_image_disk(patient), OK, "on the volume of /var/lib/containerd")


def test_a_host_that_was_upgraded(patient: Patient) -> None:
    world = _fake(patient)
    _seen(doctor_release.check_host(patient), OK, "fits the current release")
    world.runtime = "nvidia"
    _seen(doctor_release.check_host(patient), OK)  # an Engine that does not say which it has
    world.facts = replace(world.facts, runtimes=("io.containerd.runc.v2", "runc"))
    _seen(doctor_release.check_host(patient), FAIL, "needs the runtime nvidia", "undo the upgrade of the host")
    world.runtime, world.absent = "", {"/var/lib/jetfleet/serve"}
    _seen(doctor_release.check_host(patient), FAIL, "shares /var/lib/jetfleet/serve, which is not there")
    world.facts = replace(world.facts, platform="linux/arm64")
    _seen(doctor_release.check_host(patient), FAIL, "needs platform linux/amd64, this robot is linux/arm64")
    patient.journal = replace(patient.journal, current=None)
    _seen(doctor_release.check_host(patient), OK, "no release yet")
    patient.engine_root = ""
    assert doctor_release.check_host(patient).level == WARN


def test_images(patient: Patient) -> None:
    world = _fake(patient)
    _seen(doctor_release.check_images(patient), OK, "current 1.2.0, previous 1.1.0")
    del world.images[reference("1")]
    _seen(doctor_release.check_images(patient), WARN, "not on disk: previous (1.1.0)", "roll that version out")
    world.images.clear()
    _seen(doctor_release.check_images(patient), FAIL, "current (1.2.0), previous (1.1.0)")


def test_the_container(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _fake(patient)
    _seen(doctor_release.check_container(patient), OK, "runs 1.2.0, 0 restarts")
    facts: ContainerFacts = world.container()
    monkeypatch.setattr(world, "container", lambda _slot: replace(facts, status="exited", exit_code=137))
    _seen(doctor_release.check_container(patient), FAIL, "is exited (exit code 137)", "recover")
    other = replace(facts, image_id=world.images[reference("1")].id, image_name=reference("1"))
    monkeypatch.setattr(world, "container", lambda _slot: other)
    _seen(doctor_release.check_container(patient), FAIL, f"runs {reference('1')}", "recover")
    monkeypatch.setattr(world, "container", lambda _slot: None)
    _seen(doctor_release.check_container(patient), FAIL, "there is none, 1.2.0 should run", "recover")


def test_the_agent(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _fake(patient)
    _seen(doctor_release.check_agent(patient), OK, "ok")
    report = json.loads(world.report(9310))
    monkeypatch.setattr(world, "report", lambda _port, _slot: json.dumps({**report, "ready": False}))
    _seen(doctor_release.check_agent(patient), FAIL, "not ready", "docker compose logs")
    monkeypatch.setattr(world, "report", lambda _port, _slot: "{}")
    _seen(doctor_release.check_agent(patient), FAIL, "cannot be read")


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "level", "words"),
    [
        (WorldError("the robot's Docker Engine does not answer", "start it"), FAIL, "start it"),
        (PermissionError(13, "Permission denied", "/x"), WARN, "sudo"),
        (FileNotFoundError(2, "No such file or directory", "/x"), FAIL, "/x"),
    ],
)
def test_what_a_check_stumbles_over_is_its_finding(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, error: Exception, level: str, words: str
) -> None:
    def stumbles() -> None:
        raise error

    monkeypatch.setattr(_fake(patient), "engine", stumbles)
    findings = {finding.name: finding for finding in examine(patient)}
    assert findings["engine"].level == level
    assert words in findings["engine"].what + findings["engine"].do
    assert findings["links"].level == OK, "the others are looked at all the same"


def test_nothing_is_changed(patient: Patient, robot: Robot) -> None:
    before = _everything(robot.root)
    examine(patient)
    assert _everything(robot.root) == before


def _everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_lines_fit_a_serial_console_and_say_all(patient: Patient) -> None:
    findings = examine(patient)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names) == 17
    lines = result_lines(findings)
    assert all(len(piece) <= COLUMNS for line in lines for piece in fold(line) if " " in piece.strip())
    assert lines[0].startswith("FAIL daemon    the updater does not answer")
    assert " -> `sudo systemctl restart" in lines[0]
    assert not is_well(findings)
    assert as_document(findings)["well"] is False
    assert is_well([DoctorResult(OK, "a", "b"), DoctorResult(WARN, "a", "b", "c")])


def test_a_robot_that_was_never_bootstrapped(tmp_path: Path, robot: Robot) -> None:
    empty = Patient(tmp_path / "nothing", tmp_path / "none.sock", tmp_path, robot.world)
    levels = {finding.name: finding.level for finding in examine(empty)}
    assert (levels["journal"], levels["updater"], levels["trust"]) == (FAIL, FAIL, FAIL)
    assert JournalStore(robot.root / "state").load()[1] == []
