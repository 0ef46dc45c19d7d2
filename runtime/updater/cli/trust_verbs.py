"""The commands that bring what is signed to this robot, and the one that takes its trust away: by hand, as root."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any, Dict

from runtime.contract.codec import from_dict
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.printable import printable_lines
from runtime.contract.robot.update import UpdateState
from runtime.updater.cli.terminal import for_whom, say, show
from runtime.updater.robot.json_socket import MAX_REQUEST_BYTES, Afterwards, ask
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import Rejected, state_lines

LOGS_S, FOLLOW_S, FOLLOWED_LINES = 60.0, 1.0, 10000


def take_root(arguments: argparse.Namespace) -> int:
    """Bring the roots on stdin (``{"roots": [{"statement", "signatures"}]}``), oldest first."""
    return show(for_whom(arguments), from_dict(UpdateState, _asked(arguments, "take-root")), state_lines)


def take_newest(arguments: argparse.Namespace) -> int:
    """Bring the statement of the newest release on stdin (``{"signed": {…}}``)."""
    return show(for_whom(arguments), from_dict(UpdateState, _asked(arguments, "take-newest")), state_lines)


def take_pull(arguments: argparse.Namespace) -> int:
    """Bring what the robot is told of registry and hub (``{"settings": {…} or null, "hub_ca": base64 or null}``)."""
    found = _asked(arguments, "take-pull")
    return show(for_whom(arguments), found, lambda answer: [answer["host_key"] or "it neither pulls nor reports now"])


def take_updater(arguments: argparse.Namespace) -> int:
    """Bring the updater on stdin (``{"zipapp": base64, "signed": {…} or null, "version", "trial_s"}``)."""
    found = _asked(arguments, "take-updater")
    return show(for_whom(arguments), found, lambda answer: ["on trial" if answer["trial"] else "in use already"])


def logs(arguments: argparse.Namespace) -> int:
    """Print what the runtime container wrote; with --follow until this is ended."""
    tail, last = arguments.tail, ""
    while True:
        told, edge = ask(arguments.socket, {"verb": "logs", "tail": tail, "since": last}, LOGS_S), last
        for line in told["lines"]:
            moment, _, words = line.partition(" ")
            if moment > edge:
                # Whoever asks from afar makes it text by itself, and may want the colours.
                sys.stdout.write((printable_lines(words) if sys.stdout.isatty() else words) + "\n")
                last = moment
        sys.stdout.flush()
        if not arguments.follow:
            return 0
        tail = FOLLOWED_LINES
        time.sleep(FOLLOW_S)


def forget_root(arguments: argparse.Namespace) -> int:
    """Take this robot's trust root away, so that the next `fleet bootstrap` brings a first one.

    For the day on which so many keys are lost that nobody can sign a successor. Whoever is root here could do it
    anyway; over the socket it cannot be asked for.
    """
    from runtime.updater.daemon.serve import robot_name

    name = robot_name(arguments.root)
    if arguments.robot != name:
        text = "this robot is {}, not {}: nothing was changed".format(name or "not bootstrapped", arguments.robot)
        raise Rejected("usage", text, "`sudo fleet-updater forget-root {}`".format(name or "NAME"))
    if os.geteuid() != os.stat(str(arguments.root)).st_uid:  # noqa: PTH116
        raise Rejected(
            "refused", "only root may take the trust root away", "`sudo fleet-updater forget-root {}`".format(name)
        )
    try:
        RealWorld(arguments.root).forget_root()
    except WorldError as error:
        raise Rejected("outside", error.message, error.hint) from error
    say("{} trusts no signer now and takes no order; what runs goes on".format(name))
    say("at an operator's: `fleet bootstrap --robots {}` brings the fleet's root as its first".format(name))
    return 0


def _asked(arguments: argparse.Namespace, verb: str) -> Any:
    request = decode_object(sys.stdin.read(MAX_REQUEST_BYTES), "stdin", WORDS)
    request["verb"] = verb
    try:
        return ask(arguments.socket, request)
    except ConnectionError as error:
        if os.geteuid() != 0 or verb == "take-newest":
            raise
        say("{}: doing it in its place".format(error))
        return _in_its_place(arguments, request)


def _in_its_place(arguments: argparse.Namespace, request: Dict[str, Any]) -> Any:
    """Do what the daemon would; it is dead, and this process is root. Whoever supervises it starts it afterwards."""
    from runtime.updater.daemon.believed import Believed
    from runtime.updater.daemon.serve import identity, only_one, robot_name
    from runtime.updater.daemon.updater import Updater

    state = arguments.root / "state"
    held = only_one(state)
    try:
        world = RealWorld(arguments.root, arguments.project, arguments.machine)
        updater = Updater(state, world, robot_name(arguments.root), arguments.version)
        try:
            answer = Believed(arguments.root, world, updater, lambda: identity(arguments.root)).answer(request)
        except WorldError as error:
            raise Rejected("outside", error.message, error.hint) from error
    finally:
        os.close(held)
    return answer.value if isinstance(answer, Afterwards) else answer
