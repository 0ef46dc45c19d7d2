"""A rollout: wave by wave, robots of a wave side by side, stopped by the first wave that fails its gate."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from fleet.errors import LockHeld, RobotError
from fleet.link.robot import RobotClient
from fleet.manifest.schema.manifest_schema import Rollout
from fleet.plan.diff import Action, RobotChange
from fleet.plan.waves import PlannedWave, batches, plan_waves
from fleet.ports import Clock
from fleet.resolve.desired import DesiredRobot
from fleet.rollout.gate import Outcome, WaveVerdict
from fleet.rollout.limits import Limits
from fleet.rollout.orders import orders_for
from fleet.rollout.pause import Earlier
from fleet.rollout.result import OnEvent, Pause, RobotResult, RolloutEvent, RolloutResult
from fleet.rollout.robot_update import RobotUpdate
from fleet.rollout.tally import Tally
from fleet.rollout.undo import take_back
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.robot.trust import Proof
from runtime.contract.robot.update import UpdateOrder, UpdateState

OpenClient = Callable[[DesiredRobot], RobotClient]
OnWave = Callable[[str, int, int, Sequence[str], dict[str, int]], str]
"""Event (``before-wave``, ``after-wave``), wave, waves, its robots, outcomes so far → why to stop; empty: go on."""
_LOOK_S = 0.2
"""How often the main thread looks after the lock and Ctrl-C while robots work."""


def roll_out(
    release: ReleaseDocument,
    release_digest: str,
    robots: Sequence[DesiredRobot],
    changes: Sequence[RobotChange],
    open_client: OpenClient,
    *,
    policy: Rollout,
    clock: Clock,
    on_event: OnEvent = lambda _event: None,
    keep_lock: Callable[[], None] = lambda: None,
    force: bool = False,
    override: str = "",
    stop_start: bool = False,
    proof: Proof | None = None,
    limits: Limits | None = None,
    earlier: Earlier | None = None,
    until_wave: int | None = None,
    approvals: bool = True,
    on_wave: OnWave | None = None,
) -> RolloutResult:
    """Bring ``robots`` to ``release``; return how it ended for each. See `docs/rollout.md` for every rule.

    ``changes``: the plan, one change for each robot, which is applied as it is: robots are not looked at again before
    their turn. One that has changed by then is left alone, and ends the rollout (`RolloutResult.outdated`).
    ``keep_lock`` is called several times a second and raises LockHeld when the rollout lock is lost: then, and on
    KeyboardInterrupt, no new robot is started and those at work are sent back (a second KeyboardInterrupt leaves
    them; they go back by themselves). ``override``: why robots do not wait for window and update lock.
    ``stop_start``: they stop the old container before they start the new one, whatever the release says.
    ``proof``: who signed for the release. ``earlier``: go on with a rollout that paused, whose next wave is approved.
    ``until_wave``: pause when that wave (1-based) has passed. ``approvals``: False takes no notice of waves that want
    one. ``on_wave`` is told before and after each wave and may stop the rollout: what committed stays then.
    A rollout pauses between waves only, with nobody at work. Raises UsageError when the release does not know a
    robot.
    """
    orders = orders_for(
        release,
        release_digest,
        robots,
        issued_at=clock.now(),
        force=force,
        override=override,
        stop_start=stop_start,
        proof=proof,
    )
    rollout = _Rollout(
        orders,
        {change.robot: change for change in changes},
        open_client,
        policy=policy,
        clock=clock,
        on_event=on_event,
        keep_lock=keep_lock,
        limits=dataclasses.replace(limits or Limits(), lost_after_s=policy.lost.after),
        earlier=earlier,
        until_wave=until_wave,
        approvals=approvals,
        on_wave=on_wave,
    )
    return rollout.run(release.version, robots)


def abort_rollout(
    release: ReleaseDocument,
    release_digest: str,
    robots: Sequence[DesiredRobot],
    changes: Sequence[RobotChange],
    open_client: OpenClient,
    *,
    results: Sequence[RobotResult],
    reason: str,
    policy: Rollout,
    clock: Clock,
    on_event: OnEvent = lambda _event: None,
    keep_lock: Callable[[], None] = lambda: None,
) -> RolloutResult:
    """End a rollout that paused: what it committed goes back, where the policy's ``on_failure`` says ``revert``.

    ``results``: of the robots whose turn was over. A robot that runs something else by now is left alone, one that
    does not answer is set down as lost, on the release.
    """
    orders = orders_for(release, release_digest, robots, issued_at=clock.now(), force=False)
    rollout = _Rollout(
        orders,
        {change.robot: change for change in changes},
        open_client,
        policy=policy,
        clock=clock,
        on_event=on_event,
        keep_lock=keep_lock,
        limits=dataclasses.replace(Limits(), lost_after_s=policy.lost.after),
    )
    return rollout.abort(release.version, robots, results, reason)


class _Rollout:
    """State of one rollout: who has ended how, and whether to go on."""

    def __init__(
        self,
        orders: dict[str, UpdateOrder],
        changes: dict[str, RobotChange],
        open_client: OpenClient,
        *,
        policy: Rollout,
        clock: Clock,
        on_event: OnEvent,
        keep_lock: Callable[[], None],
        limits: Limits,
        earlier: Earlier | None = None,
        until_wave: int | None = None,
        approvals: bool = True,
        on_wave: OnWave | None = None,
    ) -> None:
        self._on_wave = on_wave
        self._stopped = ""
        self._earlier = earlier
        self._until_wave = until_wave
        self._approvals = approvals
        self._pause: Pause | None = None
        self._orders = orders
        self._changes = changes
        self._open_client = open_client
        self._policy = policy
        self._clock = clock
        self._on_event = on_event
        self._keep_lock = keep_lock
        self._limits = limits
        self._tally = Tally(len(orders), policy)
        self._stop = threading.Event()
        """Interrupted, or the lock is lost: send those at work back."""
        self._abandon = threading.Event()
        self._interrupted = False
        self._speaking = threading.Lock()
        self._wave = 0
        self._waves = 0

    def run(self, version: str, robots: Sequence[DesiredRobot]) -> RolloutResult:
        started = self._clock.monotonic()
        self._set_down(robots)
        pool = ThreadPoolExecutor(self._policy.parallel, thread_name_prefix="rollout")
        try:
            self._go_through(pool, self._earlier.waves if self._earlier else self._plan(robots))
            if self._tally.goes_back and not self._stop.is_set():
                self._take_back(pool, robots, f"the rollout failed: {self._tally.failed}")
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        return self._result(version, robots, self._clock.monotonic() - started)

    def abort(
        self, version: str, robots: Sequence[DesiredRobot], results: Sequence[RobotResult], reason: str
    ) -> RolloutResult:
        """Set down how it ended before, and send back what had committed."""
        started = self._clock.monotonic()
        for result in results:
            self._tally.note(result)
        changed = [robot for robot in robots if self._goes_back(robot, version)]
        pool = ThreadPoolExecutor(self._policy.parallel, thread_name_prefix="rollout")
        try:
            self._take_back(pool, changed, f"the rollout was aborted: {reason}")
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        ended = self._result(version, robots, self._clock.monotonic() - started)
        return dataclasses.replace(ended, aborted=reason)

    def _goes_back(self, robot: DesiredRobot, version: str) -> bool:
        """Say whether an abort sends the robot back; note why one that had committed is left."""
        before = self._tally.results.get(robot.name)
        if before is None or not before.order_id or self._policy.on_failure != "revert":
            return False
        change = self._changes[robot.name]
        if not change.fingerprint:
            why = f"it still runs {version}: {change.reason or 'it does not answer'}"
            self._note(dataclasses.replace(before, outcome=Outcome.LOST, reason=why))
        elif not change.fingerprint.startswith(f"{self._orders[robot.name].release_digest}/"):
            why = f"left alone: it runs {change.from_version or 'nothing'} now"
            self._note(dataclasses.replace(before, outcome=Outcome.OUTDATED, reason=why))
        else:
            return True
        return False

    def _result(self, version: str, robots: Sequence[DesiredRobot], seconds: float) -> RolloutResult:
        why = f"waits for wave {self._pause.wave}" if self._pause else "the rollout ended before its turn"
        skipped = (RobotResult(robot.name, Outcome.SKIPPED, why) for robot in robots)
        tally = self._tally
        return RolloutResult(
            version=version,
            robots=tuple(tally.results.get(each.name, each) for each in skipped),
            waves=tuple(tally.verdicts),
            planned_waves=self._waves,
            failed=tally.failed,
            stalled=tally.stalled,
            outdated=tally.outdated,
            stopped=self._stopped,
            interrupted=self._interrupted,
            seconds=seconds,
            paused=self._pause,
            resumed=self._earlier is not None,
        )

    # ── before the first wave ────────────────────────────────────────────────────────────────────────────────────

    def _set_down(self, robots: Sequence[DesiredRobot]) -> None:
        """Set down the robots that the plan could not reach or ask: they are in no wave."""
        for result in self._earlier.results if self._earlier else ():
            self._tally.note(result)
        for robot in robots:
            if robot.name in self._tally.results:
                continue
            change = self._changes[robot.name]
            if change.action is Action.OFFLINE:
                self._note(RobotResult(robot.name, Outcome.OFFLINE, change.reason, change.hint))
            elif change.action in (Action.BOOTSTRAP, Action.ERROR, Action.UNKNOWN):
                self._note(RobotResult(robot.name, Outcome.REFUSED, change.reason, change.hint, tried=False))
        ready = len(robots) - len(self._tally.results)
        self._tell("looked", f"{ready} of {len(robots)} robots are ready")

    def _plan(self, robots: Sequence[DesiredRobot]) -> Sequence[PlannedWave]:
        planned = [robot for robot in robots if robot.name not in self._tally.results]
        stays = {each.name for each in planned if self._changes[each.name].action in (Action.RECORD, Action.NONE)}
        return plan_waves(planned, stays, self._policy)

    # ── one wave after the other ─────────────────────────────────────────────────────────────────────────────────

    def _go_through(self, pool: ThreadPoolExecutor, plan: Sequence[PlannedWave]) -> None:
        """Run the waves until one does not pass, or is to be waited for."""
        self._waves = len(plan)
        first = self._earlier.next_wave if self._earlier else 0
        for number, wave in enumerate(plan, start=1):
            if number < first:
                continue
            beyond = self._until_wave is not None and number > self._until_wave
            approval = self._approvals and wave.approve and number != first
            if approval or beyond:
                self._pause = Pause(number, approval, tuple(plan))
                self._tell("paused", f"paused: wave {number} {'wants an approval' if approval else 'is not asked for'}")
                return
            self._wave = number
            if not (self._may_go_on("before-wave", wave) and self._run_wave(pool, wave.robots)):
                return
            if not self._may_go_on("after-wave", wave):
                return

    def _may_go_on(self, event: str, wave: PlannedWave) -> bool:
        """Tell of the wave; say whether the rollout goes on. Nobody is at work meanwhile."""
        if self._on_wave is None:
            return True
        names = [robot.name for robot in wave.robots]
        counts = Counter(self._tally.results[name].outcome.value for name in names if name in self._tally.results)
        try:
            self._stopped = self._on_wave(event, self._wave, self._waves, names, dict(counts))
            self._keep_lock()
        except KeyboardInterrupt:
            self._interrupt("interrupted between waves")
        except LockHeld as error:
            self._interrupt(error.message)
        if self._stopped:
            self._tell("stopped", self._stopped)
        return not (self._stopped or self._stop.is_set())

    def _run_wave(self, pool: ThreadPoolExecutor, wave: Sequence[DesiredRobot]) -> bool:
        """Update the robots of a wave that nothing was set down for yet; say whether the rollout goes on."""
        waiting = [robot for robot in wave if robot.name not in self._tally.results]
        first = ", ".join(robot.name for robot in waiting[:8])
        more = f" and {len(waiting) - 8} more" if len(waiting) > 8 else ""
        self._tell("wave", f"{len(waiting)} robots: {first}{more}", robots=len(waiting))
        for batch in batches(waiting, self._policy.max_unavailable):
            self._run_batch(pool, batch, len(waiting))
        names, called = [robot.name for robot in wave], f"wave {self._wave} of {self._waves}"
        verdict = self._tally.judge(names, called, interrupted=self._stop.is_set())
        if self._stop.is_set():
            return False
        self._tell("wave-done", self._tally.failed or verdict.reason or _in_words(verdict))
        return self._tally.goes_on

    def _run_batch(self, pool: ThreadPoolExecutor, batch: Sequence[DesiredRobot], wave_size: int) -> None:
        """Hand robots out as others end, so that none is started once the wave cannot pass or we are to stop."""
        waiting = deque(batch)
        pending: set[Future[RobotResult]] = set()
        while waiting or pending:
            if self._stop.is_set() or self._tally.no_use(self._wave, wave_size):
                waiting.clear()
            while waiting and len(pending) < self._policy.parallel:
                pending.add(pool.submit(self._drive, waiting.popleft()))
            if pending:
                pending = self._gather_some(pending)

    def _gather_some(self, pending: set[Future[RobotResult]]) -> set[Future[RobotResult]]:
        try:
            done, rest = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._note(future.result())
            if not self._stop.is_set():
                self._keep_lock()
        except KeyboardInterrupt:
            self._interrupt("interrupted: robots in an update revert; press Ctrl-C again to leave them")
        except LockHeld as error:
            self._interrupt(error.message)
        else:
            return rest
        return pending  # Those done already are noted again, which changes nothing.

    def _interrupt(self, message: str) -> None:
        if self._stop.is_set():
            self._abandon.set()
        self._interrupted = True
        self._stop.set()
        self._tell("interrupted", message)

    def _drive(self, robot: DesiredRobot) -> RobotResult:
        last = ""

        def on_state(state: UpdateState) -> None:
            nonlocal last
            line = state.progress or state.state
            if line != last:
                last = line
                self._tell("robot", line, robot=robot.name, state=state.state)

        def on_silence(why: RobotError, until: float) -> None:
            nonlocal last
            last = ""
            left_s = max(0.0, until - self._clock.monotonic())
            self._tell("robot", f"no answer, lost in {left_s:.0f} s: {why.words}", robot=robot.name)

        drive = RobotUpdate(
            self._open_client(robot),
            self._orders[robot.name],
            self._clock,
            change=self._changes[robot.name],
            limits=self._limits,
            stop=self._stop,
            abandon=self._abandon,
            on_state=on_state,
            on_silence=on_silence,
        )
        result = drive.run()
        return dataclasses.replace(result, wave=self._wave if result.tried else 0)

    def _note(self, result: RobotResult) -> None:
        if self._tally.results.get(result.name) is result:
            return
        self._tally.note(result)
        self._tell("robot-done", result.reason, robot=result.name, state=result.outcome.value)

    # ── after a failed wave ──────────────────────────────────────────────────────────────────────────────────────

    def _take_back(self, pool: ThreadPoolExecutor, robots: Sequence[DesiredRobot], reason: str) -> None:
        """Send back what this rollout changed, and set down how that went."""
        results = self._tally.results
        changed = [robot for robot in robots if robot.name in results and results[robot.name].order_id]
        if changed:
            self._tell("reverting", f"{len(changed)} robots that had committed go back")

        def back(robot: DesiredRobot) -> RobotResult:
            return take_back(
                self._open_client(robot),
                self._orders[robot.name],
                results[robot.name],
                reason=reason,
                clock=self._clock,
                limits=self._limits,
                on_state=lambda state: self._tell("robot", state.state, robot=robot.name, state=state.state),
                abandon=self._abandon,
            )

        pending = {pool.submit(back, robot) for robot in changed}
        while pending:
            pending = self._gather_some(pending)

    def _tell(self, kind: str, message: str, *, robot: str = "", state: str = "", robots: int = 0) -> None:
        event = RolloutEvent(kind, message, self._clock.now(), self._wave, self._waves, robot, state, robots)
        with self._speaking:
            self._on_event(event)


def _in_words(verdict: WaveVerdict) -> str:
    deferred = f", {verdict.deferred} deferred" if verdict.deferred else ""
    lost = f", {verdict.lost} lost" if verdict.lost else ""
    return f"{verdict.committed} committed, {verdict.offline} offline{deferred}{lost}"
