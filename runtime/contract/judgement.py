"""Is it the right image, are they the right engines, did they pass their self-test, do they serve?

Each question has one answer, here, for all who judge a health report: the updater during an update, `fleet` at its
gates, the agent about itself, `doctor`, `recover` and `/diagnostics`. What follows from an answer (wait, revert, warn)
is each caller's own policy. Pure. Stdlib only and Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, Mapping, Optional

from runtime.contract.node.health import (
    DRIVE,
    LEVEL_ERROR,
    LEVEL_OK,
    LEVEL_STALE,
    LEVEL_WARN,
    STANDING_IN,
    Check,
    HealthReport,
    ModelHealth,
)

ACTIVE = "active"
"""State of a model that serves, and of the node's lifecycle when it does."""
FAILED = "failed"

_SEVERITY = {LEVEL_OK: 0, LEVEL_WARN: 1, LEVEL_STALE: 2, LEVEL_ERROR: 2}
BAD_CHECK = 2
"""Severity from which a check makes a robot unhealthy in the eyes of the updater."""


# ── the right image ──


def same_image(found: str, wanted: str) -> bool:
    """Compare two digest references (``repository@sha256:…``) by digest: each robot may name the repository its way."""
    digest = wanted.rpartition("@")[2]
    return bool(digest) and found.rpartition("@")[2] == digest


def is_of_image(references: Iterable[str], wanted: str) -> bool:
    """Say whether one of a container's digest references is the image ``wanted``."""
    return any(same_image(found, wanted) for found in references)


# ── the right engines ──


@dataclass(frozen=True)
class EngineMismatch:
    """One model that does not run the engine that it should."""

    model: str
    found: Optional[str]
    """Engine key that runs. Empty: none is loaded yet. None: the report does not have the model."""
    wanted: Optional[str]
    """None: the release does not have the model."""


def engine_mismatches(models: Iterable[ModelHealth], wanted: Mapping[str, str]) -> List[EngineMismatch]:
    """Hold what runs against ``wanted`` (model → engine key): the wanted models in their order, then those too many."""
    reported = list(models)
    wrong: List[EngineMismatch] = []
    for name, key in wanted.items():
        found = [model.engine_key for model in reported if model.name == name]
        if not found:
            wrong.append(EngineMismatch(name, None, key))
        wrong += [EngineMismatch(name, each, key) for each in found if each != key]
    extra = (model for model in reported if model.name not in wanted)
    return wrong + [EngineMismatch(model.name, model.engine_key, None) for model in extra]


def stands_in(model: ModelHealth) -> bool:
    """Say whether something else than the configured engine answers, as declared or asked for."""
    return model.serving in STANDING_IN


# ── the self-test ──


def self_test_failed(model: ModelHealth) -> bool:
    """Say whether the engine ran its golden frames and did not answer as it should."""
    return model.self_test is not None and not model.self_test.passed


def self_test_passed(model: ModelHealth) -> bool:
    """Say whether the engine ran its golden frames and answered as it should."""
    return model.self_test is not None and model.self_test.passed


# ── active ──


def is_active(model: ModelHealth) -> bool:
    """Say whether the model serves."""
    return model.state == ACTIVE


def node_serves(report: HealthReport) -> bool:
    """Say whether the executor node is active."""
    return report.executor.lifecycle == ACTIVE


def idle_commands(model: ModelHealth) -> List[str]:
    """Return the outputs that command and do not drive the robot by a result of the model, each with its reason."""
    return ["{}: {}: {}".format(each.topic, each.state, each.reason) for each in model.commands if each.state != DRIVE]


# ── checks ──


def severity(level: str) -> int:
    """Return 0 for ok, 1 for warn, 2 for stale and error. A level of a later agent counts as error."""
    return _SEVERITY.get(level, BAD_CHECK)


def says(check: Check) -> str:
    """Return a check as one line."""
    return "{}: {}".format(check.name, check.message)


def complaints(checks: Iterable[Check]) -> List[str]:
    """Return the checks that are not ok, each as one line."""
    return [says(check) for check in checks if check.level != LEVEL_OK]
