"""The command line of `fleet-updater`, verb by verb. Loaded by commands that end, not by the daemon."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Callable, Sequence

from runtime.contract.robot.update import ROBOT_DIR, SOCKET_PATH
from runtime.contract.robot.verification import DEFAULT_SECONDS
from runtime.updater.cli import verbs

Command = Callable[[argparse.Namespace], int]


def _of_trust(name: str) -> Command:
    """Return a command of `trust_verbs`, which is loaded when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        from runtime.updater.cli import trust_verbs

        command: Command = getattr(trust_verbs, name)
        return command(arguments)

    return run


def _recover(arguments: argparse.Namespace) -> int:
    from runtime.updater.cli.recover_command import recover

    return recover(arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    from runtime.updater.cli.recover_command import doctor

    return doctor(arguments)


def _uninstall(arguments: argparse.Namespace) -> int:
    from runtime.updater.cli.uninstall_command import uninstall

    return uninstall(arguments)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter as wide as the terminal; argparse's own loads shutil and three compressors into the daemon."""
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:  # no terminal
        columns = 0
    return argparse.HelpFormatter(prog, width=(columns or 80) - 2)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says; exits, as argparse does, for one that is none."""
    return _parser().parse_args(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-updater", description="The robot's side of an update.", formatter_class=_formatter
    )
    parser.add_argument("--root", type=Path, default=Path(ROBOT_DIR), help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, default=Path(SOCKET_PATH), help=argparse.SUPPRESS)
    parser.add_argument("--project", default="jetfleet", help=argparse.SUPPRESS)
    parser.add_argument("--machine", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, text in (
        ("serve", verbs.serve, "run the daemon (systemd does this)"),
        ("status", verbs.status, "what runs, the order in progress, how the last order ended"),
        ("wait", verbs.wait, "as status, once something has changed"),
        ("doctor", _doctor, "check everything on this robot that an update needs, one line each"),
        ("recover", _recover, "finish or undo an interrupted order, and start the current release, in the foreground"),
        ("attest", verbs.attest, "what really runs, from the Engine and the agent"),
        ("power", verbs.power, "the power mode, the one wanted, and what prevents it"),
        ("verify", verbs.verify, "check engine files, sensors, models, inference and published results for real"),
        ("submit", verbs.submit, "begin the order that comes as JSON on stdin"),
        ("confirm", verbs.confirm, "commit an order that awaits confirmation"),
        ("abort", verbs.abort, "stop an order; after the switch, revert"),
        ("revert", verbs.revert, "revert to the previous release"),
        ("pin", verbs.pin, "keep a release on this robot's disk"),
        ("unpin", verbs.unpin, "keep it no longer"),
        ("logs", _of_trust("logs"), "what the runtime container wrote"),
        ("history", verbs.history, "how the orders on this robot ended, newest last"),
        ("poll", verbs.poll, "look into the registry now for what this robot is to run (link: pull)"),
        ("keep", verbs.keep, "accept the new updater on trial (fleet bootstrap does this)"),
        ("take-root", _of_trust("take_root"), "take the trust roots that come as JSON on stdin, when rightly signed"),
        (
            "take-updater",
            _of_trust("take_updater"),
            "take the updater that comes as JSON on stdin, if rightly signed",
        ),
        ("take-newest", _of_trust("take_newest"), "take the statement of the newest release that comes on stdin"),
        ("take-pull", _of_trust("take_pull"), "take registry and hub that come as JSON on stdin (link: pull)"),
        ("forget-root", _of_trust("forget_root"), "as root, by hand: trust no signer until the next fleet bootstrap"),
        ("uninstall", _uninstall, "remove the service and this command; what runs goes on"),
        ("version", verbs.version, "this program's version"),
    ):
        verb = commands.add_parser(name, help=text, description=text, formatter_class=_formatter)
        verb.set_defaults(command=command)
        verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
        _options(name, verb)
    return parser


def _options(name: str, verb: argparse.ArgumentParser) -> None:
    for options in (_of_an_order, _of_this_robot):
        options(name, verb)


def _of_an_order(name: str, verb: argparse.ArgumentParser) -> None:
    if name in ("confirm", "abort"):
        verb.add_argument("order_id", metavar="ORDER_ID")
    if name == "revert":
        verb.add_argument("order_id", metavar="ORDER_ID", nargs="?", default="", help="undo only this order")
    if name in ("abort", "revert"):
        verb.add_argument("--reason", default="", help="said in the history")
    if name == "revert":
        verb.add_argument("--wait", action="store_true", help="until it has ended")
        verb.add_argument("--override", default="", metavar="REASON", help="ignore the robot's update lock")
    if name == "history":
        verb.add_argument("-n", "--count", type=int, default=50)
    if name == "wait":
        verb.add_argument("--for-change", metavar="MARK", default="", help="of the state that is known")
        verb.add_argument("--seconds", type=float, default=10.0, help="answer after so long in any case, at most 30")
    if name == "uninstall":
        words = "also releases, journal and trust: the robot forgets what it was"
        verb.add_argument("--purge", action="store_true", help=words)


def _of_this_robot(name: str, verb: argparse.ArgumentParser) -> None:
    if name == "pin":
        words = "a version on this robot, `current` or `previous`"
        verb.add_argument("release", metavar="RELEASE", nargs="?", default="current", help=words)
    if name == "logs":
        verb.add_argument("--tail", type=int, default=100, help="lines from the end")
        verb.add_argument("--follow", action="store_true", help="go on until it is ended")
    if name == "forget-root":
        verb.add_argument("robot", metavar="ROBOT", help="this robot's name, so that it is meant")
    if name == "unpin":
        verb.add_argument("release", metavar="VERSION")
    if name == "keep":
        verb.add_argument("new_version", metavar="VERSION", help="of the updater that has proven itself")
    if name == "verify":
        verb.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="how long to listen (1 to 60)")
