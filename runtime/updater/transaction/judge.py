"""Is what runs now the release, and is it well? Pure: one observation in, one verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from runtime.contract.judgement import (
    ACTIVE,
    BAD_CHECK,
    FAILED,
    complaints,
    engine_mismatches,
    is_of_image,
    node_serves,
    says,
    self_test_failed,
    severity,
)
from runtime.contract.node.health import LEVEL_OK, OK, UNHEALTHY, Check, HealthReport
from runtime.contract.printable import printable
from runtime.contract.robot.release import ReleaseVariant
from runtime.updater.state.records import Baseline
from runtime.updater.state.world import Observation

#: Worst last. WAIT: not well yet, may become so. BAD: says itself that it is unhealthy. FATAL: will not become well.
GOOD, WAIT, BAD, FATAL = "good", "wait", "bad", "fatal"
#: Beside the old release only: it cannot take turns with it.
UNFIT = "unfit"

#: Restarts of the container in probation after which it is a crash loop.
CRASH_LOOP_RESTARTS = 3

#: Characters of a verdict's reasons, of a check's name; checks that are remembered; restarts that are counted.
MAX_WHY, MAX_NAME, MAX_CHECKS, MAX_RESTARTS = 1000, 100, 200, 10**9


@dataclass(frozen=True)
class Judgement:
    """GOOD with what is degraded, or another level with the reasons."""

    level: str
    reasons: Tuple[str, ...] = ()
    silent: bool = False
    """The agent did not answer this time (it may be busy)."""
    restarts: int = 0

    @property
    def why(self) -> str:
        """The reasons as one line."""
        return printable("; ".join(self.reasons), MAX_WHY)


def judge(seen: Observation, baseline: Baseline, target: ReleaseVariant) -> Judgement:
    """Judge one look at the robot. What was wrong at ``baseline`` does not count against ``target``."""
    trouble = _container_trouble(seen, target)
    if trouble is not None:
        return trouble
    container_restarts = seen.container.restarts if seen.container else 0
    report = seen.health.report
    if report is None:
        return Judgement(WAIT, (seen.health.error,), not seen.health.answered, container_restarts)
    restarts = container_restarts + max(0, min(report.executor.restarts, MAX_RESTARTS))
    fatal = _fatal(report, target)
    if fatal:
        return Judgement(FATAL, tuple(fatal), False, restarts)
    unwell = _unwell(report, baseline)
    if report.state == UNHEALTHY and unwell:
        return Judgement(BAD, tuple(unwell), False, restarts)
    waiting = _not_there_yet(report, target, ACTIVE)
    if waiting:
        return Judgement(WAIT, tuple(waiting), False, restarts)
    return Judgement(GOOD, tuple(_degraded(report)), False, restarts)


def judge_standby(seen: Observation, target: ReleaseVariant) -> Judgement:
    """Judge a container that stands by: GOOD when every engine is loaded, tested, and only its turn is missing."""
    trouble = _container_trouble(seen, target)
    if trouble is not None:
        return trouble
    report = seen.health.report
    if report is None:
        return Judgement(WAIT, (seen.health.error,), not seen.health.answered)
    fatal = _fatal(report, target)
    if fatal:
        return Judgement(FATAL, tuple(fatal))
    if report.turn is None:
        return Judgement(UNFIT, ("the new release does not support handover",))
    if node_serves(report):
        return Judgement(UNFIT, ("the new release serves although the serving token names the old one",))
    if not report.turn.standing_by:
        return Judgement(WAIT, ("not loaded yet (executor {}, {})".format(*_executor(report)),))
    if not report.turn.exclusive:
        return Judgement(UNFIT, ("the new release cannot hold the serving lock",))
    waiting = _not_there_yet(report, target, "inactive")
    return Judgement(WAIT, tuple(waiting)) if waiting else Judgement(GOOD)


def was_unwell(baseline: Baseline) -> bool:
    """Say whether the robot was not well before the switch either."""
    return not baseline.answered or baseline.state == UNHEALTHY


def baseline_of(seen: Observation) -> Baseline:
    """Return how the robot is now, to be held against what comes."""
    report = seen.health.report
    if report is None:
        return Baseline()
    wrong = [check for check in report.checks if check.level != LEVEL_OK][:MAX_CHECKS]
    levels: Dict[str, str] = {printable(check.name, MAX_NAME): printable(check.level, MAX_NAME) for check in wrong}
    return Baseline(True, printable(report.state, MAX_NAME), levels)


def _container_trouble(seen: Observation, target: ReleaseVariant) -> Optional[Judgement]:
    container = seen.container
    if container is None:
        return Judgement(WAIT, ("no runtime container exists",))
    if not is_of_image(seen.references, target.image):
        runs = ", ".join(seen.references) or container.image_name
        return Judgement(
            FATAL, ("the container runs {}, not {}".format(runs, target.image),), False, container.restarts
        )
    ended = "exit code {}".format(container.exit_code) + (": " + container.error if container.error else "")
    if container.restarts >= CRASH_LOOP_RESTARTS:
        said = "the container was restarted {} times ({})".format(container.restarts, ended)
        return Judgement(FATAL, (said,), False, container.restarts)
    if container.status != "running":
        said = "the container is {} ({})".format(container.status, ended)
        return Judgement(WAIT, (said,), False, container.restarts)
    return None


def _fatal(report: HealthReport, target: ReleaseVariant) -> List[str]:
    found: List[str] = []
    for model in report.models:
        test = model.self_test
        if test is not None and self_test_failed(model):
            said = "self-test cosine {:.3g} < {:.3g}".format(test.min_cosine, test.required_cosine)
            if test.min_cosine >= test.required_cosine:
                said = "self-test: {}".format(test.message)
            found.append("{}: {}".format(model.name, said))
        elif model.state == FAILED:
            found.append("{}: failed: {}".format(model.name, model.last_error or "the agent gives no reason"))
    wrong = engine_mismatches(report.models, {engine.model: engine.key for engine in target.engines})
    found += [_wrong_engine(each.model, each.found, each.wanted) for each in wrong if each.found]
    if report.executor.state == "crash_loop":
        last = report.executor.last_exit or "no exit reason given"
        found.append("the executor is in a crash loop after {} restarts: {}".format(report.executor.restarts, last))
    return found


def _wrong_engine(model: str, found: str, wanted: Optional[str]) -> str:
    if wanted is None:
        return "{}: runs, but the release does not have it".format(model)
    return "{}: runs engine {}, the release says {}".format(model, found[:19], wanted[:19])


def _unwell(report: HealthReport, baseline: Baseline) -> List[str]:
    """Checks at error or stale that are worse than before the switch; all that is said when there is no check."""
    bad = [check for check in report.checks if severity(check.level) >= BAD_CHECK]
    if not bad and baseline.state != UNHEALTHY:
        return ["the agent reports unhealthy without a failed check"]
    return [says(check) for check in bad if _worse(check, baseline)]


def _worse(check: Check, baseline: Baseline) -> bool:
    before = baseline.checks.get(printable(check.name, MAX_NAME), LEVEL_OK)
    return severity(check.level) > severity(before)


def _not_there_yet(report: HealthReport, target: ReleaseVariant, state: str) -> List[str]:
    found: List[str] = []
    running = {model.name: model for model in report.models}
    for engine in target.engines:
        model = running.get(engine.model)
        if model is None or not model.engine_key:
            found.append("{}: not loaded yet".format(engine.model))
        elif model.state != state:
            found.append("{}: {}".format(engine.model, model.state))
    if not report.live:
        found.append("the agent says: not live")
    if state == ACTIVE and not report.ready:
        found.append("the agent says: not ready (executor {}, {})".format(*_executor(report)))
    return found


def _executor(report: HealthReport) -> Tuple[str, str]:
    return report.executor.state, report.executor.lifecycle


def _degraded(report: HealthReport) -> List[str]:
    if report.state == OK:
        return []
    return complaints(report.checks) or [report.state]
