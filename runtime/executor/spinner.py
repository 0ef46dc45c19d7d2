"""The spin thread. It must be joined before the interpreter ends: a live one aborts the process (code 134, always).

rclpy's single-threaded executor, on purpose. The events executor costs less for timers, but nothing less for camera
frames, and it fails on callbacks that take message info (``SystemError`` in rclpy 9.1), which the exact count of lost
frames needs. The multi-threaded one loses messages under load.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import (  # type: ignore[attr-defined]  # Humble has InvalidHandle in another module
    ExternalShutdownException,
    InvalidHandle,
    SingleThreadedExecutor,
)
from rclpy.node import Node

MAX_GONE = 100
"""Calls in a row that met a destroyed entity, after which it is no coincidence."""
SPIN_S = 0.5
"""One call into the executor, and so the longest time that a stop may have to wait for the thread."""


class Spinner:
    """Spins one node on a thread of its own."""

    def __init__(self, node: Node, on_fault: Callable[[BaseException], None]) -> None:
        self._executor = SingleThreadedExecutor()
        self._on_fault = on_fault
        self._stop = threading.Event()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, name="spin", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Shut ROS down and join the thread, in the one order that is safe. False when it does not end in time."""
        self._stop.set()
        rclpy.try_shutdown()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._executor.shutdown()
        return True

    def _run(self) -> None:
        try:
            gone = 0
            while rclpy.ok() and not self._stop.is_set():
                gone = 0 if self._spin_once() else gone + 1
                if gone >= MAX_GONE:
                    raise RuntimeError(f"rclpy named an entity that is gone {gone} times in a row")
        except ExternalShutdownException:
            return
        except BaseException as error:  # noqa: BLE001 - told to the main thread, which ends the process with it
            if not self._stop.is_set():
                self._on_fault(error)

    def _spin_once(self) -> bool:
        """Spin once; False when what became ready was gone before it could be called.

        Another thread destroyed it: a subscription of the transport check, whose last message comes late on a busy
        machine. Nothing is left to call.
        """
        try:
            self._executor.spin_once(timeout_sec=SPIN_S)
        except InvalidHandle:
            return False
        return True
