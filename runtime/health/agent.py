"""The agent's one loop: step the supervisor, sample the machine, judge, keep the newest report; and PID 1's duties."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from runtime.contract.node.health import HealthReport
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.health.checks.report import Reporter, misconfigured
from runtime.health.checks.verification import Verifier, gather_with
from runtime.health.http.listeners import Listeners
from runtime.health.http.metrics import exposition
from runtime.health.http.server import Render, pages
from runtime.health.process import shared_memory, transport
from runtime.health.process.children import Children
from runtime.health.process.serving_token import Token
from runtime.health.process.supervisor import STARTING, Policy, Snapshot, Supervisor
from runtime.health.settings import AgentSettings, SettingsError, load_config
from runtime.health.sources.machine import Machine
from runtime.health.sources.sampler import Sampler
from runtime.power.control import PowerControl
from runtime.power.host_link import HostLink

LOOP_S = 0.25
"""Longest time between two turns of the loop; a signal turns it at once."""
STUCK_S = 5.0
"""A loop that has not turned for this long makes `/healthz` say no."""
EXIT_USAGE = 2


class Agent:
    """Everything the first process of the container does."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._started = self._turned = time.monotonic()
        self._children = Children()
        self._sampler = Sampler(Machine(settings.root).sample, log=log)
        self._supervisor: Supervisor | None = None
        self._reporter: Reporter | None = None
        self._verifier: Verifier | None = None
        self._host: HostLink | None = None
        self._power: PowerControl | None = None
        self._problem = ""
        self._stop = False
        try:
            self._configure(load_config(settings.config_path))
        except SettingsError as error:
            self._problem = str(error)
            log(self._problem)
        self._newest = self._report(Snapshot(state=STARTING))
        self._token = Token(settings.token, settings.slot)
        self._listeners = Listeners(settings, self._token, self._routes(), log)

    @property
    def port(self) -> int:
        """Where HTTP answers."""
        return self._listeners.port

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, _ignore)
        self._sampler.start()
        if self._host is not None:
            self._host.start()
        self._listeners.start()
        log(f"health on http://127.0.0.1:{self.port}")
        try:
            while not self._turn():
                if select.select([woken], [], [], LOOP_S)[0]:
                    woken.recv(4096)
        finally:
            signal.set_wakeup_fd(-1)
            self._sampler.stop()
            if self._host is not None:
                self._host.stop()
            self._listeners.close()
        return 0

    def _routes(self) -> dict[str, Render]:
        routes = pages(self._current, self._stuck, exposition(self._current))
        if self._verifier is not None:
            routes["/verify"] = self._verifier.page
        return routes

    def _configure(self, config: RuntimeConfig) -> None:
        policy = Policy(
            heartbeat_timeout_s=config.heartbeat_timeout_s,
            startup_timeout_s=config.startup_timeout_s,
            max_restarts=config.max_restarts,
            restart_window_s=config.restart_window_s,
        )
        place = Path(tempfile.gettempdir()) / f"jetfleet-fastdds-{os.getpid()}.xml"
        environment, told = transport.prepare(config, os.environ, place)
        if told:
            log(told)
        self._supervisor = Supervisor(
            self._settings.executor, policy, environment=environment, log=log, in_the_way=_in_the_way
        )
        self._reporter = Reporter(self._settings, config, self._started)
        self._verifier = Verifier(config, self._current, gather_with(self._children, log))
        allowed = self._settings.power
        if allowed is not None and allowed.governor is not None:
            models = [model.name for model in config.models]
            self._host = HostLink(self._settings.power_socket, log=log)
            self._power = PowerControl(allowed, models, self._host, root=self._settings.root, log=log)

    def _turn(self) -> bool:
        """One turn of the loop. Returns True when there is nothing left to do."""
        supervisor = self._supervisor
        if self._stop:
            if supervisor is None or supervisor.stopped:
                return True
            supervisor.request_stop(self._settings.stop_timeout_s)
        process = Snapshot() if supervisor is None else self._step(supervisor)
        self._children.reap_orphans(process.pid)
        self._newest = self._report(process)
        self._listeners.step()
        self._turned = time.monotonic()
        return False

    def _step(self, supervisor: Supervisor) -> Snapshot:
        before = supervisor.pid
        process = supervisor.step()
        governs = self._power is not None and not self._token.elsewhere  # one governor a robot
        if governs and self._power is not None and self._power.step(self._sampler.newest(), time.monotonic()):
            supervisor.tell(self._power.orders)
        if before is not None and process.pid is None:  # its shared memory is nobody's now
            _clean_shared_memory()
        return process

    def _report(self, process: Snapshot) -> HealthReport:
        now, system = time.monotonic(), self._sampler.newest()
        if self._reporter is None:
            return misconfigured(self._settings, self._problem, system, now - self._started)
        return self._reporter.report(process, system, now, None if self._power is None else self._power.status)

    def _current(self) -> HealthReport:
        """The newest report, made honest when the loop that makes it stands still."""
        if not self._stuck():
            return self._newest
        waiting = ("the agent's own loop stands still",)
        return replace(self._newest, live=False, ready=False, in_service=False, waiting_for=waiting)

    def _stuck(self) -> float:
        age = time.monotonic() - self._turned
        return round(age, 1) if age > STUCK_S else 0.0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop = True


def main() -> int:
    """Run the agent with the environment's settings."""
    try:
        settings = AgentSettings.from_environment()
    except SettingsError as error:
        log(str(error))
        return EXIT_USAGE
    _clean_shared_memory()
    try:
        agent = Agent(settings)
    except OSError as error:
        log(f"cannot listen on 127.0.0.1:{settings.port}: {error.strerror}; set JETFLEET_HEALTH_PORT to a free port")
        return EXIT_USAGE
    return agent.run()


def log(line: str) -> None:
    """One line to the container's log."""
    print(f"[agent] {line}", file=sys.stderr, flush=True)


def _in_the_way() -> str:
    """Why an executor could not run now. What dead processes left is removed first: it may be all there is."""
    if transport.full():
        _clean_shared_memory()
    return transport.full()


def _clean_shared_memory() -> None:
    freed = shared_memory.remove_leftovers()
    if freed:
        log(f"freed {freed >> 20} MiB of shared memory that dead processes had left")


def _ignore(number: int, frame: FrameType | None) -> None:
    """SIGCHLD only has to turn the loop, which the wakeup descriptor does."""
    del number, frame
