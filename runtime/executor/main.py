"""The executor process: start ROS, bring the node up by itself, tell the agent how things are, end in time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from runtime.contract.node.ros_settings import ENV_AUTOSTART, ENV_RMW, RosNames, ros_names, switch
from runtime.contract.node.runtime_config import CONFIG_PATH, ENGINES_DIR, RuntimeConfig
from runtime.health.process.round_trip import AGAIN_S, RoundTrip
from runtime.health.process.status import SERVING, STARTING, STOPPING, ExecutorStatus, StatusSender
from runtime.health.settings import ENV_CONFIG, SettingsError, load_config

if TYPE_CHECKING:
    from runtime.executor.checks.round_trip import Traveller
    from runtime.executor.node import ExecutorNode
    from runtime.executor.serving.worker import Worker

#: Another folder of engines than the image's (laptops and tests).
ENV_ENGINES_DIR = "JETFLEET_ENGINES_DIR"
HELPERS = ("engine-loader", "transition")
"""Threads that may be inside native code at the end: the interpreter's own ending would abort the process."""
TURN_S = 0.05
"""Between two looks at whose turn it is to serve: part of what a handover takes."""
STATUS_S = 0.25
"""Between two statuses to the agent."""
STOP_DEADLINE_S = 5.0
"""From a stop to the end of the process, whatever hangs. The agent's own patience is longer."""
EXIT_DEFECT, EXIT_USAGE = 1, 2
EXIT_ABANDONED = 4
"""The end was not orderly: something (an inference hung in native code, an engine being loaded) was left behind."""


@dataclass
class Process:
    """What the threads of this process share."""

    stop: threading.Event
    sender: StatusSender | None
    phase: str = STARTING
    fault: BaseException | None = None
    transport: RoundTrip | None = None

    def fail(self, error: BaseException) -> None:
        """Remember what went wrong in a thread, and end the process."""
        self.fault = error
        self.stop.set()

    def tell(self, status: ExecutorStatus) -> None:
        """Send a status; without the agent there is nobody to run for."""
        if self.sender is not None and not self.sender.send(status):
            self.stop.set()


def main() -> int:
    """Run the executor; return the exit code."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    process = Process(stop, StatusSender.from_environment())
    try:
        config = load_config(Path(os.environ.get(ENV_CONFIG) or CONFIG_PATH))
    except SettingsError as error:
        return _give_up(process, str(error), EXIT_USAGE)
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        from runtime.executor.inputs.sim_time import sim_time_wanted
        from runtime.executor.node import ExecutorNode
        from runtime.executor.serving.worker import Worker
    except ImportError as error:
        return _give_up(
            process, f"cannot import {error.name or 'a package'}: {error}; run in the runtime image", EXIT_USAGE
        )
    try:
        use_sim_time, names = sim_time_wanted(os.environ), ros_names(os.environ)
        autostart = switch(os.environ, ENV_AUTOSTART, True, "the node becomes active by itself")
        # What is logged goes to the container's log; ROS's own files would fill the container's disk.
        arguments = ["--ros-args", "--disable-external-lib-logs", *names.arguments()]
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except ValueError as error:
        return _give_up(process, str(error), EXIT_USAGE)
    except Exception as error:  # noqa: BLE001 - rclpy's have no common base: a middleware or a name that is refused
        return _give_up(process, _no_ros(error, names), EXIT_USAGE)
    worker = Worker()
    engines_dir = Path(os.environ.get(ENV_ENGINES_DIR) or ENGINES_DIR)
    node = ExecutorNode(config, engines_dir, worker, stop, use_sim_time=use_sim_time, autostart=autostart)
    return _run(process, config, node, worker)


def _no_ros(error: Exception, names: RosNames) -> str:
    said = " ".join(str(error).split())
    with_ = f"{ENV_RMW}={os.environ.get(ENV_RMW, '')}"
    rules = f" and {' '.join(names.arguments())}" if names.arguments() else ""
    return f"ROS does not start with {with_}{rules}: {said}; is this middleware's package in the profile's base image?"


def _run(process: Process, config: RuntimeConfig, node: ExecutorNode, worker: Worker) -> int:
    from runtime.executor.checks.round_trip import Traveller
    from runtime.executor.spinner import Spinner

    traveller = Traveller(node, config, process.stop)
    spinner = Spinner(node, process.fail)
    beat = _every(STATUS_S, process.stop, lambda: _talk(process, node, worker))
    worker.start()
    spinner.start()
    beat.start()
    try:
        _bring_up(process, config, node, traveller)
    except Exception as error:  # noqa: BLE001 - ends the process in order: a live spin thread would abort it
        process.fail(error)
    try:
        while not process.stop.wait(TURN_S):
            _tend(process, node, worker, traveller)
    except Exception as error:  # noqa: BLE001 - as above
        process.fail(error)
    process.phase = STOPPING
    code = 0 if process.fault is None else EXIT_DEFECT
    _arm_deadline()
    if process.fault is not None:
        _give_up(process, f"{type(process.fault).__name__}: {process.fault}", code)
    _bring_down(node, worker)
    process.tell(_status(process, node, worker))
    if worker.alive:
        _leave(EXIT_ABANDONED, "an inference, or the loading of an engine, did not end")
    if not spinner.stop(STOP_DEADLINE_S):
        _leave(EXIT_ABANDONED, "the spin thread did not end")
    node.destroy_node()
    beat.join(STOP_DEADLINE_S)
    if any(thread.name in HELPERS for thread in threading.enumerate()):
        _leave(code, "another engine was being loaded")
    return code


def _tend(process: Process, node: ExecutorNode, worker: Worker, traveller: Traveller) -> None:
    if not worker.alive:
        process.fail(worker.fault or RuntimeError("the worker thread ended"))
        return
    node.attend()
    if traveller.due(AGAIN_S):
        _travel(process, traveller)


def _bring_up(process: Process, config: RuntimeConfig, node: ExecutorNode, traveller: Traveller) -> None:
    """Configure, try the transport and activate, stand by, or wait for a lifecycle manager; afterwards the worker's
    heartbeat counts. A node that
    cannot become active stays, with the reasons in its models, so that they can be read."""
    from rclpy.lifecycle import TransitionCallbackReturn

    if node.managed:
        _travel(process, traveller)
    elif node.trigger_configure() == TransitionCallbackReturn.SUCCESS and not process.stop.is_set():
        _travel(process, traveller)
        node.find_others()
        if not process.stop.is_set():
            node.attend()
    process.phase = SERVING
    if not process.stop.is_set():
        why = f": {node.standing_by}" if node.standing_by else ""
        why = f"{why}: a lifecycle manager brings it up (autostart: false)" if node.managed else why
        _say(f"{config.node_name} is {node.lifecycle}{why}")


def _travel(process: Process, traveller: Traveller) -> None:
    """Send images of real size through the transport and remember what came back; a stop cuts it short."""
    result = traveller.go()
    if not process.stop.is_set():
        process.transport = result
        _say(f"transport: {result.text}")


def _bring_down(node: ExecutorNode, worker: Worker) -> None:
    """No more input, the frame at hand, no more output, engines, worker: in this order, and each with a deadline."""
    try:
        if node.lifecycle != "finalized":
            node.trigger_shutdown()
    except Exception as error:  # noqa: BLE001 - a transition asked for by somebody else is still going on
        _say(f"no orderly transition to finalized: {error}")
        node.stop_now()
    worker.stop(1.0)


def _talk(process: Process, node: ExecutorNode, worker: Worker) -> None:
    """Tell the agent how things are, and do what it says."""
    process.tell(_status(process, node, worker))
    orders = process.sender.orders() if process.sender is not None else None
    if orders is not None:
        node.throttling.obey(orders)


def _status(process: Process, node: ExecutorNode, worker: Worker) -> ExecutorStatus:
    loading = process.phase == SERVING and worker.busy_with_job
    return ExecutorStatus(
        pid=os.getpid(),
        phase=STARTING if loading else process.phase,
        lifecycle=node.lifecycle,
        beat=min(worker.progress, node.spin_progress),
        models=tuple(model.health() for model in node.models),
        notes=node.notes,
        standing_by=node.standing_by,
        managed=node.managed,
        exclusive=node.takes_turns,
        fatal="" if process.fault is None else str(process.fault),
        transport=process.transport,
    )


def _every(period_s: float, stop: threading.Event, run: Callable[[], None]) -> threading.Thread:
    def loop() -> None:
        while not stop.wait(period_s):
            run()

    return threading.Thread(target=loop, name="status", daemon=True)


def _arm_deadline() -> None:
    why = f"not done after {STOP_DEADLINE_S:g} s"
    timer = threading.Timer(STOP_DEADLINE_S, lambda: _leave(EXIT_ABANDONED, why))
    timer.daemon = True
    timer.start()


def _leave(code: int, why: str) -> None:
    """End now, without the interpreter's own ending, which a live thread of ROS turns into an abort."""
    _say(f"ending at once with code {code}: {why}")
    os._exit(code)


def _give_up(process: Process, why: str, code: int) -> int:
    _say(why)
    process.tell(ExecutorStatus(os.getpid(), STOPPING, lifecycle="unknown", beat=time.monotonic(), fatal=why))
    return code


def _say(line: str) -> None:
    print(f"[executor] {line}", file=sys.stderr, flush=True)
