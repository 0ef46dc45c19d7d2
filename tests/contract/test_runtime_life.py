"""An executor's life on real parts: an engine that fails gives way, an engine is put in under frames, ends in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.runtime_config import FallbackEngine
from tests.fakes.runtime_folder import KEY, write_config, write_engine, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.test_runtime_node import Robot, robot  # noqa: F401 - the fixture is used by its name

NEW = "sha256:" + "cd" * 32
WAIT_S = 90.0


def test_the_declared_fallback_serves_in_place_of_a_torn_engine(
    tmp_path: Path,
    robot: Callable[[Path], Robot],  # noqa: F811
) -> None:
    folder = tmp_path / "rt"
    config = write_runtime(folder)
    identity = write_engine(folder / "engines" / "signs" / "fp16")
    (folder / "engines/signs/fp16/engine.json").write_bytes(
        canonical_json(replace(identity, model="signs", key=NEW, precision="fp16"))
    )
    (folder / "engines/signs/engine.onnx").write_bytes(b"torn")
    own = config.models[0]
    beside = FallbackEngine("signs", "fp16", NEW, own.inputs, own.outputs)
    write_config(folder, replace(config, models=(replace(own, fallback=beside),)))
    one = robot(folder)
    report = one.until("the fallback", lambda report: report.ready, WAIT_S)
    model = report.models[0]
    assert (model.state, model.serving, model.engine_key, model.precision) == ("active", "fallback", NEW, "fp16")
    assert "bytes, engine.json says" in model.serving_reason
    assert report.state == "degraded"
    assert any("its fallback signs fp16 cdcdcdcdcdcd serves" in check.message for check in report.checks)
    assert len(one.peer("camera", "--frames", "6", "--hz", "10")["received"]) >= 4
    assert one.stop() == 0


def test_an_engine_is_put_in_under_frames_and_every_frame_is_counted(
    tmp_path: Path,
    robot: Callable[[Path], Robot],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETFLEET_SWAP_DIR", str(tmp_path / "swap"))
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    seen: dict[str, Any] = {}
    camera = threading.Thread(target=lambda: seen.update(one.peer("camera", "--frames", "150", "--hz", "15")))
    camera.start()
    try:
        one.until("frames", lambda report: report.models[0].frames > 5, WAIT_S)
        identity = write_engine(tmp_path / "beside" / "signs", key=NEW)
        assert identity.model == "signs"
        (tmp_path / "swap").mkdir()
        (tmp_path / "beside" / "signs").rename(tmp_path / "swap" / "signs")
        swapped = one.until("the swap", lambda report: report.models[0].serving == "swapped", WAIT_S)
    finally:
        camera.join(WAIT_S)
    assert swapped.models[0].engine_key == NEW
    assert swapped.executor.restarts == 0
    indices = [int(result["header"]["frame_id"].removeprefix("camera_")) for result in seen["received"]]
    between = indices[-1] - indices[0] + 1
    report = one.until(
        "the last frame's count",
        lambda report: report.models[0].frames + report.models[0].drops >= between,
        WAIT_S,
    )
    model = report.models[0]
    assert model.errors == 0
    assert model.frames + model.drops <= len(seen["sent"])
    assert (report.state, report.ready) == ("degraded", True)

    (tmp_path / "swap" / "signs").rename(tmp_path / "swap" / "away")
    back = one.until("the release's engine", lambda report: report.models[0].engine_key == KEY, WAIT_S)
    assert back.models[0].serving == "configured"
    assert one.stop() == 0
