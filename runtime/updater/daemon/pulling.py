"""What a robot that pulls or reports has besides: two threads, which wait most of the time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import UpdateState
from runtime.updater.daemon.puller import Puller
from runtime.updater.daemon.reporter import Reporter
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.pull_file import ask_child
from runtime.updater.transaction.update_state import Rejected

#: A look that was asked for answers within this time, or is still at work.
LOOK_S = 120.0


class Pulling:
    """``believed``: makes what takes signed statements; an idle updater has none."""

    def __init__(
        self,
        root: Path,
        updater: Updater,
        machine: Path,
        say: Callable[[str], None],
        believed: Callable[[], Any],
    ) -> None:
        def ask(what: List[str], given: Optional[bytes]) -> Dict[str, Any]:
            return ask_child(root, machine, what, given)

        def take_newest(signed: Signed) -> None:
            believed().take_newest(signed)

        self._updater = updater
        self._puller = Puller(root, updater, ask, say, take_newest)
        self._reporter = Reporter(root, updater, ask, self._unreported)
        self._puller.on_change = self._reporter.changed
        self._say = say
        updater.on_change = self._changed
        updater.pull_state = self._puller.state

    def start(self) -> None:
        """Begin to look and to report, where the robot was told to."""
        threading.Thread(target=self._puller.run, name="pull", daemon=True).start()
        threading.Thread(target=self._reporter.run, name="report", daemon=True).start()

    def stop(self) -> None:
        """End soon."""
        self._puller.stop()
        self._reporter.stop()

    def look_now(self) -> UpdateState:
        """Look into the registry now, and report. Raises Rejected."""
        if self._puller.look_now(LOOK_S):
            self._reporter.changed()
            return self._updater.status()
        raise Rejected("outside", "the look takes longer than {:g} s".format(LOOK_S), "see `fleet-updater status`")

    def _changed(self) -> None:
        self._puller.wake()
        self._reporter.changed()

    def _unreported(self, problem: str) -> None:
        if problem and problem != self._puller.unreported:
            self._say("report: {}".format(problem))
        self._puller.unreported = problem
