"""The lifecycle node: what each transition does, in a fixed order. Engines are loaded on the worker, never here."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future

from runtime.contract.node.runtime_config import ENV_ROBOT, SWAP_DIR, RuntimeConfig
from runtime.executor.inputs.sim_time import SimTime
from runtime.executor.inputs.steady_timer import steady_timer
from runtime.executor.inputs.subscriptions import Intake
from runtime.executor.outputs.diagnostics import Diagnostics, hardware_id
from runtime.executor.outputs.publishers import NodeOutputs
from runtime.executor.robot.bond import Bond
from runtime.executor.robot.cpu_reservation import CpuReservation
from runtime.executor.robot.lock_keeper import LockKeeper
from runtime.executor.robot.serving_gate import ServingGate
from runtime.executor.robot.throttling import Throttling
from runtime.executor.serving.candidates import Candidate
from runtime.executor.serving.changer import Change, EngineChanger, any_thread
from runtime.executor.serving.hot_swap import SwapFolder
from runtime.executor.serving.links import link
from runtime.executor.serving.loading import load_engine
from runtime.executor.serving.memory import with_room
from runtime.executor.serving.pipeline import FAILED, Pipeline
from runtime.executor.serving.signed import signed_by_environment
from runtime.executor.serving.worker import Worker

#: Another folder of engines to put in than the contract's (laptops and tests).
ENV_SWAP_DIR = "JETFLEET_SWAP_DIR"
SWAP_POLL_S = 1.0
BEAT_S = 0.5
PAUSE_S = 2.0
"""How long a transition waits for the inference that is going on."""
FIND_POLL_S = 0.05
ALONE_S = 0.15
"""How long an activation waits for the publishers of the node that served before to be gone from the graph."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ExecutorNode(LifecycleNode):
    """Runs the configured models. Configure loads, activate serves."""

    def __init__(
        self,
        config: RuntimeConfig,
        engines_dir: Path,
        worker: Worker,
        stop: threading.Event,
        *,
        use_sim_time: bool = False,
        autostart: bool = True,
    ) -> None:
        """``use_sim_time``: the node's clock follows ``/clock`` from the start. ``autostart``: it becomes active by
        itself; otherwise a lifecycle manager brings it up."""
        super().__init__(config.node_name, parameter_overrides=[Parameter("use_sim_time", value=use_sim_time)])
        self._config, self._engines_dir, self._worker, self._stop = config, engines_dir, worker, stop
        self.models = [Pipeline(model, worker.lock, self._now_ns) for model in config.models]
        self._reserve = CpuReservation.from_environment()
        self._changer = EngineChanger(worker, any_thread, self._reserve.memory, self._reserve.pin_worker)
        for model in self.models:
            model.slot.replace_engine = partial(self._replace_engine, model)
        self.swaps = SwapFolder(swap_dir(), engines_dir, self.models, self._changer, self._log, signed_by_environment())
        self.throttling = Throttling(self.models, engines_dir, self._changer.begin)
        self.gate = ServingGate.from_environment()
        self.managed = not autostart
        """A lifecycle manager brings the node up and down."""
        self._bond = Bond(self) if self.managed else None
        self._standing_by = True
        self._transition = threading.RLock()
        self._intake: Intake | None = None
        self._outputs = NodeOutputs(self, self.gate)
        self.spin_progress = time.monotonic()
        """When the spin thread last ran a callback, seconds, monotonic."""
        self._diagnostics = Diagnostics(
            self, lambda: [model.health() for model in self.models], hardware_id(os.environ.get(ENV_ROBOT, ""))
        )
        self._lock_keeper = LockKeeper.from_environment(self, lambda: self.gate.elsewhere)
        self._sim_time = SimTime(self)
        steady_timer(self, BEAT_S, self._beat)
        steady_timer(self, BEAT_S, self._where_it_serves(self._diagnostics.poll))
        steady_timer(self, SWAP_POLL_S, self._where_it_serves(self.swaps.poll))
        self._serve_transitions_off_the_spin_thread()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about this installation."""
        swaps = tuple(
            f"{model.model.name}: swap {model.slot.swap_note}" for model in self.models if model.slot.swap_note
        )
        gate = (self.gate.problem,) if self.gate.problem and self.gate.expected else ()
        return (
            *self._sim_time.notes,
            *self._outputs.notes,
            *self._reserve.notes,
            *self._lock_keeper.notes,
            *(self._bond.notes if self._bond is not None else ()),
            *gate,
            *swaps,
        )

    @property
    def takes_turns(self) -> bool:
        """Whether another container may be started next to this one: not where the DLA, of which there is one or two,
        runs an engine, nor where the serving lock cannot be held, nor where a lifecycle manager knows one node."""
        engines = [model.slot.engine for model in self.models]
        on_dla = any(engine is not None and engine.identity.dla_core is not None for engine in engines)
        return self.gate.exclusive and not on_dla and not self.managed

    @property
    def lifecycle(self) -> str:
        """Label of the current state."""
        return str(self._state_machine.current_state[1])

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, warm up and self-test every model; fail only when none is left."""
        del state
        if not self._on_worker(self._reserve.pin_worker):
            return FAILURE
        load = with_room(self._reserve.memory, load_engine)
        for model in self.models:
            senders = self._outputs.make(model)
            self._log(f"{model.model.name}: loading {model.model.precision} engine {model.model.engine_key}")
            if not self._on_worker(partial(model.slot.load, self._engines_dir, senders, load)):
                return FAILURE
            self._log(f"{model.model.name}: {model.stats.last_error if model.state == FAILED else 'ready'}")
        if self.models and all(model.state == FAILED for model in self.models):
            self._outputs.destroy()
            return FAILURE
        return SUCCESS

    @property
    def standing_by(self) -> str:
        """Why this node, configured and tested, does not serve: another container does. Empty: that is not so."""
        waits = self._standing_by and self.gate.refused and self.lifecycle == "inactive"
        return self.gate.why_not if waits else ""

    def find_others(self) -> None:
        """Wait until whoever else commands our topics has had the time to be found, or a stop. A node that says it
        stands by can so take over at once."""
        self._outputs.watch()
        while not self._outputs.looked and not self._stop.wait(FIND_POLL_S):
            self._outputs.watch()

    def attend(self) -> None:
        """Activate when it is this container's turn, deactivate when it is no more. Called often, by one thread.

        A node that somebody deactivated through its services stays so until its turn comes again.
        """
        if not self._transition.acquire(blocking=False):
            return  # a transition that a service asks for is going on; the next look comes soon
        self._outputs.watch()
        try:
            self._take_turns()
        finally:
            self._transition.release()

    def _take_turns(self) -> None:
        if self.lifecycle == "active":
            if not self.gate.enter():
                self._log(f"standing by: {self.gate.why_not}")
                self.trigger_deactivate()
                self._standing_by = True
            return
        self.gate.leave()
        if self.gate.elsewhere:
            self._standing_by = True
        if self.managed:
            return
        if self.lifecycle == "inactive" and self._standing_by and self.gate.enter():
            self.trigger_activate()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish, serve, subscribe: in this order nothing comes in before it can go out."""
        if not self.gate.enter():
            self._log(f"not activated: {self.gate.why_not}")
            return FAILURE
        took_over, self.gate.waited = self.gate.waited, False
        if took_over:
            self._outputs.wait_alone(ALONE_S)
        self._outputs.open()
        self._standing_by = False
        result = super().on_activate(state)
        link(self.models)
        self._outputs.start()
        serving = [model for model in self.models if model.state != FAILED]
        for model in serving:
            model.activate()
        self._worker.serve(serving)
        self._intake = Intake(self, serving, self._now_ns)
        if self._bond is not None:
            self._bond.form()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The reverse: no more input, finish what is going on, no more output."""
        self._stop_serving()
        result = super().on_deactivate(state)
        self._leave()
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the engines."""
        del state
        return SUCCESS if self._free() else FAILURE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state to nothing."""
        del state
        self._stop_serving()
        return SUCCESS if self._free() else FAILURE

    def stop_now(self) -> None:
        """What shutdown does, without the state machine, which refuses while another transition is going on."""
        self._stop_serving()
        self._free()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that raised: free everything, so that configure may be tried again."""
        return self.on_shutdown(state)

    def _replace_engine(self, model: Pipeline, candidate: Candidate) -> None:
        """Another engine for a model whose own failed while it served. Called on the worker thread."""
        self._log(f"{model.model.name}: {candidate.reason}; loading {candidate.model.name} {candidate.model.precision}")
        self._changer.begin(Change(model, candidate))

    def _stop_serving(self) -> None:
        self._outputs.stop("the node does not serve")  # first: what follows may wait for an inference
        if self._bond is not None:
            self._bond.end()
        if self._intake is not None:
            self._intake.close()
            self._intake = None
        if not self._worker.pause(PAUSE_S):
            self.get_logger().warning(f"an inference is still going on after {PAUSE_S:g} s")
        for model in self.models:
            model.deactivate()

    def _leave(self) -> None:
        """Nothing of ours is published any more: another container may."""
        self._outputs.close()
        self.gate.leave()

    def _free(self) -> bool:
        self._leave()  # first: freeing engines waits for an inference that may hang
        freed = self._on_worker(self._close_models, PAUSE_S)
        self._outputs.destroy()
        return freed

    def _close_models(self) -> None:
        for model in self.models:
            model.slot.close()

    def _on_worker(self, run: Callable[[], None], timeout_s: float | None = None) -> bool:
        """Run on the worker thread and wait, but not past a stop, the worker's end, or ``timeout_s``."""
        job = self._worker.submit(run)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not job.done.wait(0.1):
            stopping = timeout_s is None and self._stop.is_set()
            if stopping or not self._worker.alive or (deadline is not None and time.monotonic() > deadline):
                return False
        return True

    def _serve_transitions_off_the_spin_thread(self) -> None:
        """Run transitions that a service asks for on a thread of their own: loading an engine inside the spin thread
        would stall every other callback for as long (2 s measured), heartbeat included. Where rclpy keeps the service
        under another name, they stall."""
        service = getattr(self, "_service_change_state", None)
        if service is None:
            return
        change_state = service.callback

        async def serve(request: Any, response: Any) -> Any:
            future: Future[Any] = Future(executor=self.executor)

            def transition() -> None:
                with self._transition:
                    future.set_result(change_state(request, response))

            threading.Thread(target=transition, name="transition", daemon=True).start()
            return await future

        service.callback = serve

    def _where_it_serves(self, run: Callable[[], None]) -> Callable[[], None]:
        """Have a timer do nothing while another container is the one that serves."""
        return lambda: None if self.gate.elsewhere else run()

    def _beat(self) -> None:
        self._reserve.pin_spin_once()
        self.spin_progress = time.monotonic()
        self._sim_time.look()
        self._outputs.announce()
        self._outputs.watch()

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _log(self, line: str) -> None:
        with contextlib.suppress(RuntimeError):  # the context may be gone already; the line is then of no use
            self.get_logger().info(line)


def swap_dir() -> Path:
    """Return the folder that engines are put into while the node runs."""
    return Path(os.environ.get(ENV_SWAP_DIR) or SWAP_DIR)
