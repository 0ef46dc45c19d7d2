"""Changes a model's engine while the node runs: loads the new one off the hot path, puts it in between two frames.

Where a backend allows it (ONNX Runtime), the engine is loaded, warmed up and tested on a thread of its own, and the
worker goes on with every model meanwhile. A TensorRT engine belongs to the worker's thread: it is loaded between two
frames, and all models wait for as long as that takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.decoding.decoders import OptionError
from runtime.engines.backend import backend_named
from runtime.engines.errors import EngineError
from runtime.engines.store import read_identity
from runtime.executor.serving.candidates import Candidate, Loader, Serving, prepare
from runtime.executor.serving.loading import load_engine
from runtime.executor.serving.memory import Memory, MemoryRefusedError, check_room, folder_of
from runtime.executor.serving.pipeline import Pipeline
from runtime.executor.serving.worker import Worker

_GOING = "the node is being cleaned up: configure it again"
INSTALL_S = 60.0
"""How long a loaded engine waits for the frame at hand to end before the change is given up."""


@dataclass
class Change:
    """One change of engine: asked for, then done or refused."""

    pipeline: Pipeline
    candidate: Candidate
    keep_old: bool = False
    """Keep the engine that serves until the new one has answered its trial frames."""
    loader: Loader = load_engine
    done: threading.Event = field(default_factory=threading.Event)
    refused: str = ""
    """Why it did not come to pass, one sentence; empty when it did."""


class EngineChanger:
    """Does one change at a time, in the order they were asked for."""

    def __init__(
        self,
        worker: Worker,
        free_threaded: Callable[[Candidate], bool],
        memory: Memory,
        pin: Callable[[], None] = lambda: None,
    ) -> None:
        """``free_threaded``: may this engine be loaded on a thread that is not the worker's? ``pin``: called on each
        loading thread, whose CPUs the engine's own threads get."""
        self._worker, self._pin = worker, pin
        self._free_threaded = free_threaded
        self._memory = memory
        self._one_at_a_time = threading.Lock()

    def begin(self, change: Change) -> Change:
        """Start ``change`` and return at once; ``change.done`` is set at its end."""
        threading.Thread(target=self._run, args=(change,), name="engine-loader", daemon=True).start()
        return change

    def _run(self, change: Change) -> None:
        with self._one_at_a_time:
            try:
                self._pin()
                self._make_room(change)
                if self._free_threaded(change.candidate):
                    self._put_in(change, self._prepared(change))
                else:
                    self._on_worker(lambda: self._put_in_here(change), None)
            except (EngineError, OptionError, MemoryRefusedError, OSError) as error:
                change.refused = str(error)
            except BaseException as error:  # noqa: BLE001 - a defect ends the change, never what serves
                change.refused = f"{type(error).__name__}: {error}"
            finally:
                if change.refused:
                    _note(change)
                change.done.set()

    def _make_room(self, change: Change) -> None:
        """Refuse what memory cannot hold twice; an engine that failed makes room for what takes its place."""
        try:
            check_room(change.candidate, self._memory)
        except MemoryRefusedError:
            if change.keep_old:
                raise
            self._on_worker(change.pipeline.slot.drop_engine, INSTALL_S)

    def _prepared(self, change: Change) -> Serving:
        slot = change.pipeline.slot
        return prepare(change.pipeline.model, change.candidate, slot.publishers, change.loader, slot.stats.state_reset)

    def _put_in(self, change: Change, serving: Serving) -> None:
        installed = []

        def put_in() -> None:
            if change.refused or not change.pipeline.slot.open:  # too late: nobody waits for it any more
                serving.close()
                return
            change.pipeline.slot.install(serving, keep_old=change.keep_old)
            installed.append(serving)

        self._on_worker(put_in, INSTALL_S, change)
        if not installed and not change.refused:
            change.refused = _GOING

    def _put_in_here(self, change: Change) -> None:
        """Load and put in on the worker's thread; what goes wrong is told, and the worker goes on."""
        if not change.pipeline.slot.open:
            change.refused = _GOING
            return
        try:
            change.pipeline.slot.install(self._prepared(change), keep_old=change.keep_old)
        except (EngineError, OptionError, OSError) as error:
            change.refused = str(error)

    def _on_worker(self, run: Callable[[], None], timeout_s: float | None, change: Change | None = None) -> None:
        job = self._worker.submit(run)
        waited = 0.0
        while not job.done.wait(0.1):
            waited += 0.1
            late = timeout_s is not None and waited > timeout_s
            if late or not self._worker.alive:
                why = f"the worker did not start it within {timeout_s:g} s" if late else "the worker has ended"
                if change is not None:
                    change.refused = why
                raise EngineError("internal", why, "see the executor's log; the engine that served continues")


def _note(change: Change) -> None:
    pipeline = change.pipeline
    if change.refused == _GOING:
        return
    if change.keep_old:
        pipeline.slot.swap_note = f"refused: {change.refused}"
    else:
        pipeline.slot.replacement_failed(change.candidate, change.refused)


def any_thread(candidate: Candidate) -> bool:
    """Say whether the candidate's backend lets an engine be loaded on one thread and run on another. Raises
    EngineError."""
    return backend_named(read_identity(folder_of(candidate)).backend).any_thread
