"""The one thread that owns every engine: it loads them, runs them, and closes them.

CUDA contexts belong to a thread, and two engines at once only take turns on one GPU anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runtime.executor.serving.pipeline import ACTIVE, FAILED, Pipeline

IDLE_S = 0.5
"""Longest sleep of a worker that waits for frames: its heartbeat goes on."""


@dataclass
class Job:
    """Something to do on the worker thread."""

    run: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Runs jobs first, then models with a frame waiting, in turn."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        """Guards slots and jobs; notified when there is something to do."""
        self.progress = time.monotonic()
        """When the thread last began or finished something, seconds, monotonic. The heartbeat."""
        self.busy_with_job = False
        self.fault: BaseException | None = None
        """What ended the thread, when that was not ``stop``."""
        self._jobs: deque[Job] = deque()
        self._models: Sequence[Pipeline] = ()
        self._next = 0
        self._found: Pipeline | None = None
        self._stepping = False
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    def submit(self, run: Callable[[], None]) -> Job:
        """Have ``run`` done on the worker thread; ``job.done`` is set afterwards."""
        job = Job(run)
        with self.lock:
            self._jobs.append(job)
            self.lock.notify_all()
        return job

    def serve(self, models: Sequence[Pipeline]) -> None:
        """Run these models from now on."""
        with self.lock:
            self._models, self._next = tuple(models), 0
            self.lock.notify_all()

    def pause(self, timeout_s: float) -> bool:
        """Run no model any more. Returns False when an inference is still going on after ``timeout_s``."""
        with self.lock:
            self._models = ()
            self.lock.notify_all()
            return self.lock.wait_for(lambda: not self._stepping, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """End the thread. Returns False when it still runs after ``timeout_s``."""
        with self.lock:
            self._stop = True
            self.lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._turn():
                self.progress = time.monotonic()
        except BaseException as error:  # noqa: BLE001 - told to the main thread, which ends the process with it
            self.fault = error

    def _turn(self) -> bool:
        with self.lock:
            self.lock.wait_for(self._find_work, IDLE_S)
            if self._stop:
                return False
            job = self._jobs.popleft() if self._jobs else None
            model = self._found
            self._stepping = model is not None
        self.progress = time.monotonic()
        if job is not None:
            self._do(job)
        elif model is not None:
            model.step()
            with self.lock:
                self._stepping = False
                self.lock.notify_all()
        return True

    def _do(self, job: Job) -> None:
        self.busy_with_job = True
        try:
            job.run()
        finally:
            self.progress = time.monotonic()
            self.busy_with_job = False
            job.done.set()

    def _find_work(self) -> bool:
        """Look for a job, or else for a model: once a frame, and not once more to take it."""
        self._found = None if self._jobs else self._pick()
        return self._stop or bool(self._jobs) or self._found is not None

    def _pick(self) -> Pipeline | None:
        """Return the next model with a frame waiting, after the one that ran last."""
        count = len(self._models)
        for offset in range(count):
            index = (self._next + offset) % count
            if _can_run(self._models[index]):
                self._next = index + 1
                return self._models[index]
        return None


def _can_run(model: Pipeline) -> bool:
    """A model that failed while serving is tried again with the next frame: it may recover."""
    return model.state in (ACTIVE, FAILED) and model.waiting()
