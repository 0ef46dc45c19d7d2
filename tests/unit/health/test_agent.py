"""The agent as a process of its own, with a stand-in for the executor; asked over HTTP on the loopback address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.contract.codec import canonical_json, from_dict
from runtime.contract.node.health import HealthReport, SystemHealth
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.contract.robot.power import GovernorSettings, PowerPolicy
from runtime.health.checks.report import Reporter
from runtime.health.process.supervisor import CRASH_LOOP, STARTING, Snapshot
from runtime.health.settings import AgentSettings, SettingsError, load_config

ROOT = Path(__file__).parents[3]
STAND_IN = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from runtime.contract.node.health import ModelHealth, SelfTest
from runtime.health.process.status import ExecutorStatus, StatusSender, SERVING
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
sender = StatusSender.from_environment()
test = SelfTest(True, 1.0, 0.9, "fine")
model = ModelHealth("signs", "fp16", "sha256:k", "ff", "active", test, input_rate_hz=5.0, output_rate_hz=5.0, frames=7)
while sender.send(ExecutorStatus(os.getpid(), SERVING, "active", time.monotonic(), (model,))):
    time.sleep(0.05)
"""
TROUBLE = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from runtime.health.process.status import ExecutorStatus, StatusSender, SERVING
runs = Path(os.environ["JETFLEET_CONFIG"]).with_name("runs")
with runs.open("a") as stream:
    stream.write("x")
sender = StatusSender.from_environment()
started = time.monotonic()
sender.send(ExecutorStatus(os.getpid(), SERVING, "active", started))
if runs.stat().st_size % 2:
    os.kill(os.getpid(), signal.SIGSEGV)
while True:  # hangs: alive, and its worker makes no progress
    sender.send(ExecutorStatus(os.getpid(), SERVING, "active", started))
    time.sleep(0.05)
"""


def agent_with(executor: str) -> str:
    """The program of an agent whose executor is ``executor``."""
    return f"""
import dataclasses, sys
from runtime.health.agent import Agent
from runtime.health.settings import AgentSettings
settings = dataclasses.replace(AgentSettings.from_environment(), executor=(sys.executable, "-S", "-c", {executor!r}))
agent = Agent(settings)
print(agent.port, flush=True)
sys.exit(agent.run())
"""


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    """Instead of the tier's fixture: these tests talk to 127.0.0.1."""


class Agent:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def report(self) -> HealthReport:
        status, body = self.get("/report")
        assert status == 200
        return from_dict(HealthReport, json.loads(body))

    def until(self, done: Callable[[HealthReport], object], deadline_s: float = 60.0) -> HealthReport:
        end = time.monotonic() + deadline_s
        while not done(report := self.report()):
            assert time.monotonic() < end, f"waited {deadline_s:g} s; now {report}"
            time.sleep(0.02)
        return report


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    processes: list[subprocess.Popen[str]] = []

    def start_agent(config: bytes, executor: str = STAND_IN) -> Agent:
        path = tmp_path / "runtime.json"
        path.write_bytes(config)
        environment = {
            **os.environ, "JETFLEET_CONFIG": str(path), "JETFLEET_HEALTH_PORT": "0", "JETFLEET_ROBOT": "amr-001",
            "JETFLEET_RELEASE": "1.0.0", "JETFLEET_IMAGE": "r/x@sha256:aa", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", agent_with(executor)], env=environment, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return Agent(process)

    yield start_agent
    for process in processes:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def test_a_whole_life(start: Callable[..., Agent], config: RuntimeConfig) -> None:
    agent = start(canonical_json(config))
    first_words = agent.report()
    assert first_words.state != "unhealthy"  # or a rollout would revert a robot that has not even started
    report = agent.until(lambda report: report.ready)
    assert (report.robot, report.release, report.image) == ("amr-001", "1.0.0", "r/x@sha256:aa")
    assert (report.state, report.live, report.executor.restarts) == ("ok", True, 0)
    assert report.models[0].self_test is not None
    assert agent.get("/healthz")[0] == agent.get("/readyz")[0] == 200
    assert agent.get("/nothing") == (404, "one of /healthz, /readyz, /report, /metrics, /verify\n")
    first = report.executor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    down = agent.until(lambda report: not report.live)
    assert down.state == "unhealthy"
    status, body = agent.get("/healthz")
    assert status == 503
    assert any(reason.startswith("executor: restarting, 1 restarts so far") for reason in json.loads(body)["reasons"])
    again = agent.until(lambda report: report.ready)
    assert again.executor.restarts == 1
    assert again.executor.pid != first
    assert again.executor.last_exit == "signal SIGKILL"
    families = {family.name for family in text_string_to_metric_families(agent.get("/metrics")[1])}
    assert {"jetfleet_live", "jetfleet_executor_restarts", "jetfleet_model_state"} <= families
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == 0
    assert again.executor.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(again.executor.pid, 0)


def test_no_probe_goes_unanswered_while_the_executor_crashes_and_hangs(
    start: Callable[..., Agent], config: RuntimeConfig
) -> None:
    troubled = replace(config, heartbeat_timeout_s=0.5, max_restarts=100, restart_window_s=1000.0)
    agent = start(canonical_json(troubled), TROUBLE)
    done = threading.Event()

    def ask(path: str) -> list[int]:
        codes = []
        while not done.is_set():
            codes.append(agent.get(path)[0])  # raises when there is no answer
        return codes

    ends: set[str] = set()

    def both_seen(report: HealthReport) -> bool:
        ends.add(report.executor.last_exit.partition(":")[0])
        return {"signal SIGSEGV", "signal SIGTERM (hung"} <= ends

    with ThreadPoolExecutor(4) as pool:
        asked = {path: pool.submit(ask, path) for path in ("/healthz", "/readyz", "/report", "/metrics")}
        try:
            agent.until(both_seen, 60.0)
        finally:
            done.set()
        codes = {path: set(answers.result(60)) for path, answers in asked.items()}
    assert codes["/report"] == codes["/metrics"] == {200}
    assert 503 in codes["/healthz"]
    assert codes["/healthz"] | codes["/readyz"] <= {200, 503}


def test_a_governor_that_breaks_ends_nobody_and_is_tried_again(tmp_path: Path, config: RuntimeConfig) -> None:
    (tmp_path / "runtime.json").write_bytes(canonical_json(config))
    breaking = f"""
import pathlib, runtime.power.control as control
good, broken = control.step, pathlib.Path({str(tmp_path / "broken")!r})
def step(*arguments):
    if broken.exists():
        raise ZeroDivisionError("a defect")
    return good(*arguments)
control.step = step
"""
    (tmp_path / "broken").touch()
    environment = {
        **os.environ, "JETFLEET_CONFIG": str(tmp_path / "runtime.json"), "JETFLEET_HEALTH_PORT": "0",
        "JETFLEET_POWER": canonical_json(PowerPolicy(governor=GovernorSettings())).decode(), "PYTHONPATH": str(ROOT),
        "JETFLEET_POWER_SOCKET": str(tmp_path / "nobody.sock"),
    }  # fmt: skip
    program = breaking + agent_with(STAND_IN)
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        agent = Agent(process)
        told = agent.until(lambda report: report.ready and "the governor failed" in _power(report))
        assert "ZeroDivisionError: a defect; its last orders stand, tried again every second" in _power(told)
        assert (told.state, told.live) == ("degraded", True)
        (tmp_path / "broken").unlink()
        mended = agent.until(lambda report: _power(report) and "failed" not in _power(report))
        assert mended.executor.pid == told.executor.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _power(report: HealthReport) -> str:
    return next((check.message for check in report.checks if check.name == "power"), "")


@pytest.mark.parametrize(
    ("config", "reason"),
    [(b"{", "not JSON"), (b"{}", "RuntimeConfig.models: missing"), (b'{"models": [], "schema": 99}', "newer than")],
)
def test_a_broken_configuration_is_reported_not_crashed_on(
    start: Callable[..., Agent], config: bytes, reason: str
) -> None:
    agent = start(config)
    report = agent.report()
    assert (report.state, report.live, report.ready) == ("unhealthy", False, False)
    assert reason in report.checks[0].message
    assert agent.get("/healthz")[0] == agent.get("/readyz")[0] == 503
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == 0


def test_the_agent_stays_small(start: Callable[..., Agent], config: RuntimeConfig) -> None:
    agent = start(canonical_json(config))
    agent.until(lambda report: report.ready)
    agent.get("/metrics")
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    [kilobytes] = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
    assert kilobytes <= 40 * 1024
    maps = Path(f"/proc/{agent.process.pid}/maps").read_text()
    assert not any(name in maps for name in ("numpy", "rclpy", "onnx"))


def test_orphans_are_reaped_and_the_supervised_child_is_not() -> None:
    code = """
import os, subprocess, sys, time
from runtime.health.process.children import Children
kept = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(5)"])
orphans = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    orphans.append(pid)
for pid in orphans:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os.waitid(os.P_PID, kept.pid, os.WEXITED | os.WNOWAIT)
children = Children()
reaped = children.reap_orphans(kept.pid)
code = kept.wait(10)
print(code, reaped + children.reap_orphans(None))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "3"]


def test_models_of_an_executor_that_never_spoke(config: RuntimeConfig) -> None:
    reporter = Reporter(AgentSettings(Path("x"), "amr-001", "1.0.0", "image", 0, 1.0), config, 0.0)
    loop = Snapshot(state=CRASH_LOOP, restarts=5, last_exit="exit code 2 (no rclpy)")
    for process, state, error in ((Snapshot(state=STARTING), "loading", ""), (loop, "failed", loop.last_exit)):
        [model] = reporter.report(process, SystemHealth(), 1.0).models
        assert (model.name, model.state, model.last_error) == ("signs", state, error)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JETFLEET_HEALTH_PORT": "http"}, "JETFLEET_HEALTH_PORT='http' is not a TCP port"),
        ({"JETFLEET_HEALTH_PORT": "70000"}, "is not a TCP port"),
        ({"JETFLEET_STOP_TIMEOUT_S": "-1"}, "JETFLEET_STOP_TIMEOUT_S='-1' is not a time"),
        ({"JETFLEET_STOP_TIMEOUT_S": "nan"}, "is not a time"),
    ],
)
def test_bad_settings_are_named(environment: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AgentSettings.from_environment(environment)


def test_a_missing_configuration_says_where(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.json: No such file or directory; .*JETFLEET_CONFIG"):
        load_config(tmp_path / "gone.json")
