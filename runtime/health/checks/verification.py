"""`/verify`: the robot checks itself for real. Engine files read again, topics heard from outside, frames counted.

Nothing is believed that can be looked at: what the executor says of itself is held against files, against the topics as
another process hears them, and against its own counters some seconds later.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from urllib.parse import parse_qs

from runtime.contract.codec import ContractError, from_json, to_dict
from runtime.contract.judgement import is_active, self_test_failed, stands_in
from runtime.contract.node.health import HealthReport, ModelHealth
from runtime.contract.node.runtime_config import FallbackEngine, ModelRuntime, RuntimeConfig
from runtime.contract.robot.verification import (
    DEFAULT_SECONDS,
    ENGINE,
    INFERENCE,
    MAX_SECONDS,
    MODEL,
    OUTPUTS,
    SENSORS,
    VERIFY_MARGIN_S,
    Finding,
    Verification,
)
from runtime.health.checks.evidence import COMMAND, EngineEvidence, Evidence, fallback_of
from runtime.health.http.server import Page, json_page
from runtime.health.process.children import Children

Gather = Callable[[float], Evidence]
"""Listen for so many seconds and return what was found. Never raises: trouble is in the evidence."""


class Verifier:
    """Answers `/verify?seconds=S`; one at a time."""

    def __init__(self, config: RuntimeConfig, newest: Callable[[], HealthReport], gather: Gather) -> None:
        self._config, self._newest, self._gather = config, newest, gather
        self._one = threading.Lock()

    def page(self, query: str) -> Page:
        """Verify, and render the result."""
        seconds = _seconds(query)
        if seconds is None:
            said = f"give seconds from 1 to {MAX_SECONDS:g}: /verify?seconds={DEFAULT_SECONDS:g}"
            return json_page(HTTPStatus.BAD_REQUEST, {"error": said})
        if not self._one.acquire(blocking=False):
            said = "another verification is going on here: ask again when it has ended"
            return json_page(HTTPStatus.CONFLICT, {"error": said})
        try:
            return json_page(HTTPStatus.OK, to_dict(self.verify(seconds)))
        finally:
            self._one.release()

    def verify(self, seconds: float) -> Verification:
        """Look twice, ``seconds`` and more apart, and gather evidence in between."""
        before = self._newest()
        evidence = self._gather(seconds)
        after = self._newest()
        found = tuple(findings(self._config, before, after, evidence))
        return Verification(time.time(), seconds, bool(found) and all(f.passed for f in found), found)


def gather_with(children: Children, log: Callable[[str], None]) -> Gather:
    """Return what gathers evidence with a process of its own."""

    def gather(seconds: float) -> Evidence:
        command = [sys.executable, *COMMAND, "--seconds", f"{seconds:g}"]
        try:
            return from_json(Evidence, children.run(command, seconds + VERIFY_MARGIN_S, os.environ))
        except (OSError, TimeoutError, ContractError) as error:
            log(f"verify: {error}")
            return Evidence(error=f"the process that checks from outside failed: {error}")

    return gather


def findings(config: RuntimeConfig, before: HealthReport, after: HealthReport, evidence: Evidence) -> Iterator[Finding]:
    """Hold everything against everything. Pure."""
    earlier = {model.name: model for model in before.models}
    now = {model.name: model for model in after.models}
    span = max(0.0, after.uptime_s - before.uptime_s)
    for model in config.models:
        health = now[model.name]
        yield _engine(model, health, evidence)
        if model.fallback is not None:
            yield _fallback_engine(model, model.fallback, evidence)
        yield _model(model, health, after)
        yield _sensors(model, health)
        yield _inference(model, earlier.get(model.name), health, before, after, span)
        yield _outputs(model, earlier.get(model.name), health, evidence)


def _engine(model: ModelRuntime, health: ModelHealth, evidence: Evidence) -> Finding:
    found = evidence.engines.get(model.name, _unread(evidence))
    problem = _misfit(found, model.engine_key)
    loaded = health.engine_sha256 if health.engine_key == model.engine_key else ""  # another engine may stand in
    if not problem and loaded and found.sha256 != loaded:
        problem = f"the file has sha256 {found.sha256[:12]}…, loaded was {loaded[:12]}…"
    return Finding(ENGINE, model.name, not problem, problem or _as_built(found))


def _fallback_engine(model: ModelRuntime, there: FallbackEngine, evidence: Evidence) -> Finding:
    """What is to stand in one day had better be whole."""
    found = evidence.engines.get(fallback_of(model.name), _unread(evidence))
    problem = _misfit(found, there.engine_key)
    said = f"its fallback {there.model} {there.precision}: {problem or _as_built(found)}"
    return Finding(ENGINE, model.name, not problem, said)


def _unread(evidence: Evidence) -> EngineEvidence:
    return EngineEvidence(error=evidence.error or "its files were not read")


def _misfit(found: EngineEvidence, key: str) -> str:
    if found.error or found.key == key:
        return found.error
    return f"the files are engine {found.key}, configured is {key}"


def _as_built(found: EngineEvidence) -> str:
    return f"{found.size / 1e6:.1f} MB read again, sha256 {found.sha256[:12]}…, as built"


def _model(model: ModelRuntime, health: ModelHealth, report: HealthReport) -> Finding:
    test = health.self_test
    problem = ""
    if not report.live:
        problem = f"the executor is {report.executor.state}: {report.executor.last_exit or 'it does not answer'}"
    elif stands_in(health):
        problem = f"another engine serves ({health.serving}): {health.serving_reason or 'no reason given'}"
    elif not is_active(health):
        problem = f"{health.state}: {health.last_error}" if health.last_error else health.state
    elif health.engine_key != model.engine_key:
        problem = f"runs engine {health.engine_key}, configured is {model.engine_key}"
    elif test is None or self_test_failed(health):
        problem = "has not run its self-test" if test is None else f"failed its self-test: {test.message}"
    passed = f"active at {health.precision}, self-test cosine {test.min_cosine:.4f}" if test is not None else ""
    return Finding(MODEL, model.name, not problem, problem or passed)


def _sensors(model: ModelRuntime, health: ModelHealth) -> Finding:
    topics = ", ".join(dict.fromkeys(binding.source for binding in model.inputs))
    need, rate = model.thresholds.min_input_rate_hz, health.input_rate_hz
    if rate <= 0.0:
        return Finding(SENSORS, model.name, False, f"nothing arrives on {topics}: is its publisher running?")
    if health.clock or health.mixed:
        return Finding(SENSORS, model.name, False, "; ".join([*health.clock, *health.mixed]))
    at_least = "" if need is None else f", at least {need:g} Hz expected"
    return Finding(SENSORS, model.name, need is None or rate >= need, f"{rate:.1f} Hz on {topics}{at_least}")


def _inference(
    model: ModelRuntime,
    earlier: ModelHealth | None,
    health: ModelHealth,
    before: HealthReport,
    after: HealthReport,
    span: float,
) -> Finding:
    if after.executor.restarts != before.executor.restarts:
        said = f"the executor was restarted meanwhile: {after.executor.last_exit}"
        return Finding(INFERENCE, model.name, False, said)
    frames = health.frames - (earlier.frames if earlier is not None else 0)
    errors = health.errors - (earlier.errors if earlier is not None else 0)
    if frames <= 0:
        why = health.last_error if errors > 0 and health.last_error else "no valid input came"
        return Finding(INFERENCE, model.name, False, f"no frame came through in {span:.1f} s: {why}")
    slow = "" if health.inference_ms is None else f", inference p99 {health.inference_ms.p99:.1f} ms"
    failed = f", {errors} failed ({health.last_error})" if errors > 0 else ""
    return Finding(INFERENCE, model.name, True, f"{frames} frames in {span:.1f} s{slow}{failed}")


def _outputs(model: ModelRuntime, earlier: ModelHealth | None, health: ModelHealth, evidence: Evidence) -> Finding:
    if health.held:  # whatever was heard there is not ours
        return Finding(OUTPUTS, model.name, False, f"commands nothing: {health.held}")
    if still := _standing_still(earlier, health):
        return Finding(OUTPUTS, model.name, False, f"does not drive: {still}")
    if health.unheard:
        return Finding(OUTPUTS, model.name, False, "; ".join(health.unheard))
    if evidence.error:
        return Finding(OUTPUTS, model.name, False, f"cannot listen: {evidence.error}")
    heard = {output.topic: evidence.topics.get(output.topic) for output in model.outputs}
    silent = [
        f"{topic} ({'it has no publisher' if found is None or not found.publishers else 'its publisher is silent'})"
        for topic, found in heard.items()
        if found is None or not found.messages
    ]
    if silent:
        return Finding(OUTPUTS, model.name, False, f"nothing heard in {evidence.seconds:g} s on {', '.join(silent)}")
    counted = ", ".join(f"{found.messages} on {topic}" for topic, found in heard.items() if found is not None)
    return Finding(OUTPUTS, model.name, True, f"heard in {evidence.seconds:g} s: {counted}")


def _standing_still(earlier: ModelHealth | None, health: ModelHealth) -> str:
    """Return which command outputs sent no command of a result between the two looks, and why."""
    before = {each.topic: each.driven for each in earlier.commands} if earlier is not None else {}
    return "; ".join(
        f"{each.topic} sent no command of the model ({each.state}: {each.reason or 'drives only now'})"
        for each in health.commands
        if each.driven <= before.get(each.topic, 0)
    )


def _seconds(query: str) -> float | None:
    text = parse_qs(query).get("seconds", [f"{DEFAULT_SECONDS:g}"])[-1]
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 1.0 <= seconds <= MAX_SECONDS else None
