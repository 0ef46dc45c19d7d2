"""The same question to many, side by side, in a way that Ctrl-C ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar, cast

REQUESTS = 4
"""Requests of one kind under way at once; nested (images, and blobs of an image) it is the square."""
LOOK_S = 0.2
"""How often the waiting thread wakes. A signal that comes just before it begins to wait is seen only then."""

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int = REQUESTS,
    on_done: Callable[[int], None] = lambda _count: None,
) -> list[R]:
    """Return ``work`` of every item, in order; at most ``workers`` at a time. ``on_done`` gets how many have ended.

    After the first exception, or Ctrl-C, nothing more is begun, and it is raised at once. What is under way is not
    waited for then: it may be silent for its whole deadline.
    """
    failed = threading.Event()

    def unless_failed(item: T) -> R:
        if failed.is_set():
            return cast(R, None)  # never seen: the exception that set `failed` is raised in its stead
        try:
            return work(item)
        except BaseException:
            failed.set()  # here, in the worker: the waiting thread may wake after all others have run too
            raise

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(unless_failed, item) for item in items]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            on_done(len(futures) - len(waiting))
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
