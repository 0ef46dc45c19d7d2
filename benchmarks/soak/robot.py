"""The robot of the soak: agent, executor and camera as real processes, and what is done to them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from benchmarks.bench_frames import ROOT, STOP_S, image_environment, port_in, report_at, stop
from benchmarks.frames.network import write_network, write_runtime
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import EngineIdentity
from runtime.contract.node.health import HealthReport
from runtime.contract.node.runtime_config import RuntimeConfig

WIDTH, HEIGHT, HZ = 640, 480, 30.0
MODEL = "scores"
PATIENCE_S = 180.0
"""For whatever must happen in the end, however busy the machine is."""
WINDOW_S = 20.0
"""Restarts are told apart by this much; the soak's kills are further from each other, and no crash loop."""


@dataclass
class Robot:
    """Processes, and the folder that they live in."""

    folder: Path
    port: int
    agent: int
    camera: int
    swaps: int = 0
    counted: dict[str, int] = field(default_factory=dict)
    """Frames that the camera sent, and answers that came; there once it has ended."""

    def report(self) -> HealthReport:
        """Return the agent's report."""
        return report_at(self.port)

    def until(self, what: str, done: Callable[[HealthReport], bool]) -> HealthReport:
        """Wait for the report to say so. Raises TimeoutError with the last one."""
        end = time.monotonic() + PATIENCE_S
        while True:
            report = self.report()
            if done(report):
                return report
            if time.monotonic() > end:
                raise TimeoutError(f"waited {PATIENCE_S:g} s for {what}; now {report}")
            time.sleep(0.1)

    def serving(self, restarts: int) -> HealthReport:
        """Wait for the executor after so many restarts to answer frames."""
        return self.until(
            f"frames after restart {restarts}",
            lambda report: report.executor.restarts == restarts and report.models[0].frames > HZ and report.ready,
        )

    def end_executor(self, number: signal.Signals) -> None:
        """Kill it, or stop it, which it cannot tell from a hang."""
        pid = self.report().executor.pid
        assert pid is not None
        os.kill(pid, number)

    def swap(self) -> HealthReport:
        """Put an engine in, or take it away again, and wait until the other one has answered its trial frames."""
        self.swaps += 1
        place = self.folder / "swap" / MODEL
        if place.exists():
            gone = self.folder / "gone"
            place.rename(gone)
            shutil.rmtree(gone)
            wanted = "configured"
        else:
            place.parent.mkdir(exist_ok=True)
            self._copy_of_engine(self.folder / "beside").rename(place)
            wanted = "swapped"
        report = self.until(f"swap {self.swaps}", lambda report: report.models[0].serving == wanted)
        answered = report.models[0].frames + 2 * HZ  # past the trial
        return self.until("the trial", lambda report: report.models[0].frames > answered)

    def _copy_of_engine(self, place: Path) -> Path:
        """The release's engine with other bytes and another key: the same answers, and none of its files."""
        source = self.folder / "engines" / MODEL
        shutil.copytree(source, place)
        model = onnx.load(source / "engine.onnx")
        model.doc_string = f"swap {self.swaps}"
        data = model.SerializeToString()
        (place / "engine.onnx").write_bytes(data)
        identity = from_json(EngineIdentity, (source / "engine.json").read_bytes())
        digest = _sha256(data)
        other = replace(identity, key="sha256:" + digest, engine_sha256=digest, engine_bytes=len(data))
        (place / "engine.json").write_bytes(canonical_json(other))
        return place


@contextmanager
def robot(folder: Path, domain: int) -> Iterator[Robot]:
    """Start everything; end it in order."""
    source = folder / "network.onnx"
    write_network(source)
    write_runtime(folder, source, HEIGHT, WIDTH)
    config = from_json(RuntimeConfig, (folder / "runtime.json").read_bytes())
    (folder / "runtime.json").write_bytes(canonical_json(replace(config, restart_window_s=WINDOW_S)))
    environment = {
        **image_environment(folder), "ROS_DOMAIN_ID": str(domain), "JETFLEET_SWAP_DIR": str(folder / "swap"),
    }  # fmt: skip
    log = folder / "agent.log"
    camera = [sys.executable, "-m", "benchmarks.soak.camera", str(WIDTH), str(HEIGHT), str(HZ)]
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "runtime.health"], env=environment, cwd=ROOT, stdout=stream, stderr=stream
        ) as agent,
        subprocess.Popen(camera, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as eye,
    ):
        try:
            one = Robot(folder, port_in(log), agent.pid, eye.pid)
            yield one
            eye.send_signal(signal.SIGTERM)
            one.counted.update(json.loads(eye.communicate(timeout=STOP_S)[0]))
        except BaseException:
            print(log.read_text(), file=sys.stderr)
            raise
        finally:
            stop(eye)
            stop(agent)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
