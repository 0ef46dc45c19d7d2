"""One model at work: newest frame in, inference, results out. The worker thread owns everything but ``offer``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from runtime.contract.node.health import CommandHealth, ModelHealth
from runtime.contract.node.runtime_config import ModelRuntime, Trigger
from runtime.engines.errors import EngineError
from runtime.executor.inputs.frame_clock import FrameClocks, age_s, behind_limit_s
from runtime.executor.inputs.frames import FrameRefusedError, Stamp
from runtime.executor.inputs.synchronizer import Pending, Synchronizer
from runtime.executor.serving.candidates import Serving, left_out, tell_failed
from runtime.executor.serving.duty import Duty
from runtime.executor.serving.engine_slot import (
    ACTIVE,
    FAILED,
    INACTIVE,
    LOADING,
    MAX_CONSECUTIVE_FAILURES,
    TRIAL_FRAMES,
    EngineSlot,
)

__all__ = ["ACTIVE", "FAILED", "INACTIVE", "LOADING", "MAX_CONSECUTIVE_FAILURES", "TRIAL_FRAMES", "Pending", "Pipeline"]


@runtime_checkable
class Commanding(Protocol):
    """An output that commands the robot, and says what it does."""

    def health(self) -> CommandHealth:
        """Return what it does now, and why it does not drive."""
        ...


class Follower(Protocol):
    """Takes one output of a model, inside the process."""

    output: int
    """Index among the outputs that the model declares."""
    place: int
    """Which of the output's tensors, in the order of their roles."""

    def deliver(self, stamp: Stamp, values: npt.NDArray[Any]) -> None:
        """Take the output of one frame. Never raises for values that do not fit."""
        ...


class Pipeline:
    """A model with its engine, its slots for the newest frames, and its numbers."""

    def __init__(self, model: ModelRuntime, lock: threading.Condition, now_ns: Callable[[], int]) -> None:
        self.slot = EngineSlot(model)
        """Its engine, and what becomes of it."""
        self.stats = self.slot.stats
        self.links: list[Follower] = []
        """What other models take of this one's outputs. Set before it serves."""
        self.duty = Duty()
        self._lock = lock
        self._now_ns = now_ns
        self._join = _join(model, now_ns)
        self._clocks = FrameClocks({each.tensor: each.source for each in model.inputs}, behind_limit_s(model))

    # ── a frame's way, on the worker thread ──

    def step(self) -> None:
        """Turn the newest frame into results. Call it only when ``waiting`` is true. Never raises for a bad frame."""
        with self._lock:
            frames = self._join.take()
        if not frames:
            return
        if not self.duty.take():
            self.stats.held_back(self.duty.refused)
            if self.duty.refused:
                tell_failed(self.slot.publishers.values(), self.duty.refused)
            return
        if self.slot.serving is None:  # it failed, and what takes its place is not there yet
            self.stats.refused(self.stats.last_error or "no engine serves")
            tell_failed(self.slot.publishers.values(), self.stats.last_error)
            return
        try:
            reason = self._try(self.slot.serving, frames)
            if (
                reason is not None and self.slot.previous is not None
            ):  # on trial: the frame is answered by the engine before
                self.slot.go_back(reason)
                reason = self._try(self.slot.serving, frames)
        except FrameRefusedError as error:  # the frame's fault, which says nothing of the engine
            self.stats.refused(str(error), kind=error.kind)
            tell_failed(self.slot.publishers.values(), str(error))
            return
        if reason is None:
            self.slot.succeeded()
        else:
            self.slot.failed(reason)

    def _try(self, serving: Serving, frames: dict[str, Pending]) -> str | None:
        """Answer a frame; return why it came to nothing, or None."""
        try:
            self._infer(serving, frames)
        except FrameRefusedError as error:
            serving.sequence.frame_failed(str(error))
            raise
        except (EngineError, ValueError, RuntimeError) as error:  # RuntimeError: rclpy's, while the node goes away
            serving.sequence.frame_failed(str(error))
            return str(error)
        return None

    def _infer(self, serving: Serving, frames: dict[str, Pending]) -> None:
        started = time.perf_counter()
        if serving.sequence:
            serving.sequence.begin_frame(self._taken_ns(frames))
        for tensor, pending in frames.items():
            pending.fill(pending.data, serving.feed[tensor])
        outputs = serving.engine.runner.infer()
        inference_ms = (time.perf_counter() - started) * 1e3
        serving.sequence.check(outputs)
        stamp = frames[self.model.trigger.input or self.model.inputs[0].tensor].stamp
        for port in serving.ports:
            result = port.result(outputs, serving.view)
            port.publish(stamp, result)
            self.stats.capped += left_out(result)
        for link in self.links:
            link.deliver(stamp, outputs[serving.ports[link.output].sources[link.place]])
        serving.sequence.keep(outputs)
        self.stats.published(inference_ms, self._age_ms(stamp))

    def _taken_ns(self, frames: Mapping[str, Pending]) -> int:
        """Return when a set was taken: its trigger's frame, or else the newest, as others may lie behind."""
        trigger = self.model.trigger.input
        return frames[trigger].at_ns if trigger else max(pending.at_ns for pending in frames.values())

    def _age_ms(self, stamp: Stamp) -> float | None:
        """Milliseconds from the frame to now, never less than since its arrival; None without a stamp."""
        return age_s(stamp, self._now_ns(), time.monotonic()) * 1e3 if stamp.nanoseconds else None

    # ── what other threads call ──

    def offer(self, tensor: str, pending: Pending, lost: int) -> None:
        """Leave a frame for the worker; it takes the place of one not yet looked at. Called by the spin thread."""
        self.stats.arrived(lost, tensor)  # first: once notified, the worker waits for this thread's interpreter lock
        with self._lock:
            self._clocks.arrived(tensor, pending.stamp, pending.arrived_ns)
            self._join.put(tensor, pending)
            self._lock.notify_all()

    def tick(self) -> None:
        """A period of the model's rate begins. Called by the spin thread."""
        with self._lock:
            if self._join.tick():
                self._lock.notify_all()

    def waiting(self) -> bool:
        """There are frames to run on. The caller holds the lock."""
        return self._join.ready()

    def activate(self) -> None:
        """Begin to serve, when the engine is loaded. Frames and rates of an earlier life are forgotten."""
        self.slot.active = True
        if self.slot.state == INACTIVE:
            with self._lock:
                self._join.clear()
                self._clocks.clear()
            self.stats.reset_window()
            self.slot.begin()

    def deactivate(self) -> None:
        """Stop serving."""
        self.slot.active = False
        if self.slot.state == ACTIVE:
            self.slot.state = INACTIVE

    def refuse(self, reason: str) -> None:
        """Do not serve, although the engine is fine: what it would need, or publish, is not there."""
        self.slot.refuse(reason)

    @property
    def model(self) -> ModelRuntime:
        """Its configuration."""
        return self.slot.model

    @property
    def state(self) -> str:
        """loading | inactive | active | failed."""
        return self.slot.state

    @property
    def queues(self) -> bool:
        """More than one frame of an input may wait: each needs memory of its own."""
        return self._join.joined

    @property
    def active(self) -> bool:
        """The node serves."""
        return self.slot.active

    def health(self) -> ModelHealth:
        """Return the model's part of the report."""
        serving = self.slot.serving
        inference, age = self.stats.latencies()
        input_rate, output_rate = self.stats.rates()
        return ModelHealth(
            name=self.model.name,
            precision=self.model.precision if serving is None else serving.candidate.model.precision,
            engine_key="" if serving is None else serving.engine.identity.key,
            engine_sha256="" if serving is None else serving.engine.identity.engine_sha256,
            state=self.state,
            self_test=self.slot.self_test,
            inference_ms=inference,
            frame_age_ms=age,
            input_rate_hz=round(input_rate, 3),
            output_rate_hz=round(output_rate, 3),
            frames=self.stats.frames,
            drops=self.stats.lost + self.stats.held + self._join.unused,
            causes={**self.stats.causes(), **_happened(self._join.counts), **_happened(self._clocks.counts)},
            errors=self.stats.errors,
            capped=self.stats.capped,
            by_udp=self.stats.by_udp,
            last_error=self.stats.last_error,
            serving=self.slot.who_serves(serving),
            serving_model=serving.candidate.model.name if serving is not None else "",
            serving_reason=self.slot.reason,
            held="; ".join(filter(None, (getattr(publish, "held", "") for publish in self.slot.publishers.values()))),
            commands=_commands(self.slot.publishers.values()),
            clock=self._clocks.notes,
            unheard=self.stats.unheard,
            mixed=self.stats.mixed,
            state_resets=self.stats.resets(),
            last_state_reset=self.stats.last_reset,
        )


def _commands(senders: Iterable[object]) -> tuple[CommandHealth, ...]:
    return tuple(sender.health() for sender in senders if isinstance(sender, Commanding))


def _happened(counts: Mapping[str, int]) -> dict[str, int]:
    return {why: count for why, count in counts.items() if count}


def _join(model: ModelRuntime, now_ns: Callable[[], int]) -> Synchronizer:
    inputs = [binding.tensor for binding in model.inputs]
    known = model.trigger.input in ("", *inputs)  # otherwise loading refuses the model
    offsets = {binding.tensor: binding.offset_s for binding in model.inputs}
    return Synchronizer(inputs, model.trigger if known else Trigger(), model.join, now_ns, offsets_s=offsets)
