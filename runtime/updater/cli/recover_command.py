"""`fleet-updater recover` and `doctor`: what a person runs at a robot. One page: docs/robot-recovery.md."""

from __future__ import annotations

import argparse
import time

from runtime.contract.judgement import complaints, same_image
from runtime.contract.node.attestation import Attestation
from runtime.updater.cli.journal_access import LOOK_S, InThisProcess, JournalAccess, ThroughDaemon
from runtime.updater.cli.terminal import print_lines, say, show
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import EXIT, Rejected, state_lines

#: What was cut may be a whole update: its fetch is bounded by stalls, the rest by the release's own deadlines.
ORDER_S = 1800.0
HEALTH_S = 180.0


def recover(arguments: argparse.Namespace) -> int:
    """Bring the robot to rest on one release: through the daemon where it answers, else in its place."""
    robot: JournalAccess = ThroughDaemon(arguments)
    try:
        robot.state()
        say("the updater answers and does it")
    except ConnectionError as error:
        say("{}: doing it without the updater".format(error))
        robot = InThisProcess(arguments)
    try:
        with robot:
            return _recover(robot, arguments)
    except WorldError as error:
        raise Rejected("outside", error.message, error.hint) from error


def _recover(robot: JournalAccess, arguments: argparse.Namespace) -> int:
    robot.finish_order(time.monotonic() + ORDER_S)
    done = robot.repair()
    if not arguments.json:
        print_lines(done)
    why = _until_well(robot)
    state = robot.state()
    show(arguments, state, state_lines)
    if state.current is None:
        return 0
    if why:
        raise Rejected("refused", "{} runs, and is not well: {}".format(state.current.version, why), robot.not_well())
    say("{} runs and is well".format(state.current.version))
    robot.farewell()
    return 0


def _until_well(robot: JournalAccess) -> str:
    """Wait until the current release runs and is ready; return why it is not."""
    deadline = time.monotonic() + HEALTH_S
    said = ""
    while True:
        why = trouble(robot.attest())
        if not why or time.monotonic() > deadline:
            return why
        if why != said:
            said = why
            say("waiting for health: {}".format(why))
        time.sleep(LOOK_S)


def trouble(seen: Attestation) -> str:
    """Return why the robot does not run its current release well; empty when it does, or when it has none."""
    current = seen.state.current
    if current is None:
        return ""
    if not seen.running_image:
        return seen.report_error or "it runs nothing"
    if not same_image(seen.running_image, current.image):
        return "it runs {}, the journal says {}".format(seen.running_image, current.image)
    report = seen.health.report
    if report is None:
        return seen.health.error
    return "" if report.ready else "; ".join(complaints(report.checks)) or "not ready yet"


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything; exit code 4 when something must be put right."""
    from runtime.updater.cli.doctor import examine
    from runtime.updater.cli.doctor_result import Patient, as_document, is_well, result_lines

    world = RealWorld(arguments.root, arguments.project, arguments.machine)
    findings = examine(Patient(arguments.root, arguments.socket, arguments.machine, world))
    if arguments.json:
        show(arguments, as_document(findings), lambda _: [])
    else:
        print_lines(result_lines(findings))
    return 0 if is_well(findings) else EXIT["refused"]
