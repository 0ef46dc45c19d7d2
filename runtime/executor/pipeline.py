"""One model at work: newest frame in, inference, results out. The worker thread owns everything but ``offer``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.health import ModelHealth, SelfTest
from runtime.contract.runtime_config import ModelRuntime
from runtime.engines.errors import EngineError
from runtime.executor.decoders import Decoder, OptionError, Result, View, decoder_named
from runtime.executor.frames import Stamp
from runtime.executor.loading import LoadedEngine, load_engine
from runtime.executor.stats import ModelStats

LOADING, INACTIVE, ACTIVE, FAILED = "loading", "inactive", "active", "failed"
MAX_CONSECUTIVE_FAILURES = 5
"""Inferences or decodings in a row that may fail before the model counts as failed."""

Publish = Callable[[Stamp, Result], None]
Loader = Callable[[ModelRuntime, Path], LoadedEngine]


@dataclass(frozen=True, slots=True)
class Pending:
    """A frame that fits its input and waits for the worker."""

    stamp: Stamp
    pixels: npt.NDArray[np.uint8]
    """(height, width, channels), a view into the message."""


@dataclass(frozen=True, slots=True)
class Port:
    """One output of the model."""

    tensor: str
    decode: Decoder
    publish: Publish


class Pipeline:
    """A model, its slots for the newest frames, and its numbers."""

    def __init__(self, model: ModelRuntime, lock: threading.Condition, now_ns: Callable[[], int]) -> None:
        self.model = model
        self.state = LOADING
        self.stats = ModelStats()
        self._lock = lock
        self._now_ns = now_ns
        self._slots: dict[str, Pending | None] = {binding.tensor: None for binding in model.inputs}
        self._ports: list[Port] = []
        self._engine: LoadedEngine | None = None
        self._self_test: SelfTest | None = None
        self._key = self._sha256 = ""
        self._view = View(model.inputs[0].height, model.inputs[0].width)
        self._failures = 0

    # ── life, on the worker thread ──

    def load(self, engines_dir: Path, publishers: Mapping[str, Publish], loader: Loader = load_engine) -> None:
        """Load and test the engine; afterwards the state is inactive, or failed with a reason. Never raises for that.

        ``publishers`` maps an output's topic to what sends its results.
        """
        self.close()
        self.state, self._self_test = LOADING, None
        try:
            decoders = [
                decoder_named(out.decoder, _named(out.decoder, out.tensor, out.options)) for out in self.model.outputs
            ]
            engine = loader(self.model, engines_dir)
        except (EngineError, OptionError) as error:
            self._fail(str(error))
            return
        self._key, self._sha256 = engine.identity.key, engine.identity.engine_sha256
        self._self_test = engine.self_test
        if not engine.self_test.passed:
            engine.runner.close()
            self._fail(f"self-test failed: {engine.self_test.message}")
            return
        self._engine = engine
        self._view = _view(self.model, engine)
        self._ports = [
            Port(out.tensor, decode, publishers[out.topic])
            for out, decode in zip(self.model.outputs, decoders, strict=True)
        ]
        self.state = INACTIVE

    def close(self) -> None:
        """Free the engine, if there is one."""
        if self._engine is not None:
            self._engine.runner.close()
            self._engine = None
        if self.state == ACTIVE:
            self.state = INACTIVE

    def step(self) -> None:
        """Turn the newest frame into results. Call it only when ``waiting`` is true. Never raises for a bad frame."""
        with self._lock:
            frames = {tensor: pending for tensor, pending in self._slots.items() if pending is not None}
            self._slots = dict.fromkeys(self._slots)
        if self._engine is None or len(frames) < len(self._slots):
            return
        try:
            self._infer(self._engine, frames)
        except (EngineError, ValueError, RuntimeError) as error:  # RuntimeError: rclpy's, while the node goes away
            self._failures += 1
            self.stats.refused(str(error))
            if self._failures >= MAX_CONSECUTIVE_FAILURES:
                self.state = FAILED
            return
        self._failures = 0
        if self.state == FAILED:
            self.state = ACTIVE

    def _infer(self, engine: LoadedEngine, frames: dict[str, Pending]) -> None:
        started = time.perf_counter()
        for tensor, pending in frames.items():
            np.copyto(engine.runner.inputs[tensor][0], pending.pixels)
        outputs = engine.runner.infer()
        inference_ms = (time.perf_counter() - started) * 1e3
        stamp = frames[self.model.inputs[0].tensor].stamp
        for port in self._ports:
            port.publish(stamp, port.decode(outputs[port.tensor], self._view))
        self.stats.published(inference_ms, self._age_ms(stamp))

    def _age_ms(self, stamp: Stamp) -> float | None:
        """Milliseconds from the frame's stamp to now; None without a stamp. A stamp ahead of our clock counts as 0."""
        return max(0.0, (self._now_ns() - stamp.nanoseconds) / 1e6) if stamp.nanoseconds else None

    # ── what other threads call ──

    def offer(self, tensor: str, pending: Pending, lost: int) -> None:
        """Leave a frame for the worker; it takes the place of one not yet looked at. Called by the spin thread."""
        with self._lock:
            replaced = self._slots[tensor] is not None
            self._slots[tensor] = pending
            self._lock.notify_all()
        self.stats.arrived(lost, replaced)

    def waiting(self) -> bool:
        """Every input has a frame. The caller holds the lock."""
        return all(pending is not None for pending in self._slots.values())

    def activate(self) -> None:
        """Begin to serve, when the engine is loaded. Frames and rates of an earlier life are forgotten."""
        if self.state == INACTIVE:
            with self._lock:
                self._slots = dict.fromkeys(self._slots)
            self._failures = 0
            self.stats.reset_window()
            self.state = ACTIVE

    def deactivate(self) -> None:
        """Stop serving."""
        if self.state == ACTIVE:
            self.state = INACTIVE

    def health(self) -> ModelHealth:
        """Return the model's part of the report."""
        inference, age = self.stats.latencies()
        input_rate, output_rate = self.stats.rates()
        return ModelHealth(
            name=self.model.name,
            precision=self.model.precision,
            engine_key=self._key,
            engine_sha256=self._sha256,
            state=self.state,
            self_test=self._self_test,
            inference_ms=inference,
            frame_age_ms=age,
            input_rate_hz=round(input_rate, 3),
            output_rate_hz=round(output_rate, 3),
            frames=self.stats.frames,
            drops=self.stats.drops,
            errors=self.stats.errors,
            last_error=self.stats.last_error,
        )

    def _fail(self, reason: str) -> None:
        self.state = FAILED
        self.stats.last_error = reason


def _named(decoder: str, tensor: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": tensor, **options} if decoder == "tensor" else options


def _view(model: ModelRuntime, engine: LoadedEngine) -> View:
    """How the first image input goes into the network: its preprocessing is in the sidecar."""
    first = model.inputs[0]
    specs = {spec.name: spec for spec in engine.identity.inputs}
    pre = specs[first.tensor].preprocess if first.tensor in specs else None
    letterbox = pre is not None and pre.resize == "letterbox"
    return View(first.height, first.width, letterbox, first.network_height, first.network_width)
