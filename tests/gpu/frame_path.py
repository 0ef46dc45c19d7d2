"""A camera's messages through worker and buffers to boxes, as in the node but without ROS, against the bare runner.

The same code for every backend: on a GPU host it decides a claim, on a CPU it shows that the way is right.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import EngineIdentity
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding
from runtime.decoding.decoders import Boxes, Result, View, decoder_named
from runtime.executor.inputs.adapters import adapter_for
from runtime.executor.inputs.frames import Stamp, parse_image
from runtime.executor.serving.loading import LoadedEngine, load_engine_at
from runtime.executor.serving.pipeline import Pending, Pipeline
from runtime.executor.serving.worker import Worker

OPTIONS = {"channels_first": True, "classes": 20}
"""Of the decoder ``boxes``, for the network of `networks.detector`."""
ANSWER_S = 60.0
"""Longest wait for one frame's boxes: beyond it something hangs."""


@dataclass(frozen=True)
class Times:
    """Milliseconds, p50, of one round in which all three were measured."""

    runner: float
    """Frame copied in and run: no boxes."""
    bare: float
    """The same, and the boxes decoded; one thread, nothing around it."""
    path: float
    """From the message's bytes to boxes at the publisher: parse, hand over, copy, run, decode, count."""


def message(pixels: npt.NDArray[np.uint8], stamp_s: int = 1) -> bytes:
    """Return a sensor_msgs/msg/Image (rgb8) of (rows, columns, 3) as the middleware hands it over: plain CDR."""
    rows, columns, _ = pixels.shape
    head = struct.pack("<iII", stamp_s, 0, 4) + b"cam\0" + struct.pack("<III", rows, columns, 5) + b"rgb8\0" + b"\0"
    head += bytes(-len(head) % 4) + struct.pack("<II", columns * 3, pixels.size)
    return b"\0\1\0\0" + head + pixels.tobytes()


def model_of(identity: EngineIdentity, network: int) -> ModelRuntime:
    """Wire an engine of one image and one output of boxes to a camera; ``network``: rows and columns that it sees."""
    (image,), (boxes,) = identity.inputs, identity.outputs
    _, rows, columns, _ = image.shape
    camera = InputBinding(image.name, "/camera", "sensor_msgs/msg/Image", "rgb8", rows, columns, network, network)
    out = OutputBinding(boxes.name, "~/boxes", "boxes", dict(OPTIONS))
    return ModelRuntime(identity.model, identity.precision, identity.key, (camera,), (out,))


class FramePath:
    """One model behind the worker. The caller's thread is what the node's spin thread is."""

    def __init__(self, folder: Path, identity: EngineIdentity, network: int) -> None:
        """Load the engine in ``folder`` on the worker thread. Raises AssertionError with its reason."""
        self._worker = Worker()
        self._model = model_of(identity, network)
        self._input = self._model.inputs[0]
        self._pipeline = Pipeline(self._model, self._worker.lock, time.time_ns)
        self._adapter = adapter_for(self._input)
        self._answered = threading.Event()
        self._answer: tuple[float, Result] | None = None
        self._worker.start()
        loader: Callable[[ModelRuntime, Path], LoadedEngine] = lambda model, _: load_engine_at(model, folder)  # noqa: E731
        self.on_worker(lambda: self._pipeline.slot.load(folder, {"~/boxes": self._publish}, loader))
        assert self._pipeline.slot.engine is not None, self._pipeline.stats.last_error
        self._pipeline.activate()
        self._worker.serve([self._pipeline])

    def __enter__(self) -> FramePath:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._worker.pause(ANSWER_S)
        self.on_worker(self._pipeline.slot.close)
        assert self._worker.stop(ANSWER_S)

    def on_worker(self, run: Callable[[], None]) -> None:
        """Do something on the thread that owns the engine, and wait for it. Raises what it raised."""
        failed: list[BaseException] = []

        def kept() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001  (raised again on the caller's thread)
                failed.append(error)

        assert self._worker.submit(kept).done.wait(ANSWER_S * 2)
        if failed:
            raise failed[0]

    def through(self, raw: bytes) -> tuple[float, Boxes]:
        """Send one message; return milliseconds until its boxes were there, and the boxes."""
        self._answered.clear()
        start = time.perf_counter()
        taken = self._adapter.take(raw)
        assert taken.stamp is not None
        self._pipeline.offer(self._input.tensor, Pending(taken.stamp, taken.data, self._adapter.fill), 0)
        assert self._answered.wait(ANSWER_S), self._pipeline.stats.last_error
        assert self._answer is not None
        end, found = self._answer
        assert isinstance(found, Boxes)
        return (end - start) * 1e3, found

    def bare(self, pictures: Sequence[npt.NDArray[np.uint8]], seconds: float, *, decode: bool) -> list[float]:
        """Measure the runner alone in a loop, on the worker thread; milliseconds."""
        engine = self._pipeline.slot.engine
        assert engine is not None
        buffer, infer = engine.runner.inputs[self._input.tensor][0], engine.runner.infer
        view, decoder, name = self._view(), decoder_named("boxes", OPTIONS), self._model.outputs[0].tensor
        samples: list[float] = []

        def loop() -> None:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(samples) < 10:
                start = time.perf_counter()
                np.copyto(buffer, pictures[len(samples) % len(pictures)])
                outputs = infer()
                if decode:
                    decoder(outputs[name], view)
                samples.append((time.perf_counter() - start) * 1e3)

        self.on_worker(loop)
        return samples

    def boxes(self, picture: npt.NDArray[np.uint8]) -> Boxes:
        """Return what the runner alone finds in one picture."""
        engine = self._pipeline.slot.engine
        assert engine is not None
        found: list[Any] = []

        def once() -> None:
            np.copyto(engine.runner.inputs[self._input.tensor][0], picture)
            outputs = engine.runner.infer()
            found.append(decoder_named("boxes", OPTIONS)(outputs[self._model.outputs[0].tensor], self._view()))

        self.on_worker(once)
        assert isinstance(found[0], Boxes)
        return found[0]

    def measure(self, raw: Sequence[bytes], seconds: float) -> Times:
        """Measure all three for ``seconds`` each, one after the other."""
        pictures = [_pixels(each) for each in raw]
        runner, bare = (float(np.median(self.bare(pictures, seconds, decode=how))) for how in (False, True))
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(samples) < 10:
            samples.append(self.through(raw[len(samples) % len(raw)])[0])
        return Times(runner, bare, float(np.median(samples)))

    def _publish(self, _stamp: Stamp, result: Result) -> None:
        self._answer = (time.perf_counter(), result)
        self._answered.set()

    def _view(self) -> View:
        own = self._input
        return View(own.height, own.width, network_height=own.network_height, network_width=own.network_width)


def _pixels(raw: bytes) -> npt.NDArray[np.uint8]:
    frame = parse_image(raw)
    return frame.data.reshape(frame.height, frame.width, 3)
