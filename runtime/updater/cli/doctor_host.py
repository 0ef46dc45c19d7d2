"""Doctor: the updater's own surroundings. Socket, slots, supervisor, trust, clock, update lock."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Tuple

from runtime.contract.node.resources import ENV_INHIBIT, LOCK_FILE
from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import node_folder
from runtime.updater.cli.doctor_result import BOOTSTRAP, FAIL, OK, RESTART, WARN, Checks, DoctorResult, Patient
from runtime.updater.robot import process
from runtime.updater.robot.json_socket import peer_of
from runtime.updater.robot.trust_folder import TrustFolder
from runtime.updater.robot.update_lock import take
from runtime.updater.selfupdate import launcher
from runtime.updater.selfupdate.self_update_trial import FOLDER, running_trial
from runtime.updater.state.lock_answer import FREE, HELD
from runtime.updater.state.release_folder import has_own_folder, order_in
from runtime.updater.transaction.preflight import OLDEST_SANE_TIME
from runtime.updater.transaction.standing import why_stale

SOCKET_MODE = 0o660
#: The journal was last written so much later than now: the clock went back.
CLOCK_SLACK_S = 3600.0
ASK_S = 10.0


def check_socket(patient: Patient) -> DoctorResult:
    """Whether those who may ask can ask."""
    path = patient.socket
    if not path.exists():
        return DoctorResult(FAIL, "socket", "{} does not exist".format(path), RESTART)
    mode = path.stat().st_mode & 0o777
    if mode != SOCKET_MODE:
        text = "{} has mode {:o}, not {:o}".format(path, mode, SOCKET_MODE)
        return DoctorResult(WARN, "socket", text, RESTART)
    return DoctorResult(OK, "socket", "{} for root and group {}".format(path, _group(path.stat().st_gid)))


def check_updater(patient: Patient) -> DoctorResult:
    """Which slot is in use, and whether a new updater is on trial or failed it."""
    folder = patient.root / FOLDER
    slot = launcher.slot_in_use(folder)
    if not slot:
        text = "no slot in {} holds an updater".format(folder)
        return DoctorResult(FAIL, "updater", text, BOOTSTRAP)
    trial = launcher.read_trial(folder)
    going_on = running_trial(patient.root)
    if going_on is not None:
        left = going_on.until - launcher.this_moment().boot
        text = "slot {}; {} is on trial in slot {} for {:.0f} s more".format(
            slot, going_on.version, going_on.slot, max(0.0, left)
        )
        return DoctorResult(WARN, "updater", text, "wait: the proven one returns by itself")
    if trial is not None and trial.slot != slot:
        why = trial.failed or launcher.failure(trial, launcher.this_moment())
        text = "slot {}; {} failed its trial: {}".format(slot, trial.version, why)
        return DoctorResult(WARN, "updater", text, "correct it and run {}; nothing else is touched".format(BOOTSTRAP))
    return DoctorResult(OK, "updater", "slot {}, no trial".format(slot))


def check_supervisor(patient: Patient) -> DoctorResult:
    """Whether somebody starts the daemon again, after a crash and after a power cut."""
    if (patient.machine / "run/systemd/system").is_dir():
        said = process.run(["systemctl", "is-enabled", "fleet-updater.service"], ASK_S)
        enabled = said.out.strip() or said.err.strip()
        if enabled == "enabled":
            return DoctorResult(OK, "service", "fleet-updater.service is enabled")
        do = "`sudo systemctl enable --now fleet-updater`"
        return DoctorResult(FAIL, "service", "fleet-updater.service is {}".format(enabled), do)
    if patient.daemon is None:
        text = "no systemd here, and the updater is not running"
        return DoctorResult(FAIL, "service", text, "start it and keep it running: fleet-updater serve, as root")
    parent, name = _parent_of(_listener(patient))
    if parent <= 1:
        return DoctorResult(WARN, "service", "no systemd here: nothing restarts the updater", "give it a supervisor")
    return DoctorResult(OK, "service", "no systemd here; started by {} (process {})".format(name, parent))


def check_trust(patient: Patient) -> DoctorResult:
    """Whether this robot knows whose releases to take, and what the newest one is."""
    held = TrustFolder(patient.root).held_root()
    if held is None:
        return DoctorResult(FAIL, "trust", "it has no trust root: no order is taken", BOOTSTRAP)
    root = held.root
    if root.unsigned:
        text = "fleet {}: takes unsigned releases, as its manifest says".format(root.fleet)
        return DoctorResult(WARN, "trust", text, "sign releases: docs/trust.md")
    if not root.signers.strip():
        return DoctorResult(FAIL, "trust", "the root of fleet {} names no signer".format(root.fleet), BOOTSTRAP)
    if not held.signed.statement:
        text = "fleet {}: no signed trust root yet, only lists that an older version brought".format(root.fleet)
        return DoctorResult(WARN, "trust", text, BOOTSTRAP)
    stale = why_stale(patient.journal, root, time.time())
    text = "fleet {}, root {}: {} of the allowed signers must have signed".format(
        root.fleet, root.version, root.threshold
    )
    if stale:
        return DoctorResult(
            WARN, "trust", "{}; stale: {}".format(text, stale), "`fleet status`, which brings a new one"
        )
    return DoctorResult(OK, "trust", text)


def check_clock(patient: Patient) -> DoctorResult:
    """Whether the time can be right."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    do = '`sudo timedatectl set-ntp true`, or `sudo date -s "YYYY-MM-DD HH:MM:SS"`'
    if now < OLDEST_SANE_TIME:
        return DoctorResult(FAIL, "clock", "was never set: it says {}".format(stamp), do)
    if patient.journal.updated_at - now > CLOCK_SLACK_S:
        ahead = (patient.journal.updated_at - now) / 3600.0
        text = "went back: it says {}, the journal was written {:.1f} h later".format(stamp, ahead)
        return DoctorResult(FAIL, "clock", text, do)
    return DoctorResult(OK, "clock", stamp)


def check_update_lock(patient: Patient) -> DoctorResult:
    """Whether the node lets the robot be updated now, and who says no."""
    current = patient.journal.current
    if current is None:
        return DoctorResult(OK, "lock", "free: no release runs")
    order = order_in(patient.world, current.folder)
    declared = bool(order.environment.get(ENV_INHIBIT))
    own = node_folder(current.slot, current.folder) if has_own_folder(order) else NODE_DIR
    answer, held = take(declared, patient.machine / own.lstrip("/") / Path(LOCK_FILE).name)
    if held is not None:
        held.release()
    if answer.state == FREE:
        return DoctorResult(OK, "lock", "free" if declared else "free: the running release has no rules")
    why = "; ".join(answer.reasons) or "no reason given"
    text = "the node holds it: {}".format(why) if answer.state == HELD else "counts as held: {}".format(why)
    return DoctorResult(WARN, "lock", text, "an update waits for it; `fleet rollout --override REASON` does not")


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _listener(patient: Patient) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ASK_S)
        connection.connect(str(patient.socket))
        return peer_of(connection).pid


def _parent_of(pid: int) -> Tuple[int, str]:
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    parent = int(fields[1]) if len(fields) > 1 else 0
    return parent, _proc(parent, "comm").strip() or "nobody"


def _proc(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text(encoding="utf-8")
    except OSError:
        return ""


CHECKS: Checks = {
    "socket": check_socket,
    "updater": check_updater,
    "service": check_supervisor,
    "trust": check_trust,
    "clock": check_clock,
    "lock": check_update_lock,
}
