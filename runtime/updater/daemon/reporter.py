"""The daemon's thread that reports to the hub: on every change, and each ``report_s``. Another process signs, sends."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Callable, Optional

from runtime.contract.codec import canonical_json
from runtime.contract.printable import printable
from runtime.updater.daemon.puller import Ask
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.pull_file import read_pull_file
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.state_machine import defect

#: Changes that come within this time are one report.
FOLD_S = 0.5
TWINS = (
    "the hub has newer reports than this robot made, again: another machine reports with its name and host key -> give "
    "each machine a host key of its own (ssh-keygen -A), then fleet enroll accept"
)
FIRST_PAUSE_S, MOST_PAUSE_S, IDLE_S = 5.0, 900.0, 60.0


class Reporter:
    """Keeps reports on disk, by its process, while the hub is away."""

    def __init__(
        self,
        root: Path,
        updater: Updater,
        ask: Ask,
        on_problem: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._updater, self._ask, self._clock = root, updater, ask, clock
        self._on_problem = on_problem
        self._news = threading.Event()
        self._changed = True
        self._due = 0.0
        self._again: Optional[float] = None
        """When what waits is handed over again, on our clock; None: nothing waits."""
        self._failures, self._renumbered = 0, 0
        self._stopped = False

    def changed(self) -> None:
        """Something is to be reported."""
        self._changed = True
        self._news.set()

    def stop(self) -> None:
        """End :meth:`run` soon."""
        self._stopped = True
        self._news.set()

    def run(self) -> None:
        """Work until :meth:`stop`."""
        while not self._stopped:
            self._news.wait(self._safe_round())
            self._news.clear()
            if self._changed and not self._stopped:
                time.sleep(FOLD_S)

    def _safe_round(self) -> float:
        try:
            return self.round()
        except Exception as error:  # noqa: BLE001  (a robot that is silent for ever must say why)
            self._on_problem(defect(error).message)
            return IDLE_S

    def round(self) -> float:
        """Report when that is due; return the seconds until it may be due again."""
        try:
            settings = read_pull_file(self._root)
        except WorldError:
            return IDLE_S  # the puller says it
        if settings is None or not settings.hub:
            return IDLE_S
        now = self._clock()
        if self._changed or now >= self._due:
            self._changed = False
            self._due = now + settings.report_s
            self._send(canonical_json(self._updater.attest()))
        elif self._again is not None and now >= self._again:
            self._send(b"")
        ends = [self._due] if self._again is None else [self._due, self._again]
        return max(0.05, min(ends) - self._clock())

    def _send(self, attestation: bytes) -> None:
        wall = self._updater.world.mark().wall
        problem, after_s = "", 0.0
        try:
            found = self._ask(["report", "--at", "{:.3f}".format(wall)], attestation)
            problem = str(found.get("failed") or found.get("refused") or "")
            after_s = float(found.get("after_s") or 0.0)
            waiting = bool(found.get("waiting"))
            self._renumbered = self._renumbered + 1 if found.get("renumbered") else 0
        except WorldError as error:
            problem, waiting = error.message, True
        self._failures = self._failures + 1 if problem else 0
        self._again = None
        if problem or waiting:
            pause = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 10)) if problem else 0.0
            self._again = self._clock() + max(pause, min(after_s, MOST_PAUSE_S))
        twice = self._renumbered > 1  # once is a new disk, or a hub that was restored
        self._on_problem(printable(problem or (TWINS if twice else ""), 600))
