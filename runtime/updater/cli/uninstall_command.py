"""`fleet-updater uninstall`: what `fleet bootstrap` installed goes from this robot again. What runs, runs on."""

from __future__ import annotations

import argparse
import errno
import json
import shutil
from pathlib import Path
from typing import List

from runtime.contract.codec import from_dict
from runtime.contract.robot.update import COMMAND_PATH, UpdateState
from runtime.updater.cli.terminal import print_lines
from runtime.updater.robot import process
from runtime.updater.robot.json_socket import ask
from runtime.updater.transaction.update_state import Rejected

UNIT = Path("etc/systemd/system/fleet-updater.service")
ANSWER_S, SYSTEMCTL_S = 15.0, 120.0


def uninstall(arguments: argparse.Namespace) -> int:
    """Stop and remove the service and the command; with ``--purge`` also all that the robot keeps of its releases."""
    machine: Path = arguments.machine
    _refuse_when_busy(arguments)
    done = _remove_service(machine)
    command = machine / COMMAND_PATH.lstrip("/")
    if command.exists():
        command.unlink()
        done.append("removed {}".format(command))
    if arguments.purge:
        if arguments.root.exists():
            _empty(arguments.root)
            done.append("removed {}".format(arguments.root))
    else:
        done.append("{} stays: releases, journal, trust (--purge removes it)".format(arguments.root))
    done.append("containers that run go on: `docker ps --filter label=com.docker.compose.service=runtime` shows them")
    if arguments.json:
        print(json.dumps({"done": done}))
    else:
        print_lines(done)
    return 0


def _refuse_when_busy(arguments: argparse.Namespace) -> None:
    try:
        state = from_dict(UpdateState, ask(arguments.socket, {"verb": "status"}, ANSWER_S))
    except ConnectionError:
        return  # it does not run
    if state.state != "idle":
        hint = "wait for its end (`fleet-updater status`), or `fleet-updater abort {}`".format(state.order_id)
        raise Rejected("busy", "this robot is in the middle of an update ({})".format(state.state), hint)


def _empty(folder: Path) -> None:
    """Remove a folder; one on a disk of its own stays, empty."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        else:
            entry.unlink()
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def _remove_service(machine: Path) -> List[str]:
    unit = machine / UNIT
    if not (machine / "run/systemd/system").is_dir():
        return ["no systemd here: stop what starts `fleet-updater serve`"]
    if not unit.exists():
        return []
    done = []
    for words in (["disable", "--now", unit.name], ["daemon-reload"]):
        ran = process.run(["systemctl", "--quiet", *words], SYSTEMCTL_S)
        if ran.code != 0:
            raise Rejected(
                "outside", "systemctl {}: {}".format(words[0], ran.err.strip()), "run it by hand, then again"
            )
        if words[0] == "disable":
            unit.unlink()
            done.append("stopped, disabled and removed {}".format(unit))
    return done
