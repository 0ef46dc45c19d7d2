"""What a rollout tells while it runs, and what it leaves behind. Values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fleet.errors import FleetError, OutsideError, RobotsOffline, RolloutFailed
from fleet.rollout.gate import FAILURES, Outcome, WaveVerdict


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """Something happened. Never two at the same time; some come from other threads than the caller's."""

    kind: str
    """looked | wave | robot | robot-done | wave-done | reverting | interrupted."""
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
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """Outcome → robots."""
        return dict(Counter(robot.outcome.value for robot in self.robots))

    @property
    def succeeded(self) -> bool:
        """Every wave passed; robots may have been offline, or have said "not now"."""
        return not self.failed and not self.stalled and not self.interrupted

    def error(self) -> FleetError | None:
        """Return what the command should end with: None, RolloutFailed (4), OutsideError (3), RobotsOffline (6)."""
        if self.interrupted:
            return RolloutFailed(
                f"the rollout of {self.version} was interrupted: {self.summary()}",
                hint="run the same command again: it goes on where this one stopped",
            )
        if self.failed:
            return RolloutFailed(
                f"the rollout of {self.version} was stopped: {self.failed}", hint="fleet status shows what runs where"
            )
        refused = [robot for robot in self.robots if robot.outcome is Outcome.REFUSED and not robot.wave]
        if refused:
            return OutsideError(
                f"{len(refused)} robots cannot take orders: "
                + "; ".join(f"{robot.name}: {robot.reason}" for robot in refused[:5]),
                hint=refused[0].hint,
            )
        return self._left_out(f"the rollout of {self.version} stopped: {self.stalled}; " if self.stalled else "")

    def _left_out(self, stopped: str) -> FleetError | None:
        deferred = [robot for robot in self.robots if robot.outcome is Outcome.DEFERRED]
        offline = [robot.name for robot in self.robots if robot.outcome is Outcome.OFFLINE]
        if deferred:
            also = f", and {len(offline)} were offline: {_some(offline)}" if offline else ""
            return RobotsOffline(
                f"{stopped}{len(deferred)} of {len(self.robots)} robots said not now: "
                + "; ".join(f"{robot.name}: {robot.reason}" for robot in deferred[:5])
                + also,
                hint="run the same command again: only they are left, and have what they fetched",
            )
        if offline:
            return RobotsOffline(
                f"{stopped}{len(offline)} of {len(self.robots)} robots were offline: {_some(offline)}",
                hint="run the same command again when they are back: only they are left",
            )
        return None

    def summary(self) -> str:
        """Return ``2 committed, 1 reverted``."""
        return ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())

    def failures(self) -> tuple[RobotResult, ...]:
        """Return the robots that failed."""
        return tuple(robot for robot in self.robots if robot.outcome in FAILURES)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
