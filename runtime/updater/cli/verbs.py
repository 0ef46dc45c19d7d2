"""The commands that ask the daemon, or read what it left on disk."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Dict

from runtime.contract.codec import from_dict, from_json, to_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.power import PowerAnswer
from runtime.contract.robot.update import IDLE, UpdateOrder, UpdateState
from runtime.updater.cli.terminal import for_whom, show
from runtime.updater.robot.json_socket import ask
from runtime.updater.storage.journal import History, JournalStore
from runtime.updater.transaction.update_state import (
    EXIT,
    Rejected,
    attestation_lines,
    history_lines,
    power_lines,
    state_lines,
    state_of,
    verification_lines,
)

if TYPE_CHECKING:
    import argparse  # it would stay in the daemon's memory

WAIT_S = 1800.0
DEAD_HINT = "start it: `systemctl start fleet-updater`, or look at `journalctl -u fleet-updater`"


def serve(arguments: argparse.Namespace) -> int:
    """Run the daemon."""
    from runtime.updater.daemon import serve as daemon

    return daemon.serve(arguments.root, arguments.socket, arguments.version, arguments.project, arguments.machine)


def status(arguments: argparse.Namespace) -> int:
    """Say what runs and what is going on; by the journal when no daemon answers."""
    try:
        state = from_dict(UpdateState, ask(arguments.socket, {"verb": "status"}, 15.0))
    except ConnectionError as error:
        from runtime.updater.robot.trust_folder import TrustFolder
        from runtime.updater.transaction.standing import with_trust

        journal, complaints = JournalStore(arguments.root / "state").load()
        state = with_trust(state_of(journal, "", ""), journal, TrustFolder(arguments.root).held_root, time.time())
        show(arguments, state, state_lines)
        for line in (*complaints, "{} -> {}".format(error, DEAD_HINT)):
            sys.stderr.write("fleet-updater: {}\n".format(line))
        return EXIT["outside"]
    return show(arguments, state, state_lines)


def wait(arguments: argparse.Namespace) -> int:
    """Say what runs and what is going on, once it is another than the caller knows; no process each second."""
    request = {"verb": "wait", "mark": arguments.for_change, "seconds": arguments.seconds}
    state = from_dict(UpdateState, ask(arguments.socket, request, arguments.seconds + 15.0))
    return show(arguments, state, state_lines)


def attest(arguments: argparse.Namespace) -> int:
    """Say what really runs."""
    attestation = from_dict(Attestation, ask(arguments.socket, {"verb": "attest"}, 60.0))
    return show(for_whom(arguments), attestation, attestation_lines)


def power(arguments: argparse.Namespace) -> int:
    """Say what the power mode is."""
    answer = from_dict(PowerAnswer, ask(arguments.socket, {"verb": "power"}, 15.0))
    return show(for_whom(arguments), answer, power_lines)


def verify(arguments: argparse.Namespace) -> int:
    """Have the robot check itself."""
    request = {"verb": "verify", "seconds": arguments.seconds}
    answer = from_dict(Attestation, ask(arguments.socket, request))
    return show(for_whom(arguments), answer, verification_lines)


def submit(arguments: argparse.Namespace) -> int:
    """Hand over the order on stdin."""
    order = from_json(UpdateOrder, sys.stdin.read())
    return _told(arguments, {"verb": "submit", "order": to_dict(order)})


def confirm(arguments: argparse.Namespace) -> int:
    """Commit."""
    return _told(arguments, {"verb": "confirm", "order_id": arguments.order_id})


def poll(arguments: argparse.Namespace) -> int:
    """Look into the registry now."""
    state = from_dict(UpdateState, ask(arguments.socket, {"verb": "poll"}))
    if state.pull is None:
        hint = "set link: pull in the manifest, then `fleet bootstrap` or `fleet enroll`"
        raise Rejected("refused", "this robot does not pull", hint)
    show(for_whom(arguments), state, state_lines)
    return EXIT["outside"] if state.pull.problem else EXIT["refused"] if state.pull.held else 0


def keep(arguments: argparse.Namespace) -> int:
    """End the trial of a new updater well."""
    return _told(arguments, {"verb": "keep", "version": arguments.new_version})


def abort(arguments: argparse.Namespace) -> int:
    """Stop an order."""
    return _told(arguments, {"verb": "abort", "order_id": arguments.order_id, "reason": arguments.reason})


def revert(arguments: argparse.Namespace) -> int:
    """Go back to the release before."""
    request = {
        "verb": "revert",
        "reason": arguments.reason,
        "order_id": arguments.order_id,
        "override": arguments.override,
    }
    if not arguments.wait:
        return _told(arguments, request)
    state = from_dict(UpdateState, ask(arguments.socket, request))
    deadline = time.monotonic() + WAIT_S
    while state.state != IDLE:
        if time.monotonic() > deadline:
            raise Rejected("outside", "still {} after {:g} s".format(state.state, WAIT_S), "see `fleet-updater status`")
        time.sleep(1.0)
        state = from_dict(UpdateState, ask(arguments.socket, {"verb": "status"}))
    show(for_whom(arguments), state, state_lines)
    return 0 if state.outcome == "reverted" else EXIT["refused"]


def pin(arguments: argparse.Namespace) -> int:
    """Keep a release on disk."""
    return _kept(arguments, {"verb": "pin", "release": arguments.release})


def unpin(arguments: argparse.Namespace) -> int:
    """No longer keep it."""
    return _kept(arguments, {"verb": "unpin", "release": arguments.release})


def history(arguments: argparse.Namespace) -> int:
    """Say how the orders ended, from the disk."""
    entries = History(arguments.root / "state").entries(max(1, arguments.count))
    return show(arguments, entries, history_lines)


def version(arguments: argparse.Namespace) -> int:
    """Say this program's version."""
    return show(arguments, {"version": arguments.version}, lambda value: [value["version"]])


def _told(arguments: argparse.Namespace, request: Dict[str, Any]) -> int:
    return show(for_whom(arguments), from_dict(UpdateState, ask(arguments.socket, request)), state_lines)


def _kept(arguments: argparse.Namespace, request: Dict[str, Any]) -> int:
    return show(arguments, from_dict(UpdateState, ask(arguments.socket, request)), state_lines)
