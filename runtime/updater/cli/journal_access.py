"""Who holds the journal while a person runs `recover`: the daemon, or this process in its place."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from runtime.contract.codec import from_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.update import IDLE, UpdateState
from runtime.updater.cli.terminal import say
from runtime.updater.daemon.serve import only_one, robot_name
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.json_socket import ask
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import StepInterrupted
from runtime.updater.transaction.update_state import Rejected, unwritable

LOOK_S = 1.0


class JournalAccess:
    """Somebody who holds the journal: the daemon, or this process."""

    def __enter__(self) -> JournalAccess:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def state(self) -> UpdateState:
        """Return the state by the journal. Raises ConnectionError."""
        raise NotImplementedError

    def attest(self) -> Attestation:
        """Return what really runs."""
        raise NotImplementedError

    def finish_order(self, deadline: float) -> None:
        """Go on until no order is in progress. Raises Rejected past the deadline (monotonic seconds)."""
        raise NotImplementedError

    def repair(self) -> List[str]:
        """Make the idle robot what its journal says."""
        raise NotImplementedError

    def not_well(self) -> str:
        """Return what to do about a release that runs and is not well."""
        return "see `docker compose logs` in /var/lib/jetfleet/current; back: `fleet-updater revert --wait`"

    def farewell(self) -> None:
        """Say what is left to do."""
        return


class ThroughDaemon(JournalAccess):
    """The daemon."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._socket: Path = arguments.socket

    def state(self) -> UpdateState:
        """Ask for the state."""
        return from_dict(UpdateState, self._ask({"verb": "status"}, 15.0))

    def attest(self) -> Attestation:
        """Ask what really runs."""
        return from_dict(Attestation, self._ask({"verb": "attest"}, 60.0))

    def finish_order(self, deadline: float) -> None:
        """Watch the daemon's order come to its end."""
        said = ""
        while True:
            state = self.state()
            if state.state == IDLE:
                return
            now = "{}: {}".format(state.state, state.progress or state.reason or "order {}".format(state.order_id))
            if now != said:
                said = now
                say(now)
            if time.monotonic() > deadline:
                hint = "stop it: `fleet-updater abort {}`".format(state.order_id)
                raise Rejected("outside", "order {} does not end: {}".format(state.order_id, now), hint)
            time.sleep(LOOK_S)

    def repair(self) -> List[str]:
        """Let the daemon do it."""
        return [str(line) for line in self._ask({"verb": "recover"}, 330.0)]

    def _ask(self, request: Dict[str, Any], timeout_s: float) -> Any:
        return ask(self._socket, request, timeout_s)


class InThisProcess(JournalAccess):
    """This process, holding the daemon's lock so that a daemon that is started meanwhile waits for its turn."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._state = arguments.root / "state"
        self._state.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(self._state)
        self._world = RealWorld(arguments.root, arguments.project, arguments.machine)
        self._updater = Updater(self._state, self._world, robot_name(arguments.root), arguments.version)

    def __enter__(self) -> JournalAccess:
        try:
            self._updater.start()
        except OSError as error:
            raise unwritable(error, str(self._state)) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def state(self) -> UpdateState:
        """Read the journal."""
        return self._updater.status()

    def attest(self) -> Attestation:
        """Look."""
        return self._updater.attest()

    def finish_order(self, deadline: float) -> None:
        """Drive the order to its end; to tidy up is the daemon's, so that a repair after this says what it found."""
        while self._updater.ordered:
            if time.monotonic() > deadline:
                raise Rejected(
                    "outside", "order {} does not end".format(self.state().order_id), "see the messages above"
                )
            try:
                if not self._updater.step():
                    self._world.sleep(self._updater.pause_s)
            except StepInterrupted:
                self._world.interrupt.clear()
            except OSError as error:
                raise unwritable(error, str(self._state)) from error

    def repair(self) -> List[str]:
        """Do it."""
        try:
            return self._updater.recover()
        except OSError as error:
            raise unwritable(error, str(self._state)) from error

    def farewell(self) -> None:
        """Nobody answers yet."""
        say("now start the updater: `sudo systemctl start fleet-updater`")


def _take_lock(state: Path) -> int:
    try:
        return only_one(state)
    except Rejected as error:
        holder = journal_lock_holder(state)
        if holder is None:
            raise
        text = "the updater (process {}) holds the robot and does not answer".format(holder)
        hint = "`sudo systemctl restart fleet-updater`, or `sudo kill -9 {}`; then again".format(holder)
        raise Rejected("busy", text, hint) from error


def journal_lock_holder(state: Path) -> Optional[int]:
    """Return the process that wrote itself into the daemon's lock; None when it is not alive."""
    try:
        pid = int((state / "daemon.lock").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if Path("/proc/{}".format(pid)).exists() else None
