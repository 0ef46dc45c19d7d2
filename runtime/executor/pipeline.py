"""One model at work: newest frame in, inference, results out. The worker thread owns everything but ``offer``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from runtime.contract.health import ModelHealth, SelfTest
from runtime.contract.runtime_config import ModelRuntime, Trigger
from runtime.engines.errors import EngineError
from runtime.executor.decoders import OptionError
from runtime.executor.duty import Duty
from runtime.executor.frames import FrameRefusedError, Stamp
from runtime.executor.join import Join, Pending
from runtime.executor.links import Link
from runtime.executor.loading import LoadedEngine, load_engine
from runtime.executor.serving import (
    CONFIGURED,
    SWAPPED,
    Candidate,
    Loader,
    Publish,
    SelfTestError,
    Serving,
    configured,
    fallback,
    left_out,
    prepare,
    tell_failed,
)
from runtime.executor.stats import ModelStats

LOADING, INACTIVE, ACTIVE, FAILED = "loading", "inactive", "active", "failed"
MAX_CONSECUTIVE_FAILURES = 5
"""Inferences or decodings in a row that may fail before the model counts as failed."""

TRIAL_FRAMES = 30
"""Frames that an engine put in while running must answer before the one it replaced is freed."""


class Pipeline:
    """A model, its slots for the newest frames, and its numbers."""

    def __init__(self, model: ModelRuntime, lock: threading.Condition, now_ns: Callable[[], int]) -> None:
        self.model = model
        self.state = LOADING
        self.stats = ModelStats([binding.tensor for binding in model.inputs])
        self.links: list[Link] = []
        """What other models take of this one's outputs. Set before it serves."""
        self.duty = Duty()
        self._lock = lock
        self._now_ns = now_ns
        self._join = _join(model, now_ns)
        self.publishers: Mapping[str, Publish] = {}
        self.replace_engine: Callable[[Candidate], None] = _nobody_replaces
        """Asked, on the worker thread and without waiting, for another engine when the one that serves has failed."""
        self.open = False
        """Between load and close: engines may be put in."""
        self.swap_note = ""
        """How the last change of engine while running went, for a person."""
        self._engines_dir = Path()
        self._serving: Serving | None = None
        self._old: Serving | None = None
        self._trial_left = 0
        self._self_test: SelfTest | None = None
        self._why = ""
        self.active = self._replacement_asked = False
        self._failures = 0

    # ── life, on the worker thread ──

    def load(self, engines_dir: Path, publishers: Mapping[str, Publish], loader: Loader = load_engine) -> None:
        """Load and test the engine; its declared fallback when that fails. Afterwards the state is inactive, or failed
        with a reason. Never raises for that.

        ``publishers`` maps an output's topic to what sends its results.
        """
        self.close()
        self.state, self._self_test, self._why = LOADING, None, ""
        self._engines_dir, self.publishers, self.open = engines_dir, publishers, True
        candidate: Candidate | None = configured(self.model, engines_dir)
        while candidate is not None and (reason := self._load(candidate, loader)):
            candidate = self._instead_of(candidate, reason)

    def _load(self, candidate: Candidate, loader: Loader) -> str:
        """Load one engine; return why it cannot serve, or nothing."""
        before = f"{candidate.reason}; then {candidate.model.name} {candidate.model.precision}: "
        try:
            self.install(prepare(self.model, candidate, self.publishers, loader))
        except (EngineError, OptionError) as error:
            if isinstance(error, SelfTestError):
                self._self_test = error.result
            self._fail((before if candidate.reason else "") + str(error))
            return str(error)
        self.state = INACTIVE
        return ""

    def install(self, serving: Serving, *, keep_old: bool = False) -> None:
        """Serve with another engine from the next frame on. With ``keep_old`` the one before stays loaded until this
        one has answered ``TRIAL_FRAMES`` frames, and comes back when one of them fails."""
        self._free_old()
        if keep_old:
            self._old = self._serving
        elif self._serving is not None:
            self._serving.close()
        self._use(serving)
        self._trial_left = TRIAL_FRAMES if keep_old else 0
        self._replacement_asked = False

    def _use(self, serving: Serving) -> None:
        self._serving = serving
        self._self_test, self._why = serving.engine.self_test, serving.candidate.reason
        self._failures = 0
        if self.state == FAILED:
            self.state = ACTIVE if self.active else INACTIVE

    def _free_old(self) -> None:
        if self._old is not None:
            self._old.close()
            self._old = None

    def close(self) -> None:
        """Free the engine, if there is one; none is put in any more."""
        self.open = self._replacement_asked = False
        self.drop_engine()

    def drop_engine(self) -> None:
        """Free the engine; another one may be put in."""
        self._free_old()
        if self._serving is not None:
            self._serving.close()
            self._serving = None
        if self.state == ACTIVE:
            self.state = INACTIVE

    def step(self) -> None:
        """Turn the newest frame into results. Call it only when ``waiting`` is true. Never raises for a bad frame."""
        with self._lock:
            frames = self._join.take()
        if not frames:
            return
        if not self.duty.take():
            self.stats.held_back(self.duty.refused)
            return
        if self._serving is None:  # it failed, and what takes its place is not there yet
            self.stats.refused(self.stats.last_error or "no engine serves")
            tell_failed(self.publishers.values(), self.stats.last_error)
            return
        try:
            reason = self._try(self._serving, frames)
            if reason is not None and self._old is not None:  # on trial: the frame is answered by the engine before
                self._go_back(reason)
                reason = self._try(self._serving, frames)
        except FrameRefusedError as error:  # the frame's fault, which says nothing of the engine
            self.stats.refused(str(error), kind=error.kind)
            tell_failed(self.publishers.values(), str(error))
            return
        if reason is None:
            self._succeeded()
        else:
            self._failed(reason)

    def _try(self, serving: Serving, frames: dict[str, Pending]) -> str | None:
        """Answer a frame; return why it came to nothing, or None."""
        try:
            self._infer(serving, frames)
        except FrameRefusedError:
            raise
        except (EngineError, ValueError, RuntimeError) as error:  # RuntimeError: rclpy's, while the node goes away
            return str(error)
        return None

    def _succeeded(self) -> None:
        self._failures = 0
        if self.state == FAILED:
            self.state = ACTIVE
        if self._trial_left:
            self._trial_left -= 1
            if not self._trial_left:
                self._free_old()

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self.stats.refused(reason)
        tell_failed(self.publishers.values(), reason)
        if self._failures < MAX_CONSECUTIVE_FAILURES or self._serving is None:
            return
        self.state = FAILED
        wanted = self._instead_of(self._serving.candidate, f"{self._failures} inferences in a row failed: {reason}")
        if wanted is not None and not self._replacement_asked:
            self._replacement_asked = True
            self.replace_engine(wanted)

    def _go_back(self, reason: str) -> None:
        """Take the engine before again: the one on trial failed."""
        failed, self._serving, self._old = self._serving, self._old, None
        self._trial_left = 0
        assert failed is not None
        assert self._serving is not None
        failed.close()
        self._use(self._serving)
        self.swap_note = f"went back to {self._serving.candidate.source}: the engine put in failed on a frame: {reason}"

    def replacement_failed(self, candidate: Candidate, reason: str) -> None:
        """What was asked for in place of a failed engine cannot serve either: the next one is, or the model stays
        failed with all reasons."""
        self._replacement_asked = False
        before = self._why
        following = self._instead_of(candidate, reason)
        self._why = f"{before}; then {candidate.model.name} {candidate.model.precision}: {reason}"
        self.stats.last_error = self._why
        if following is not None:
            self._replacement_asked = True
            self.replace_engine(replace(following, reason=self._why))

    def _instead_of(self, candidate: Candidate, reason: str) -> Candidate | None:
        """What is tried after ``candidate`` failed: an engine that was put in gives way to the configured one, which
        gives way to its fallback."""
        self._why = f"{candidate.model.name} {candidate.model.precision}: {reason}"
        if candidate.source == SWAPPED:
            return replace(configured(self.model, self._engines_dir), reason=self._why)
        return fallback(self.model, self._engines_dir, self._why) if candidate.source == CONFIGURED else None

    def _infer(self, serving: Serving, frames: dict[str, Pending]) -> None:
        started = time.perf_counter()
        for tensor, pending in frames.items():
            pending.fill(pending.data, serving.feed[tensor])
        outputs = serving.engine.runner.infer()
        inference_ms = (time.perf_counter() - started) * 1e3
        stamp = frames[self.model.trigger.input or self.model.inputs[0].tensor].stamp
        for port in serving.ports:
            result = port.decode(outputs[port.tensor], serving.view)
            port.publish(stamp, result)
            self.stats.capped += left_out(result)
        for link in self.links:
            link.deliver(stamp, outputs[serving.ports[link.output].tensor])
        self.stats.published(inference_ms, self._age_ms(stamp))

    def _age_ms(self, stamp: Stamp) -> float | None:
        """Milliseconds from the frame's stamp to now; None without a stamp. A stamp ahead of our clock counts as 0."""
        return max(0.0, (self._now_ns() - stamp.nanoseconds) / 1e6) if stamp.nanoseconds else None

    # ── what other threads call ──

    def offer(self, tensor: str, pending: Pending, lost: int) -> None:
        """Leave a frame for the worker; it takes the place of one not yet looked at. Called by the spin thread."""
        with self._lock:
            self._join.put(tensor, pending)
            self._lock.notify_all()
        self.stats.arrived(lost, tensor)

    def tick(self) -> None:
        """A period of the model's rate begins. Called by the spin thread."""
        with self._lock:
            if self._join.tick():
                self._lock.notify_all()

    def refuse(self, reason: str) -> None:
        """Do not serve, although the engine is fine: what it would need, or publish, is not there."""
        self._fail(reason)

    def waiting(self) -> bool:
        """There are frames to run on. The caller holds the lock."""
        return self._join.ready()

    def activate(self) -> None:
        """Begin to serve, when the engine is loaded. Frames and rates of an earlier life are forgotten."""
        self.active = True
        if self.state == INACTIVE:
            with self._lock:
                self._join.clear()
            self._failures = 0
            self.stats.reset_window()
            self.state = ACTIVE

    def deactivate(self) -> None:
        """Stop serving."""
        self.active = False
        if self.state == ACTIVE:
            self.state = INACTIVE

    def health(self) -> ModelHealth:
        """Return the model's part of the report."""
        serving = self._serving
        inference, age = self.stats.latencies()
        input_rate, output_rate = self.stats.rates()
        return ModelHealth(
            name=self.model.name,
            precision=self.model.precision if serving is None else serving.candidate.model.precision,
            engine_key="" if serving is None else serving.engine.identity.key,
            engine_sha256="" if serving is None else serving.engine.identity.engine_sha256,
            state=self.state,
            self_test=self._self_test,
            inference_ms=inference,
            frame_age_ms=age,
            input_rate_hz=round(input_rate, 3),
            output_rate_hz=round(output_rate, 3),
            frames=self.stats.frames,
            drops=self.stats.lost + self.stats.held + self._join.unused,
            causes={**self.stats.causes(), **{why: count for why, count in self._join.counts.items() if count}},
            errors=self.stats.errors,
            capped=self.stats.capped,
            last_error=self.stats.last_error,
            serving=self._who_serves(serving),
            serving_model=serving.candidate.model.name if serving is not None else "",
            serving_reason=self._why,
        )

    @property
    def engine(self) -> LoadedEngine | None:
        """The engine that serves."""
        serving = self._serving
        return None if serving is None else serving.engine

    @property
    def source(self) -> str:
        """Whose engine is loaded: configured, fallback, swapped, or nothing."""
        serving = self._serving
        return "" if serving is None else serving.candidate.source

    def _who_serves(self, serving: Serving | None) -> str:
        if self.state == FAILED or serving is None:
            return self.model.on_failure if self.state == FAILED else ""
        return serving.candidate.source

    def _fail(self, reason: str) -> None:
        self.state = FAILED
        self.stats.last_error = reason


def _join(model: ModelRuntime, now_ns: Callable[[], int]) -> Join:
    inputs = [binding.tensor for binding in model.inputs]
    known = model.trigger.input in ("", *inputs)  # otherwise loading refuses the model
    return Join(inputs, model.trigger if known else Trigger(), model.join, now_ns)


def _nobody_replaces(candidate: Candidate) -> None:
    """A pipeline outside of a node has nobody who loads engines for it."""
    del candidate
