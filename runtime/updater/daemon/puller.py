"""The daemon's thread that comes for what the desired statement says. Looks are made by a process of their own.

It decides nothing about a transaction: it hands orders over and confirms them, as a controller does over SSH.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional
from zlib import crc32

from runtime.contract.codec import ContractError, canonical_json, from_dict
from runtime.contract.printable import printable
from runtime.contract.robot.pull_settings import PULL, PullSettings
from runtime.contract.robot.pull_state import PullState
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import UpdateOrder
from runtime.updater.daemon.updater import Updater
from runtime.updater.robot.pull_file import read_pull_file
from runtime.updater.selfupdate.self_update_trial import refuse_on_trial
from runtime.updater.state.records import SeenDesired
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.pulling import (
    ABORT,
    AGAIN,
    COME,
    REVERT,
    PullStep,
    next_step,
    pull_state,
    take_desired,
)
from runtime.updater.transaction.state_machine import defect
from runtime.updater.transaction.update_state import Rejected

#: The longest pause after errors; and between two attempts to reach out for a commit.
MOST_PAUSE_S, REACH_PAUSE_S = 900.0, 2.0
#: Between two looks at whether there is a `pull.json` now.
IDLE_S = 60.0
MAX_SENTENCE = 600

Ask = Callable[[List[str], Optional[bytes]], Dict[str, Any]]
"""(what the process is to do, its stdin) → what it says. Raises WorldError."""


class Puller:
    """``take_newest``: takes a statement of the newest release, as `fleet-updater take-newest` does."""

    def __init__(
        self,
        root: Path,
        updater: Updater,
        ask: Ask,
        say: Callable[[str], None],
        take_newest: Callable[[Signed], None] = lambda _signed: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._updater, self._ask, self._say = root, updater, ask, say
        self._take_newest, self._clock = take_newest, clock
        self._news = threading.Event()
        self._looked = threading.Condition()
        self._looks, self._failures = 0, 0
        self._asked = False
        self._settings: Optional[PullSettings] = None
        self._unreadable = False
        """There is a `pull.json`, and it cannot be used."""
        self._next: Optional[float] = None
        """When to look again, on our clock."""
        self._next_wall = 0.0
        self._came = False
        """An order is due and was looked for: what came of it is seen at the next look."""
        self._refusal = ""
        """Why what lies in the registry does not count."""
        self._held, self._problem = "", ""
        self.unreported = ""
        self._stopped = False
        self.on_change: Callable[[], None] = lambda: None

    # ── asked from outside ──

    def wake(self) -> None:
        """There is news of a transaction."""
        self._news.set()

    def look_now(self, wait_s: float) -> bool:
        """Look at once, whatever the pause; return whether that was done within ``wait_s``."""
        with self._looked:
            before, self._asked = self._looks, True
            self._news.set()
            return self._looked.wait_for(lambda: self._looks > before, timeout=wait_s)

    def state(self) -> Optional[PullState]:
        """Return how the robot stands to its fleet; None where it does not pull."""
        settings = self._settings
        if not self._unreadable and (settings is None or settings.link != PULL):
            return None
        found = pull_state(self._updater.journal, self._held, self._next_wall, self._problem)
        return replace(found, unreported=self.unreported)

    def stop(self) -> None:
        """End :meth:`run` soon."""
        self._stopped = True
        self._news.set()

    # ── the thread ──

    def run(self) -> None:
        """Work until :meth:`stop`."""
        while not self._stopped:
            self._news.wait(self._safe_round())
            self._news.clear()

    def _safe_round(self) -> float:
        try:
            return self.round()
        except Exception as error:  # noqa: BLE001  (a robot that never looks again must not look as if it did)
            self._tell(problem=defect(error).message)
            self._count_look()
            return IDLE_S

    def round(self) -> float:
        """Do what is due; return the seconds until something may be due again."""
        try:
            self._settings = self._read()
        except (WorldError, Rejected) as error:
            self._unreadable = True
            self._tell(held="", problem=_sentence(error.message, error.hint))
            self._count_look()
            return IDLE_S
        self._unreadable = False
        if self._settings is None or self._settings.link != PULL:
            self._count_look()
            return IDLE_S
        if self._updater.awaits_reach:
            self._reach()
            return REACH_PAUSE_S
        step = next_step(self._updater.journal, self._updater.world.mark().wall)
        self._act(step, None)
        if self._is_due(step):
            self._look(self._settings, step)
        return max(0.05, min(IDLE_S, (self._next or 0.0) - self._clock()))

    def _read(self) -> Optional[PullSettings]:
        settings = read_pull_file(self._root)
        known = self._updater.journal.robot
        if settings is not None and known and settings.robot != known:
            text = "pull.json is of robot {}, this machine is {}".format(settings.robot, known)
            raise WorldError(text, "run `fleet bootstrap` again, or make a bundle for this robot: `fleet enroll`")
        return settings

    def _is_due(self, step: PullStep) -> bool:
        if self._next is None:  # a fleet that has had a power cut does not come back as one
            assert self._settings is not None
            self._plan_next(self._settings.poll_s * self._share())
        assert self._next is not None
        whole, self._came = step.kind == COME and not self._came, step.kind == COME
        return self._asked or whole or self._clock() >= self._next

    def _look(self, settings: PullSettings, step: PullStep) -> None:
        seen = self._updater.journal.desired
        known = "" if seen is None or step.kind == COME else seen.digest
        now = self._updater.world.mark()
        words = ["look", "--known", known, "--now", canonical_json(now).decode("ascii")]
        try:
            found = self._ask(words, None)
            after_s = self._take(found)
        except WorldError as error:
            self._tell(problem=_sentence(error.message, error.hint))
            after_s = 0.0
            self._failures += 1
        pause = settings.poll_s * (0.9 + 0.2 * self._share())
        if self._failures:
            most = max(MOST_PAUSE_S, settings.poll_s)
            pause = min(most, settings.poll_s * 2.0 ** min(self._failures, 12)) * (0.75 + 0.25 * self._share())
        self._plan_next(max(pause, min(after_s, MOST_PAUSE_S)))
        self._count_look()

    def _take(self, found: Dict[str, Any]) -> float:
        """Do what a look found; return the seconds that the registry asks us to wait."""
        if "failed" in found:
            self._failures += 1
            self._tell(problem=_sentence(str(found["failed"]), str(found.get("hint", ""))))
            return float(found.get("after_s") or 0.0)
        if "refused" in found:
            self._failures += 1
            self._refusal = _sentence(str(found["refused"]), str(found.get("hint", "")))
            self._tell(self._refusal, problem="")
            return 0.0
        self._failures, self._refusal = 0, ""
        order = None
        if found.get("note"):
            self._say("pull: {}".format(printable(str(found["note"]), MAX_SENTENCE)))
        if "seen" in found:
            order = self._follow(found)
        step = next_step(self._updater.journal, self._updater.world.mark().wall)
        gone = ""
        if found.get("nothing") and self._updater.journal.desired is None:
            self._refusal = "there is no desired statement in the registry yet"
        elif found.get("nothing"):
            gone = "the registry has no desired statement any more"
        self._tell(problem=gone)
        self._act(step, order)
        return 0.0

    def _follow(self, found: Dict[str, Any]) -> Optional[UpdateOrder]:
        """Take a verified statement into the journal; return the order that lies in it for us. Raises WorldError."""
        try:
            seen = from_dict(SeenDesired, found["seen"])
            order = None if found.get("order") is None else from_dict(UpdateOrder, found["order"])
            if isinstance(found.get("newest"), dict):
                self._hear_newest(from_dict(Signed, found["newest"]))
            self._updater.amend(lambda journal: take_desired(journal, seen))
        except (Refused, Rejected) as refused:
            raise WorldError(_said(refused), refused.hint) from refused
        except (ContractError, OSError) as error:
            raise WorldError("what was found cannot be kept: {}".format(error), "see `fleet-updater doctor`") from error
        return order

    def _hear_newest(self, signed: Signed) -> None:
        try:
            self._take_newest(signed)
        except (Refused, Rejected, ContractError, WorldError) as error:
            self._say("the statement of the newest release: {}".format(_said(error)))

    def _act(self, step: PullStep, order: Optional[UpdateOrder]) -> None:
        """Hand a step over to the one that owns the journal."""
        held = self._refusal or step.held
        try:
            if step.kind == COME and order is not None:
                refuse_on_trial(self._root)
                self._updater.come_for(order)
            elif step.kind == AGAIN:
                self._come_again()
            elif step.kind == REVERT:
                self._updater.revert(step.held, step.order_id, self._override())
            elif step.kind == ABORT:
                self._updater.abort(step.order_id, step.held)
        except (Rejected, WorldError) as error:
            held = _sentence(error.message, error.hint)
        self._tell(held)

    def _come_again(self) -> None:
        journal = self._updater.journal
        if journal.order is not None and journal.desired is not None:
            refuse_on_trial(self._root)
            self._updater.come_for(replace(journal.order, issued_at=journal.desired.statement.issued_at))

    def _override(self) -> str:
        desired = self._updater.journal.desired
        return desired.override if desired is not None else ""

    def _reach(self) -> None:
        """Commit once registry or hub was reached: a release that cuts the robot off must go back by itself."""
        journal = self._updater.journal
        try:
            found = self._ask(["reach"], None)
            if "reached" not in found:
                self._tell("waits to reach registry or hub before it commits", _sentence(str(found.get("failed")), ""))
                return
            if journal.order is not None:
                self._updater.confirm(journal.order.order_id)
            self._tell("", "")
        except (Rejected, WorldError) as error:
            self._tell(problem=_sentence(error.message, error.hint))

    # ── small things ──

    def _tell(self, held: Optional[str] = None, problem: Optional[str] = None) -> None:
        before = (self._held, self._problem)
        self._held = before[0] if held is None else printable(held, MAX_SENTENCE)
        self._problem = before[1] if problem is None else printable(problem, MAX_SENTENCE)
        if (self._held, self._problem) != before:
            for text in filter(None, (self._held, self._problem)):
                self._say("pull: {}".format(text))
            self.on_change()

    def _plan_next(self, pause_s: float) -> None:
        self._next = self._clock() + pause_s
        self._next_wall = self._updater.world.mark().wall + pause_s

    def _share(self) -> float:
        """Return this robot's share of a pause, from 0 to 1, another one each time."""
        name = "" if self._settings is None else self._settings.robot
        return (crc32("{}{}".format(name, self._looks).encode("utf-8")) % 1000) / 1000.0

    def _count_look(self) -> None:
        with self._looked:
            self._looks += 1
            self._asked = False
            self._looked.notify_all()


def _said(error: Any) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "message", "") or error)


def _sentence(message: str, hint: str) -> str:
    return "{} -> {}".format(message, hint) if hint else message
