"""`fleet-updater doctor`: looks at everything that an update on this robot needs, and changes nothing."""

from __future__ import annotations

from typing import List

from runtime.contract.codec import ContractError, from_dict
from runtime.contract.robot.update import UpdateState
from runtime.updater.cli import doctor_host, doctor_release
from runtime.updater.cli.doctor_result import FAIL, OK, RECOVER, RESTART, WARN, Check, Checks, DoctorResult, Patient
from runtime.updater.robot.json_socket import ask
from runtime.updater.state.world import WorldError
from runtime.updater.storage.journal import JournalStore
from runtime.updater.transaction.update_state import Rejected

ANSWER_S = 15.0


def examine(patient: Patient) -> List[DoctorResult]:
    """Return every finding, in the order in which things stand on one another."""
    checks: Checks = {
        "daemon": check_daemon,
        "journal": check_journal,
        **doctor_host.CHECKS,
        **doctor_release.CHECKS,
    }
    return [_found(name, check, patient) for name, check in checks.items()]


def _found(name: str, check: Check, patient: Patient) -> DoctorResult:
    """Run one check; what it stumbles over is its finding."""
    try:
        return check(patient)
    except WorldError as error:
        return DoctorResult(FAIL, name, error.message, error.hint)
    except PermissionError as error:
        return DoctorResult(WARN, name, "cannot be checked: {}".format(error), "run it again with sudo")
    except OSError as error:
        return DoctorResult(FAIL, name, str(error), "check that file or folder on the robot")


def check_daemon(patient: Patient) -> DoctorResult:
    """Whether the updater answers."""
    try:
        patient.daemon = from_dict(UpdateState, ask(patient.socket, {"verb": "status"}, ANSWER_S))
    except ConnectionError as error:
        return DoctorResult(FAIL, "daemon", str(error), RESTART)
    except Rejected as error:
        return DoctorResult(WARN, "daemon", error.message, error.hint)
    except ContractError as error:
        return DoctorResult(FAIL, "daemon", "gave an answer that this command cannot read: {}".format(error), RESTART)
    return DoctorResult(OK, "daemon", "answers, version {}".format(patient.daemon.updater_version))


def check_journal(patient: Patient) -> DoctorResult:
    """Whether the journal can be read, and whether somebody drives what it says."""
    folder = patient.root / "state"
    list(folder.iterdir())  # a folder that may not be read is not one without a journal
    patient.journal, complaints = JournalStore(folder).load()
    if complaints:
        return DoctorResult(FAIL, "journal", "; ".join(complaints), RECOVER)
    journal = patient.journal
    if journal.state == "idle":
        last = journal.last
        ended = "last order {}: {}".format(last.order_id, last.outcome) if last else "no order yet"
        return DoctorResult(OK, "journal", "idle; {}".format(ended))
    text = "{} of order {}".format(journal.state, journal.order.order_id if journal.order else "")
    if patient.daemon is None:
        return DoctorResult(FAIL, "journal", "an order was cut in {}".format(text), RECOVER)
    return DoctorResult(OK, "journal", text)
