"""`fleet-updater doctor`: looks at everything that an update on this robot needs, and changes nothing."""

from __future__ import annotations

from typing import List

from runtime.contract.codec import ContractError, from_dict
from runtime.contract.update import UpdateState
from runtime.updater import doctor_host, doctor_release
from runtime.updater.finding import FAIL, OK, RECOVER, RESTART, WARN, Check, Checks, Finding, Patient
from runtime.updater.journal import JournalStore
from runtime.updater.server import ask
from runtime.updater.state import Rejected
from runtime.updater.world import WorldError

ANSWER_S = 15.0


def examine(patient: Patient) -> List[Finding]:
    """Return every finding, in the order in which things stand on one another."""
    checks: Checks = {
        "daemon": check_daemon,
        "journal": check_journal,
        **doctor_host.CHECKS,
        **doctor_release.CHECKS,
    }
    return [_found(name, check, patient) for name, check in checks.items()]


def _found(name: str, check: Check, patient: Patient) -> Finding:
    """Run one check; what it stumbles over is its finding."""
    try:
        return check(patient)
    except WorldError as error:
        return Finding(FAIL, name, error.message, error.hint)
    except PermissionError as error:
        return Finding(WARN, name, "cannot be looked at: {}".format(error), "run it again with sudo")
    except OSError as error:
        return Finding(FAIL, name, str(error), "look at that file or folder on the robot")


def check_daemon(patient: Patient) -> Finding:
    """Whether the updater answers."""
    try:
        patient.daemon = from_dict(UpdateState, ask(patient.socket, {"verb": "status"}, ANSWER_S))
    except ConnectionError as error:
        return Finding(FAIL, "daemon", str(error), RESTART)
    except Rejected as error:
        return Finding(WARN, "daemon", error.message, error.hint)
    except ContractError as error:
        return Finding(FAIL, "daemon", "answers what this command does not understand: {}".format(error), RESTART)
    return Finding(OK, "daemon", "answers, version {}".format(patient.daemon.updater_version))


def check_journal(patient: Patient) -> Finding:
    """Whether the journal can be read, and whether somebody drives what it says."""
    folder = patient.root / "state"
    list(folder.iterdir())  # a folder that may not be read is not one without a journal
    patient.journal, complaints = JournalStore(folder).load()
    if complaints:
        return Finding(FAIL, "journal", "; ".join(complaints), RECOVER)
    journal = patient.journal
    if journal.state == "idle":
        last = journal.last
        ended = "last order {}: {}".format(last.order_id, last.outcome) if last else "no order yet"
        return Finding(OK, "journal", "idle; {}".format(ended))
    text = "{} of order {}".format(journal.state, journal.order.order_id if journal.order else "")
    if patient.daemon is None:
        return Finding(FAIL, "journal", "an order was cut in {}".format(text), RECOVER)
    return Finding(OK, "journal", text)
