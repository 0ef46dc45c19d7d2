"""The gate: from what a robot attests to a verdict, and from robots' outcomes to a wave's. Pure."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.contract.judgement import complaints, engine_mismatches, is_active, same_image, self_test_failed
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import DEGRADED, OK, HealthReport, ModelHealth
from runtime.contract.robot.release import ReleaseVariant


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one robot."""

    wrong: tuple[str, ...] = ()
    """Where what runs is not what the release says."""
    unhealthy: tuple[str, ...] = ()
    """Why what runs does not do its work."""
    notes: tuple[str, ...] = ()
    """What does not stop a release but should be told: why it is degraded."""

    @property
    def passed(self) -> bool:
        """True when the right thing runs, and runs well enough."""
        return not self.wrong and not self.unhealthy

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything against it; empty when passed."""
        return self.wrong + self.unhealthy


def judge(attestation: Attestation, variant: ReleaseVariant) -> Verdict:
    """Compare what runs with what the release says. Nothing is taken from the robot's journal or an exit code."""
    wrong, health = _container(attestation, variant), attestation.health
    report = health.report
    if report is None:
        silent = "" if health.answered else "the health agent does not answer: "
        return Verdict(wrong, (silent + health.error,))
    wrong += _identity(report, variant)
    checks = tuple(complaints(report.checks))
    unhealthy = _work(report, variant)
    if report.state not in (OK, DEGRADED):
        unhealthy += (f"health is {report.state}" + (f" ({'; '.join(checks)})" if checks else ""),)
    return Verdict(wrong, unhealthy, checks)


def _container(attestation: Attestation, variant: ReleaseVariant) -> tuple[str, ...]:
    if not attestation.running_image:
        return ("no runtime container is running",)
    if not same_image(attestation.running_image, variant.image):
        return (f"the running image is {attestation.running_image}, the release says {variant.image}",)
    return ()


def _identity(report: HealthReport, variant: ReleaseVariant) -> tuple[str, ...]:
    wrong: list[str] = []
    if not same_image(report.image, variant.image):
        wrong.append(f"the health report is of image {report.image or 'none'}, the release says {variant.image}")
    for each in engine_mismatches(report.models, {engine.model: engine.key for engine in variant.engines}):
        if each.found is None:
            wrong.append(f"model {each.model} does not run")
        elif each.wanted is None:
            wrong.append(f"model {each.model} runs, but the release does not have it")
        else:
            wrong.append(f"model {each.model} runs engine {each.found or 'none'}, the release says {each.wanted}")
    return tuple(wrong)


def _work(report: HealthReport, variant: ReleaseVariant) -> tuple[str, ...]:
    wanted = {engine.model for engine in variant.engines}
    return tuple(reason for model in report.models if model.name in wanted for reason in _model(model))


def _model(model: ModelHealth) -> list[str]:
    reasons: list[str] = []
    if model.self_test is None:
        reasons.append(f"model {model.name} has not run its self-test")
    elif self_test_failed(model):
        test = model.self_test
        numbers = f"cosine {test.min_cosine:.4f}, required {test.required_cosine:.4f}"
        reasons.append(f"model {model.name} failed its self-test ({numbers}): {test.message}")
    if not is_active(model):
        reasons.append(f"model {model.name} is {model.state}" + (f": {model.last_error}" if model.last_error else ""))
    return reasons


# ── waves ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Outcome(str, enum.Enum):
    """How it ended for one robot."""

    COMMITTED = "committed"
    """Attested, confirmed, committed."""
    REVERTED = "reverted"
    """Tried the release and went back by itself, or was told to by the gate."""
    REFUSED = "refused"
    """Said no before anything changed."""
    FAILED = "failed"
    """Needs a person."""
    LOST = "lost"
    """Took the order and gave no usable answer until after its own deadline. Neither failed nor offline: how many may
    be lost is the manifest's word."""
    OFFLINE = "offline"
    """Not reachable before it was given anything: nothing changed."""
    OUTDATED = "outdated"
    """Ran something else than the plan says when its turn came: nothing was changed on it, and the rollout ended."""
    DEFERRED = "deferred"
    """Said "not now" (update lock or window) before anything changed; what it fetched is on its disk."""
    ROLLED_BACK = "rolled back"
    """Had committed, and went back because the rollout failed elsewhere."""
    ABORTED = "aborted"
    """Was told to go back because the rollout was interrupted."""
    SKIPPED = "skipped"
    """Never its turn."""


FAILURES = frozenset({Outcome.REVERTED, Outcome.REFUSED, Outcome.FAILED})
"""What robots said against the release. Silence is no such word."""


@dataclass(frozen=True, slots=True)
class WaveVerdict:
    """What the gate says of one wave."""

    passed: bool
    committed: int
    failed: int
    offline: int
    reason: str = ""
    deferred: int = 0
    lost: int = 0


def judge_wave(outcomes: Iterable[Outcome], success: float) -> WaveVerdict:
    """Pass when at least the share ``success`` (0…1) of the wave's robots that tried it committed.

    Robots that were offline, said "not now" or were lost count apart. A wave in which no robot committed or failed
    proves nothing and does not pass.
    """
    ended = list(outcomes)
    committed = sum(each is Outcome.COMMITTED for each in ended)
    failed = sum(each in FAILURES for each in ended)
    offline = sum(each is Outcome.OFFLINE for each in ended)
    deferred = sum(each is Outcome.DEFERRED for each in ended)
    lost = sum(each is Outcome.LOST for each in ended)
    tried = committed + failed
    reason = ""
    if tried == 0:
        others = {"lost": lost, "deferred": deferred, "offline": offline}
        apart = ", ".join(f"{count} {what}" for what, count in others.items() if count or what == "offline")
        why = f"committed it ({apart})" if lost else f"took it ({apart})" if deferred else "could be reached"
        reason = f"none of {len(ended)} robots {why}: the release is not proven"
    elif committed < success * tried - 1e-9:
        reason = f"{committed} of {tried} robots committed, required {success:.0%}"
    return WaveVerdict(not reason, committed, failed, offline, reason, deferred, lost)


def may_be_lost(robots: int, at_most: float) -> int:
    """Return how many of a rollout's robots may be lost: the share ``at_most`` (0…1), rounded down."""
    return math.floor(at_most * robots + 1e-9)


def hopeless(failed: int, wave_size: int, success: float) -> bool:
    """Say whether a wave cannot pass any more, so that its remaining robots are spared."""
    return wave_size - failed < success * wave_size - 1e-9
