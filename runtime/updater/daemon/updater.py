"""The one that owns the journal: drives the transaction, and answers what is asked about it.

Only the driving thread changes an order in progress. Others leave a request in the journal, on disk, and wait.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from runtime.contract.codec import canonical_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.runtime_config import DEFAULT_HEALTH_PORT
from runtime.contract.robot.pull_state import PullState
from runtime.contract.robot.update import COMMITTED, IDLE, RunningRelease, UpdateOrder, UpdateState
from runtime.contract.robot.verification import MAX_SECONDS
from runtime.updater.state.records import ABORT, CONFIRM, HistoryEntry, Journal, Request
from runtime.updater.state.release_folder import health_port, order_in
from runtime.updater.state.transitions import BEFORE_SWITCH, accept, retry, serving_slot
from runtime.updater.state.world import StepInterrupted, World, WorldError
from runtime.updater.storage.journal import History, JournalStore
from runtime.updater.transaction.host_fit import host_problems
from runtime.updater.transaction.observe import look
from runtime.updater.transaction.recover import rebuild, recover
from runtime.updater.transaction.repair import repair
from runtime.updater.transaction.standing import with_trust
from runtime.updater.transaction.state_machine import advance, defect, is_active, is_awaiting, pause
from runtime.updater.transaction.update_state import Rejected, busy, state_of

#: A request is acted on between two steps; a switch in progress may take its whole deadline first.
REQUEST_S = 300.0
DISK_PAUSE_S = 10.0
#: Until an old container that could not be removed is tried again.
TIDY_PAUSE_S = 10.0
#: Longest that a question waits for a change, and so long before news of progress alone answers it.
MAX_WAIT_S, PROGRESS_S = 30.0, 5.0


class Updater:
    """One robot's updater. ``folder`` holds journal and history."""

    def __init__(
        self,
        folder: Path,
        world: World,
        robot: str = "",
        version: str = "",
    ) -> None:
        self.world = world
        self.version = version
        self._robot = robot
        self._store = JournalStore(folder)
        self._history = History(folder)
        self._journal = Journal()
        self._changed = threading.Condition()
        self._life, self._changes = os.urandom(4).hex(), 0
        self._repairing = False
        self._taken_up = False
        self.on_change: Callable[[], None] = lambda: None
        """Called after a state, an outcome or what is followed has changed; it may not wait."""
        self.pull_state: Callable[[], Optional[PullState]] = lambda: None
        """How the robot stands to the desired statement; None where it does not pull."""
        """How to go on with what a dead process left is decided, and on disk."""
        self.stopping = False

    # ── driving ──

    def start(self) -> None:
        """Read the journal and decide how to go on with what a dead process left."""
        journal, complaints = self._store.load()
        if complaints:
            self._store.set_aside()
        if complaints and journal == Journal():
            journal = rebuild(self.world, complaints)
        for complaint in complaints:
            self.world.note(complaint)
        self._journal = replace(journal, robot=self._robot) if self._robot else journal
        try:
            self._take_up()
        except OSError as error:
            # Asked what it does, the robot answers all the same; `run` takes up once the disk lets it.
            self.world.note("cannot write the journal: {}".format(error))

    def run(self) -> None:
        """Drive until :meth:`stop`."""
        while not self.stopping:
            try:
                before = self._journal
                if self.step():
                    continue
                self.world.sleep(pause(before) if is_active(before) else TIDY_PAUSE_S if before.tidy_due else 3600.0)
            except StepInterrupted:
                if not self.stopping:
                    self.world.interrupt.clear()
            except OSError as error:
                # The transition is not on disk, so nothing more may be done: the same step comes again.
                self.world.note("cannot write the journal: {}".format(error))
                self.world.wake.wait(DISK_PAUSE_S)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to drive."""
        return self.ordered or self._journal.tidy_due

    @property
    def ordered(self) -> bool:
        """Whether an order is still to be ended; tidying up after one is none."""
        return is_active(self._journal) or not self._taken_up

    @property
    def on_robot(self) -> Tuple[RunningRelease, ...]:
        """The releases whose containers may exist."""
        return tuple(one for one in (self._journal.current, self._journal.target) if one is not None)

    @property
    def pause_s(self) -> float:
        """So long the present state waits before its next step."""
        return pause(self._journal)

    def step(self) -> bool:
        """Do one step and put its outcome on disk. False: nothing to do, or the same state must wait.

        Raises OSError when the disk takes no journal, Interrupted.
        """
        if not self._taken_up:
            self._take_up()
        before = self._journal
        if not is_active(before) and not before.tidy_due:
            return False
        after = advance(before, self.world)
        with self._changed:
            present = self._journal
            if not is_active(before) and present is not before:
                return True  # a new order came while cleaning up
            if present.request is not before.request and is_active(after):
                after = replace(after, request=present.request)
            if present.pinned is not before.pinned:
                after = replace(after, pinned=present.pinned)
            if present.newest is not before.newest:
                after = replace(after, newest=present.newest)
            if present.desired is not before.desired:
                after = replace(after, desired=present.desired)
            try:
                self._put(after)
            except ValueError as error:  # something in it is no text and no number that can be written down
                after = retry(before, defect(error), self.world.mark())
                self._put(after)
        moved = after.state != before.state or after.takeover != before.takeover
        return moved or after.request is not None or after.last is not before.last

    def stop(self) -> None:
        """End :meth:`run` soon; the journal says how to go on."""
        self.stopping = True
        self.world.interrupt.set()
        self.world.wake.set()

    # ── asked from outside ──

    def status(self) -> UpdateState:
        """Return the state by the journal, and what the trust root makes of it."""
        journal = self._journal
        said = self.world.said if is_active(journal) else ""
        state = replace(state_of(journal, self.version, said), mark=self._mark, pull=self.pull_state())
        return with_trust(state, journal, self.world.held_root, self.world.mark().wall)

    @property
    def _mark(self) -> str:
        return "{}.{}".format(self._life, self._changes)

    def wait(self, mark: str, seconds: float) -> UpdateState:
        """Return the state once it is another than when ``mark`` was given, or after ``seconds``. Raises Rejected.

        Progress alone is no change: it answers after PROGRESS_S, so that whoever shows it need not ask each second.
        """
        if not 0.0 < seconds <= MAX_WAIT_S:
            raise Rejected("usage", "seconds must be more than 0 and at most {:g}".format(MAX_WAIT_S))
        said, began = self.world.said, time.monotonic()
        with self._changed:
            while self._mark == mark and not self.stopping:
                passed = time.monotonic() - began
                if passed >= seconds or (passed >= PROGRESS_S and self.world.said != said):
                    break
                self._changed.wait(min(seconds - passed, 1.0))
        return self.status()

    def attest(self) -> Attestation:
        """Return what really runs."""
        journal, state = self._journal, self.status()
        try:
            seen = look(self._port(journal), self.world, serving_slot(journal))
        except WorldError as error:
            return Attestation(state, report_error=error.message)
        container = seen.container
        if container is None:
            return Attestation(state, report_error=seen.health.error)
        running = container.status == "running" and bool(seen.references)
        return Attestation(
            state,
            running_image=seen.references[0] if running else "",
            container_id=container.id,
            container_started_at=container.started_at,
            container_restarts=container.restarts,
            report_json=seen.report_json,
            report_error=seen.health.error,
        )

    def verify(self, seconds: float) -> Attestation:
        """Return what really runs, and what the robot finds when it checks itself. Raises Rejected."""
        if not 1.0 <= seconds <= MAX_SECONDS:
            raise Rejected("usage", "seconds must be from 1 to {:g}".format(MAX_SECONDS))
        attestation = self.attest()
        try:
            attestation = replace(attestation, host_problems=tuple(self.host_problems()))
        except WorldError as error:
            attestation = replace(attestation, host_problems=("cannot be looked at: " + error.message,))
        attestation = self._with_registry(attestation)
        if not attestation.running_image:
            why = attestation.report_error or "no runtime container is running"
            return replace(attestation, verification_error=why)
        try:
            found = self.world.verify(self._port(self._journal), seconds, serving_slot(self._journal))
        except WorldError as error:
            return replace(attestation, verification_error=error.message + (" -> " + error.hint if error.hint else ""))
        # What ran is told as of after the check: a container that was replaced meanwhile proves nothing.
        after = self.attest()
        if after.container_id != attestation.container_id or after.container_restarts != attestation.container_restarts:
            return replace(after, verification_error="the container was replaced or restarted meanwhile")
        return replace(
            after,
            verification_json=found,
            host_problems=attestation.host_problems,
            registry=attestation.registry,
            registry_problem=attestation.registry_problem,
        )

    def _with_registry(self, attestation: Attestation) -> Attestation:
        """Return it with what the registry of the current image says to this robot's login."""
        current = self._journal.current
        if current is None:
            return attestation
        try:
            host, problem = self.world.ask_registry(current.image)
        except WorldError as error:
            host, problem = current.image.partition("/")[0], error.message
        return replace(attestation, registry=host, registry_problem=problem)

    def host_problems(self) -> List[str]:
        """Return what of the current release would not start on this host any more. Raises WorldError."""
        return host_problems(self._journal, self.world)

    def submit(self, order: UpdateOrder) -> UpdateState:
        """Begin ``order``; the same order again is the same order. Raises Rejected."""
        with self._changed:
            journal = self._journal
            if journal.order is not None and journal.order.order_id == order.order_id:
                if replace(journal.order, issued_at=order.issued_at) != order:
                    raise Rejected("usage", "order {} was submitted before with other content".format(order.order_id))
                return self.status()
            self.refuse_when_busy()
            self._make_room(order)
            self._put(accept(journal, order, self.world.mark()))
        self.world.wake.set()
        return self.status()

    @property
    def journal(self) -> Journal:
        """What is on disk."""
        return self._journal

    @property
    def awaits_reach(self) -> bool:
        """Whether an order that the robot came for may commit once registry or hub was reached."""
        return self._journal.pulled and is_awaiting(self._journal)

    def come_for(self, order: UpdateOrder) -> UpdateState:
        """Begin an order that this robot made by the plan that it follows; a deferred one begins again.

        Raises Rejected.
        """
        with self._changed:
            self.refuse_when_busy()
            self._make_room(order)
            desired = self._journal.desired
            followed = None if desired is None else replace(desired, order_id=order.order_id)
            begun = accept(self._journal, order, self.world.mark())
            self._put(replace(begun, pulled=True, desired=followed))
        self.world.wake.set()
        return self.status()

    def confirm(self, order_id: str) -> UpdateState:
        """The controller has seen the robot over a new connection: commit. Raises Rejected."""
        with self._changed:
            journal = self._journal
            if not is_active(journal) and _ended(journal, order_id) == COMMITTED:
                return self.status()
            if not is_awaiting(journal) or journal.order is None or journal.order.order_id != order_id:
                raise Rejected("refused", "order {} does not await confirmation".format(order_id), _standing(journal))
            self._ask(Request(CONFIRM, order_id), lambda now: now.state != journal.state)
            if _ended(self._journal, order_id) != COMMITTED:
                raise Rejected(
                    "refused", "too late: order {} is not committed".format(order_id), _standing(self._journal)
                )
        return self.status()

    def abort(self, order_id: str, reason: str) -> UpdateState:
        """Stop an order: unchanged before the switch, back to the old release after it. Raises Rejected."""
        with self._changed:
            journal = self._journal
            if not is_active(journal) and _ended(journal, order_id):
                return self.status()
            if not is_active(journal) or journal.order is None or journal.order.order_id != order_id:
                raise Rejected("refused", "order {} is not in progress".format(order_id), _standing(journal))
            if journal.state in BEFORE_SWITCH:
                self.world.interrupt.set()
            self._ask(Request(ABORT, order_id, reason or "asked for"), lambda now: now.request is None)
        return self.status()

    def revert(self, reason: str, order_id: str = "", override: str = "") -> UpdateState:
        """Go back to the previous release, or out of the update in progress. Raises Rejected, WorldError.

        With ``order_id`` only that order is undone: one that ended without a commit left nothing to undo. ``override``:
        why the switch does not wait for window and update lock.
        """
        journal = self._journal
        if order_id and journal.undoes == order_id:
            return self.status()
        if order_id and not is_active(journal) and _ended(journal, order_id) not in ("", COMMITTED):
            return self.status()
        if order_id and (journal.order is None or journal.order.order_id != order_id):
            raise Rejected("refused", "order {} is not the last one here".format(order_id), _standing(journal))
        if is_active(journal) and journal.order is not None:
            return self.abort(journal.order.order_id, reason or "revert requested on the robot")
        if journal.previous is None:
            raise Rejected("refused", "there is no previous release on this robot", "roll one out with fleet")
        now = self.world.mark()
        # The folder may serve two releases of one content, and then names the newer: the journal says which is meant.
        order = replace(
            order_in(self.world, journal.previous.folder),
            version=journal.previous.version,
            release_digest=journal.previous.release_digest,
            order_id="revert-{:.0f}".format(now.wall),
            force=True,
            issued_at=0.0,
            override=override,
        )
        with self._changed:
            self.refuse_when_busy()
            undoes = journal.last.order_id if journal.last is not None else ""
            self._put(replace(accept(self._journal, order, now), by_hand=True, asked=reason, undoes=undoes))
        self.world.wake.set()
        return self.status()

    def amend(self, change: Callable[[Journal], Journal]) -> UpdateState:
        """Put on disk what is no part of a transaction (pins, the newest release). Raises Rejected, OSError."""
        with self._changed:
            self._put(change(self._journal))
        self.world.wake.set()
        return self.status()

    def recover(self) -> List[str]:
        """Make an idle robot what its journal says; return what was done. Raises Rejected, WorldError, OSError."""
        with self._changed:
            self.refuse_when_busy()
            self._repairing = True
        try:
            done = ["journal   on disk: {}".format(text) for text in self._store.repair(self._journal)]
            return done + repair(self._journal, self.world)
        finally:
            self._repairing = False

    # ── inside ──

    def _take_up(self) -> None:
        with self._changed:
            recovered = recover(self._journal, self.world)
            self._store.save(recovered)
            self._journal, self._taken_up = recovered, True
            self._record(recovered.last)
        self._hold_reserve()

    def _hold_reserve(self) -> None:
        try:
            self._store.hold_reserve()
        except OSError as error:
            self.world.note("cannot hold the journal's reserve: {}".format(error))

    def _make_room(self, order: UpdateOrder) -> None:
        """Before an order: its end must find room on the disk, and the end of the one before be in the history."""
        try:
            self._store.hold_reserve(len(canonical_json(order)))
            if self._journal.last is not None:
                self._history.record(self._journal.last)
        except OSError as error:
            hint = "free space on that volume; nothing was changed"
            raise Rejected("refused", "no room for the journal: {}".format(error), hint) from error

    def refuse_when_busy(self) -> None:
        """Raises Rejected while an order is in progress, or somebody repairs."""
        if is_active(self._journal):
            raise busy(self._journal)
        if self._repairing:
            raise Rejected("busy", "`fleet-updater recover` is running on this robot", "try again when it has ended")

    def _port(self, journal: Journal) -> int:
        if not is_active(journal) and journal.current is not None:
            return health_port(order_in(self.world, journal.current.folder))
        return DEFAULT_HEALTH_PORT if journal.order is None else health_port(journal.order)

    def leave(self, request: Request) -> None:
        """Put a request in the journal; the driver acts on it between two steps. Raises OSError."""
        with self._changed:
            self._put(replace(self._journal, request=request))
        self.world.wake.set()

    def _ask(self, request: Request, done: Callable[[Journal], bool]) -> None:
        self.leave(request)
        if not self._changed.wait_for(lambda: done(self._journal), timeout=REQUEST_S):
            raise Rejected("outside", "the updater did not act within {:g} s".format(REQUEST_S), "see its log")

    def _put(self, journal: Journal) -> None:
        """Make ``journal`` the truth: on disk, then in memory. Saves only what differs from what is there."""
        if replace(journal, updated_at=self._journal.updated_at) != self._journal:
            self._store.save(journal)
        self._changes += journal is not self._journal
        before, ended = self._journal, journal.last is not self._journal.last
        self._journal = journal
        if ended:
            self._record(journal.last)
        self._changed.notify_all()
        news = is_awaiting(journal) and not is_awaiting(before)
        if news or ended or journal.state != before.state or journal.desired is not before.desired:
            self.on_change()

    def _record(self, outcome: Optional[HistoryEntry]) -> None:
        if outcome is None:
            return
        try:
            self._history.record(outcome)
        except OSError as error:
            # The journal holds the same outcome; the next order or the next start adds the line.
            self.world.note("cannot write the history: {}".format(error))


def _ended(journal: Journal, order_id: str) -> str:
    last = journal.last
    return last.outcome if last is not None and last.order_id == order_id else ""


def _standing(journal: Journal) -> str:
    if journal.state == IDLE:
        last = journal.last
        return "the last order {} ended: {} {}".format(last.order_id, last.outcome, last.reason) if last else "idle"
    return "the robot is in {} of order {}".format(journal.state, journal.order.order_id if journal.order else "")
