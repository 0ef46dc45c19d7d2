"""What a rollout tells while it runs, and what it leaves behind. Values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fleet.errors import FleetError, OutsideError, PlanOutdated, RobotsOffline, RolloutFailed, RolloutPaused
from fleet.plan.waves import PlannedWave
from fleet.rollout.gate import FAILURES, Outcome, WaveVerdict


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """Something happened. Never two at the same time; some come from other threads than the caller's."""

    kind: str
    """looked | wave | robot | robot-done | wave-done | paused | stopped | reverting | interrupted."""
    message: str
    """One line for a person."""
    at: float
    """Unix seconds."""
    wave: int = 0
    """1-based; 0 outside of waves."""
    waves: int = 0
    robot: str = ""
    state: str = ""
    """Of a robot: the transaction's state, or the outcome when done."""
    robots: int = 0
    """Of a wave that begins: how many robots it is to change."""


OnEvent = Callable[[RolloutEvent], None]


@dataclass(frozen=True, slots=True)
class RobotResult:
    """How it ended for one robot."""

    name: str
    outcome: Outcome
    reason: str = ""
    """Why it is not committed, or what should be told although it is."""
    hint: str = ""
    wave: int = 0
    """1-based; 0 when it was in none."""
    seconds: float = 0.0
    fetched_bytes: int | None = None
    """Moved over the robot's network; 0 when all was there."""
    order_id: str = ""
    """The order of this rollout that was committed here, so that a failure elsewhere can take it back."""
    tried: bool = True
    """False: it could not be asked at all, so what kept us from it says nothing about the release."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a rollout stopped to be gone on with."""

    wave: int
    """1-based: the wave that has not begun."""
    approval: bool
    """It wants somebody's reason; False: nobody asked for more than the waves before."""
    waves: tuple[PlannedWave, ...]
    """All of the plan."""


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """How a rollout ended."""

    version: str
    robots: tuple[RobotResult, ...]
    """In the order in which they were given."""
    waves: tuple[WaveVerdict, ...]
    """Those that were started."""
    planned_waves: int
    failed: str = ""
    """Why it was stopped; empty when every wave passed."""
    stalled: str = ""
    """Why it stopped although nothing failed: no robot of a wave was there to try it."""
    outdated: str = ""
    """Why it stopped: a robot changed since the plan was made."""
    stopped: str = ""
    """Why it stopped: a hook that may do so said so, or failed."""
    interrupted: bool = False
    seconds: float = 0.0
    paused: Pause | None = None
    """It waits before a wave; every robot is committed or untouched, but for those that ended otherwise before."""
    aborted: str = ""
    """Why it was given up while it waited; its committed robots were sent back, where the manifest says so."""
    resumed: bool = False
    """It is the rest of one that waited."""

    @property
    def counts(self) -> dict[str, int]:
        """Outcome → robots."""
        return dict(Counter(robot.outcome.value for robot in self.robots))

    @property
    def succeeded(self) -> bool:
        """Every wave passed and a robot committed; others may have been offline, lost, or have said "not now"."""
        stopped = self.failed or self.stalled or self.outdated or self.interrupted or self.paused or self.aborted
        stopped = stopped or self.stopped
        return not stopped and any(robot.outcome is Outcome.COMMITTED for robot in self.robots)

    @property
    def nobody_reached(self) -> bool:
        """No robot could be given anything: all were offline, or could not be asked."""
        return all(robot.outcome is Outcome.OFFLINE or not robot.tried for robot in self.robots)

    def error(self) -> FleetError | None:
        """Return what the command should end with, None for done.

        PlanOutdated and RolloutFailed (4), OutsideError (3), RobotsOffline (6), RolloutPaused (7).
        """
        if self.aborted:
            return self._not_back()
        if self.interrupted:
            return RolloutFailed(
                f"the rollout of {self.version} was interrupted: {self.summary()}",
                hint=f"{'run fleet rollout' if self.resumed else 'run the same command'} again: "
                "it continues where this one stopped",
            )
        if self.failed:
            return RolloutFailed(
                f"the rollout of {self.version} was stopped: {self.failed}", hint="fleet status shows what runs where"
            )
        if self.outdated:
            return PlanOutdated(
                f"the rollout of {self.version} was stopped: {self.outdated}; {self.summary()}",
                hint="look at fleet plan, then run this again: it makes a new plan",
            )
        if self.stopped:
            return OutsideError(
                f"the rollout of {self.version} was stopped: {self.stopped}; {self.summary()}",
                hint="robots that committed stay; correct the hook, then fleet rollout goes on where this one stopped",
            )
        if self.paused is not None:
            return paused_error(
                self.version, self.paused.wave, len(self.paused.waves), self.paused.approval, self.summary()
            )
        refused = [robot for robot in self.robots if robot.outcome is Outcome.REFUSED and not robot.tried]
        if refused:
            return OutsideError(
                f"{len(refused)} robots cannot take orders: "
                + "; ".join(f"{robot.name}: {robot.reason}" for robot in refused[:5]),
                hint=refused[0].hint,
            )
        return self._left_out(f"the rollout of {self.version} stopped: {self.stalled}; " if self.stalled else "")

    def _not_back(self) -> FleetError | None:
        """Return the error of a rollout that was aborted and did not get every robot back."""
        failed = [robot for robot in self.robots if robot.outcome is Outcome.FAILED and robot.order_id]
        if failed:
            return RolloutFailed(
                f"the rollout of {self.version} is aborted, but {_reasons(failed)}",
                hint=f"fleet status --robots {failed[0].name} says what became of it",
            )
        lost = [robot for robot in self.robots if robot.outcome is Outcome.LOST and robot.order_id]
        if not lost:
            return None
        return RobotsOffline(
            f"the rollout of {self.version} is aborted, but {_reasons(lost)}",
            hint="fleet rollback brings them to the release before when they are back",
        )

    def _left_out(self, stopped: str) -> FleetError | None:
        """Return the error that names who is left: deferred, offline, lost."""
        deferred, offline, lost = map(self._ended_as, (Outcome.DEFERRED, Outcome.OFFLINE, Outcome.LOST))
        nobody = "no robot was reached: " if self.nobody_reached else ""
        parts = [
            (deferred, "robots deferred the update: " + _reasons(deferred)),
            (offline, f"were offline: {_some([robot.name for robot in offline])}"),
            (lost, "are lost: " + _reasons(lost)),
        ]
        said = [f"{len(robots)} of {len(self.robots)} robots {words}" for robots, words in parts if robots]
        if not said:
            return None
        hint = "run the same command again when they are back: it continues with them"
        if deferred:
            hint = "run the same command again: it continues with them, and what they fetched is kept"
        elif lost:
            hint = f"fleet status --robots {lost[0].name} shows their state; then run the same command again"
        return RobotsOffline(f"{stopped}{nobody}{', and '.join(said)}", hint=hint)

    def _ended_as(self, outcome: Outcome) -> list[RobotResult]:
        return [robot for robot in self.robots if robot.outcome is outcome]

    def summary(self) -> str:
        """Return ``2 committed, 1 reverted``."""
        return ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())

    def failures(self) -> tuple[RobotResult, ...]:
        """Return the robots that failed."""
        return tuple(robot for robot in self.robots if robot.outcome in FAILURES)


def paused_error(version: str, wave: int, waves: int, approval: bool, summary: str) -> RolloutPaused:
    """Return what a command ends with while a rollout waits before ``wave`` of ``waves``."""
    wants = "wants an approval" if approval else "has not been asked for"
    reason = ' --reason "WHY"' if approval else ""
    return RolloutPaused(
        f"the rollout of {version} is paused: wave {wave} of {waves} {wants}; {summary}",
        hint=f'fleet rollout --resume{reason} goes on; fleet rollout --abort --reason "WHY" gives it up',
    )


def _reasons(robots: list[RobotResult]) -> str:
    return "; ".join(f"{robot.name}: {robot.reason}" for robot in robots[:5])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
