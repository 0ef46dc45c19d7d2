"""`fleet-updater`: the daemon and the commands that speak to it. One page: docs/robot.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from runtime.contract.codec import ContractError, from_dict, from_json, to_dict
from runtime.contract.power import PowerAnswer
from runtime.contract.update import IDLE, ROBOT_DIR, SOCKET_PATH, Attestation, UpdateOrder, UpdateState
from runtime.contract.verification import DEFAULT_SECONDS
from runtime.updater import VERSION
from runtime.updater.journal import History, JournalStore
from runtime.updater.server import ask
from runtime.updater.state import (
    EXIT,
    Rejected,
    attestation_lines,
    history_lines,
    power_lines,
    state_lines,
    state_of,
    verification_lines,
)

WAIT_S = 1800.0
DEAD_HINT = "start it: `systemctl start fleet-updater`, or look at `journalctl -u fleet-updater`"


def main(argv: Optional[List[str]] = None, build: str = "") -> int:
    """Run one command; return its exit code. ``build``: 12 hex over the sources, from the zipapp's ``__main__``."""
    arguments = _parser().parse_args(argv)
    arguments.version = version_text(build)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except Rejected as error:
        return _fail(arguments, error.kind, error.message, error.hint)
    except ContractError as error:
        return _fail(arguments, "usage", str(error), "give the JSON document that fleet writes")
    except ConnectionError as error:
        return _fail(arguments, "outside", str(error), DEAD_HINT)
    except PermissionError as error:
        return _fail(arguments, "outside", str(error), "use sudo, or join the group docker")
    except KeyboardInterrupt:
        return 130


def version_text(build: str) -> str:
    """Return ``VERSION+BUILD``, or ``VERSION`` when not run from a zipapp."""
    return "{}+{}".format(VERSION, build) if build else VERSION


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleet-updater", description="This robot's own side of an update.")
    parser.add_argument("--root", type=Path, default=Path(ROBOT_DIR), help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, default=Path(SOCKET_PATH), help=argparse.SUPPRESS)
    parser.add_argument("--project", default="jetfleet", help=argparse.SUPPRESS)
    parser.add_argument("--machine", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, text in (
        ("serve", _serve, "run the daemon (systemd does this)"),
        ("status", _status, "what runs, what is going on, how the last order ended"),
        ("attest", _attest, "what really runs, from the Engine and the agent"),
        ("power", _power, "the power mode, who wants which one, and what stands in the way"),
        ("verify", _verify, "check engine files, sensors, models, inference and published results for real"),
        ("submit", _submit, "begin the order that comes as JSON on stdin"),
        ("confirm", _confirm, "commit an order that awaits confirmation"),
        ("abort", _abort, "stop an order; after the switch, go back"),
        ("revert", _revert, "go back to the previous release"),
        ("history", _history, "how the orders on this robot ended, newest last"),
        ("version", _version, "this program's version"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(command=command)
        verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
        if name in ("confirm", "abort"):
            verb.add_argument("order_id", metavar="ORDER_ID")
        if name == "revert":
            verb.add_argument("order_id", metavar="ORDER_ID", nargs="?", default="", help="undo only this order")
        if name in ("abort", "revert"):
            verb.add_argument("--reason", default="", help="said in the history")
        if name == "revert":
            verb.add_argument("--wait", action="store_true", help="until it has ended")
            verb.add_argument("--override", default="", metavar="REASON", help="go past the robot's update lock")
        if name == "verify":
            verb.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="how long to listen (1 to 60)")
        if name == "history":
            verb.add_argument("-n", "--count", type=int, default=50)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from runtime.updater.serve import serve

    return serve(arguments.root, arguments.socket, arguments.version, arguments.project, arguments.machine)


def _status(arguments: argparse.Namespace) -> int:
    try:
        state = from_dict(UpdateState, ask(arguments.socket, {"verb": "status"}, 15.0))
    except ConnectionError as error:
        journal, complaints = JournalStore(arguments.root / "state").load()
        _print(arguments, state_of(journal, "", ""), state_lines)
        for line in (*complaints, "{} -> {}".format(error, DEAD_HINT)):
            sys.stderr.write("fleet-updater: {}\n".format(line))
        return EXIT["outside"]
    return _print(arguments, state, state_lines)


def _attest(arguments: argparse.Namespace) -> int:
    attestation = from_dict(Attestation, ask(arguments.socket, {"verb": "attest"}, 60.0))
    return _print(_for_whom(arguments), attestation, attestation_lines)


def _power(arguments: argparse.Namespace) -> int:
    answer = from_dict(PowerAnswer, ask(arguments.socket, {"verb": "power"}, 15.0))
    return _print(_for_whom(arguments), answer, power_lines)


def _verify(arguments: argparse.Namespace) -> int:
    request = {"verb": "verify", "seconds": arguments.seconds}
    answer = from_dict(Attestation, ask(arguments.socket, request))
    return _print(_for_whom(arguments), answer, verification_lines)


def _submit(arguments: argparse.Namespace) -> int:
    order = from_json(UpdateOrder, sys.stdin.read())
    return _told(arguments, {"verb": "submit", "order": to_dict(order)})


def _confirm(arguments: argparse.Namespace) -> int:
    return _told(arguments, {"verb": "confirm", "order_id": arguments.order_id})


def _abort(arguments: argparse.Namespace) -> int:
    return _told(arguments, {"verb": "abort", "order_id": arguments.order_id, "reason": arguments.reason})


def _revert(arguments: argparse.Namespace) -> int:
    request = {"verb": "revert", "reason": arguments.reason, "order_id": arguments.order_id}
    request["override"] = arguments.override
    if not arguments.wait:
        return _told(arguments, request)
    state = from_dict(UpdateState, ask(arguments.socket, request))
    deadline = time.monotonic() + WAIT_S
    while state.state != IDLE:
        if time.monotonic() > deadline:
            raise Rejected("outside", "still {} after {:g} s".format(state.state, WAIT_S), "see `fleet-updater status`")
        time.sleep(1.0)
        state = from_dict(UpdateState, ask(arguments.socket, {"verb": "status"}))
    _print(_for_whom(arguments), state, state_lines)
    return 0 if state.outcome == "reverted" else EXIT["refused"]


def _history(arguments: argparse.Namespace) -> int:
    entries = History(arguments.root / "state").entries(max(1, arguments.count))
    return _print(arguments, entries, history_lines)


def _version(arguments: argparse.Namespace) -> int:
    return _print(arguments, {"version": arguments.version}, lambda value: [value["version"]])


def _told(arguments: argparse.Namespace, request: Dict[str, Any]) -> int:
    return _print(_for_whom(arguments), from_dict(UpdateState, ask(arguments.socket, request)), state_lines)


def _for_whom(arguments: argparse.Namespace) -> argparse.Namespace:
    """What a controller asks is JSON without asking for it; a person at a terminal gets lines."""
    arguments.json = arguments.json or not sys.stdout.isatty()
    return arguments


def _print(arguments: argparse.Namespace, value: Any, lines: Callable[[Any], List[str]]) -> int:
    text = json.dumps(to_dict(value)) if arguments.json else "\n".join(lines(value))
    sys.stdout.write(text + "\n")
    return 0


def _fail(arguments: argparse.Namespace, kind: str, message: str, hint: str) -> int:
    if arguments.json:
        document = {"error": {"kind": kind, "message": message, "hint": hint}}
        sys.stdout.write(json.dumps(document) + "\n")
    sys.stderr.write("fleet-updater: {}{}\n".format(message, " -> " + hint if hint else ""))
    return EXIT[kind]
