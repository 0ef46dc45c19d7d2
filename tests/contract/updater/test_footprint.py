"""How much memory agent and executor take before any engine. Memory does not depend on how busy the machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from benchmarks.bench_agent import RSS_LIMIT_KB
from benchmarks.bench_executor import EXECUTOR, LIMIT_KB, active
from benchmarks.soak.readings import held
from tests.contract.robot.robot_process import Robot
from tests.fakes.nodes.runtime_folder import write_runtime


def test_the_executor_without_an_engine_takes_at_most_120_mb_beside_its_segment(tmp_path: Path) -> None:
    with active(EXECUTOR, tmp_path) as pid:
        found = held(pid)
    assert found.own_kb <= LIMIT_KB == 120_000
    assert found.shared_kb > 8_000  # the segment is there, and counted apart


def test_the_agent_takes_at_most_40_mb_while_it_supervises_a_real_executor(tmp_path: Path) -> None:
    write_runtime(tmp_path / "rt")
    one = Robot(tmp_path / "rt", tmp_path)
    try:
        one.until("readiness", lambda report: report.ready)
        for page in ("/report", "/metrics", "/healthz", "/readyz"):
            one.status(page)
        assert held(one.process.pid).own_kb <= RSS_LIMIT_KB == 40_000
    finally:
        code = one.stop()
    assert code == 0
