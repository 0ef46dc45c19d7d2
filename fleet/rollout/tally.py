"""What has become of a rollout so far, and what follows from it: whether to go on, who goes back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.manifest.schema.manifest_schema import Rollout
from fleet.rollout.gate import FAILURES, Outcome, WaveVerdict, hopeless, judge_wave, may_be_lost
from fleet.rollout.result import RobotResult


class Tally:
    """Results of robots and verdicts of waves, held against the manifest's policy."""

    def __init__(self, robots: int, policy: Rollout) -> None:
        """``robots``: how many the whole rollout has, those that were offline included."""
        self._robots = robots
        self.policy = policy
        self._may_be_lost = may_be_lost(robots, policy.lost.at_most)
        self._only_silence = False
        """What failed is that robots are silent: a reason to go back only where the manifest says so."""
        self.results: dict[str, RobotResult] = {}
        self.verdicts: list[WaveVerdict] = []
        self.failed = ""
        self.stalled = ""
        self.outdated = ""

    def note(self, result: RobotResult) -> None:
        """Set down how it ended for a robot; a later result of the same robot takes the place of the first."""
        self.results[result.name] = result
        if result.outcome is Outcome.OUTDATED:
            self.outdated = self.outdated or f"{result.name} {result.reason}"

    def no_use(self, wave: int, wave_size: int) -> bool:
        """Say whether the wave's other robots are spared: it cannot pass any more, or the rollout ends with it."""
        failed = sum(each.wave == wave and each.outcome in FAILURES for each in self.results.values())
        return hopeless(failed, wave_size, self.policy.success) or self._too_many_lost() or bool(self.outdated)

    def judge(self, robots: Sequence[str], wave: str, *, interrupted: bool = False) -> WaveVerdict:
        """Judge a wave whose robots have ended, and set down why the rollout ends with it.

        ``wave``: how it is called, ``wave 1 of 3``. ``interrupted``: it was cut short, so nothing follows from it.
        """
        results = [self.results[name] for name in robots if name in self.results]
        # One that could not be asked counts as one that was not there.
        outcomes = [result.outcome if result.tried else Outcome.OFFLINE for result in results]
        verdict = judge_wave(outcomes, self.policy.success)
        self.verdicts.append(verdict)
        if interrupted:
            return verdict
        why = f"{wave}: {verdict.reason}"
        if verdict.failed and not verdict.passed:
            self.failed = why + _first(result for result in results if result.outcome in FAILURES and result.tried)
        elif not verdict.passed and verdict.lost:
            self.failed, self._only_silence = why + _first(self._lost()), True
        elif self._too_many_lost():
            self.failed, self._only_silence = self._lost_in_words() + _first(self._lost()), True
        elif not verdict.passed and not self.outdated:
            self.stalled = why  # nobody tried it: that is no reason to take it from those that run it well
        return verdict

    @property
    def goes_on(self) -> bool:
        """Nothing ends the rollout so far."""
        return not (self.failed or self.stalled or self.outdated)

    @property
    def goes_back(self) -> bool:
        """What this rollout committed goes back."""
        if self._only_silence:
            return self.policy.lost.then == "revert"
        return bool(self.failed) and self.policy.on_failure == "revert"

    def _lost(self) -> list[RobotResult]:
        return [result for result in self.results.values() if result.outcome is Outcome.LOST]

    def _too_many_lost(self) -> bool:
        return len(self._lost()) > self._may_be_lost

    def _lost_in_words(self) -> str:
        return (
            f"{len(self._lost())} of {self._robots} robots are lost, at most {self._may_be_lost} may be "
            f"(rollout/lost/at_most: {self.policy.lost.at_most:.0%})"
        )


def _first(results: Iterable[RobotResult]) -> str:
    first = next(iter(results), None)
    return f"; {first.name} {first.outcome.value}: {first.reason}" if first is not None else ""
