"""What the daemon believes because of who signed it, not of who brings it: roots, updaters, the newest release.

Whoever may use the socket may bring these. None of them needs root's rights at the robot.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from runtime.contract.codec import ContractError, from_dict, to_dict
from runtime.contract.robot.root import MAX_CHAIN
from runtime.contract.robot.root_chain import RootRefused
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import UpdateState
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.json_socket import Afterwards
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.selfupdate.self_update_trial import refuse_on_trial
from runtime.updater.transaction.newest import take_newest
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.update_state import Rejected, unwritable

#: Of a log, from its end: lines, and characters that an answer holds.
MAX_LINES, MAX_LOG = 10000, 4 * 1024 * 1024
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}Z")


class Believed:
    """Answers :data:`runtime.updater.daemon.serve.BELIEVED`.

    ``identity``: the robot's name and the fleet that it was bootstrapped into; empty where that is not known.
    """

    def __init__(self, root: Path, world: RealWorld, updater: Updater, identity: Callable[[], Tuple[str, str]]) -> None:
        self._root = root
        self._world = world
        self._updater = updater
        self._identity = identity

    def answer(self, request: Dict[str, Any]) -> Any:
        """Do what a request asks for; return JSON values. Raises Rejected, WorldError, ContractError, OSError."""
        verb = request["verb"]
        if verb == "take-root":
            return to_dict(self.take_root(_chain(request)))
        if verb == "take-newest":
            return to_dict(self.take_newest(_signed(request)))
        if verb == "take-pull":
            return self._take_pull(request)
        if verb == "logs":
            return {"lines": self._logs(request)}
        return self._take_updater(request)

    def take_root(self, chain: List[Signed]) -> UpdateState:
        """Follow a chain of roots."""
        fleet = self._identity()[1]
        if not fleet:
            raise Rejected("refused", "this machine does not know its fleet", "run `fleet bootstrap`")
        try:
            self._world.take_root(chain, fleet)
        except RootRefused as refused:
            raise Rejected("refused", refused.reason, refused.hint) from refused
        return self._updater.status()

    def _take_pull(self, request: Dict[str, Any]) -> Any:
        """Take what `fleet bootstrap` says of registry and hub; return the key that signs reports, too."""
        from runtime.updater.daemon.pull_setup import take_pull

        try:
            key = take_pull(self._root, self._world.machine, self._identity(), request)
        except OSError as error:
            raise unwritable(error, str(self._root)) from error
        self._updater.on_change()
        return {"state": to_dict(self._updater.status()), "host_key": key}

    def keep_statement(self) -> None:
        """Keep the statement of the updater that has just proven itself."""
        from runtime.updater.selfupdate.new_updater import keep_statement

        keep_statement(self._root, self._world)

    def take_newest(self, signed: Signed) -> UpdateState:
        """Take a statement of the newest release. Raises Rejected."""
        held = self._world.held_root()
        root = None if held is None else held.root
        try:
            return self._updater.amend(lambda journal: take_newest(journal, signed, root, self._world))
        except Refused as refused:
            raise Rejected("refused", refused.reason, refused.hint) from refused

    def _logs(self, request: Dict[str, Any]) -> List[str]:
        """Return what the runtime container wrote: whoever may ask needs no Docker for it."""
        tail, since = request.get("tail", 100), request.get("since", "")
        if isinstance(tail, bool) or not isinstance(tail, int) or not isinstance(since, str):
            raise Rejected("usage", "tail is a number of lines, since a time")
        if since and not _TIME.fullmatch(since):
            raise Rejected("usage", "since is a time as Docker writes it")
        current = self._updater.status().current
        if current is None:
            raise Rejected("none", "has no log: no release was rolled out to it yet", "`fleet rollout`")
        lines = min(max(tail, 0), MAX_LINES)
        found = self._world.logs(current.folder, current.slot, lines, since)
        return found[-MAX_LOG:].splitlines()[-lines:] if lines else []

    def _take_updater(self, request: Dict[str, Any]) -> Any:
        from runtime.updater.selfupdate.new_updater import content_of, take_updater

        refuse_on_trial(self._root)
        self._updater.refuse_when_busy()
        signed = None if request.get("signed") is None else _signed(request)
        version, trial_s = request.get("version"), request.get("trial_s")
        if not isinstance(version, str) or not isinstance(trial_s, (int, float)) or isinstance(trial_s, bool):
            raise Rejected("usage", "an updater comes with its version and the seconds of its trial")
        content = content_of(str(request.get("zipapp", "")))
        restart = take_updater(self._root, self._world, content, signed, version=version, trial_s=float(trial_s))
        answer = {"trial": restart}
        return Afterwards(answer, _leave) if restart else answer


def _leave() -> None:
    """End this daemon as its supervisor does; it is started again, as the updater on trial."""
    os.kill(os.getpid(), signal.SIGTERM)


def _signed(request: Dict[str, Any]) -> Signed:
    return from_dict(Signed, request.get("signed"), "signed")


def _chain(request: Dict[str, Any]) -> List[Signed]:
    roots: Optional[Any] = request.get("roots")
    if not isinstance(roots, list) or len(roots) > MAX_CHAIN:
        raise ContractError("roots: expected a list of at most {} signed roots".format(MAX_CHAIN))
    return [from_dict(Signed, each, "roots[{}]".format(at)) for at, each in enumerate(roots)]
