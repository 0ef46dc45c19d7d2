"""A decoder that reads several tensors, on real parts: an engine that a builder made, the executor, and who listens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.contract.engine.build import AccuracyGate, TensorSpec
from runtime.contract.engine.decoded import OutputDecoder, output_name
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.engines.build.job import EXIT_BUILT, run
from tests.fakes.head_models import CLASSES, SIZE, pictures, segmentation
from tests.fakes.nodes.runtime_folder import KEY, TOPIC, write_config
from tests.unit.engines.built_heads import IMAGE, ROWS
from tests.unit.engines.models import make_job

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.robot.robot_process import ROOT, StartRobot


def test_boxes_and_the_image_of_their_ids_come_back_with_one_stamp(tmp_path: Path, robot: StartRobot) -> None:
    layout, frames = segmentation(), pictures(3)
    options = {**layout.options, "labels": ["red", "green", "blue"][:CLASSES]}
    asked = {**layout.options, "classes": CLASSES}
    decoder = OutputDecoder(output_name("", layout.outputs), layout.decoder, asked, layout.outputs)
    make_job(
        tmp_path / "job", model=layout.model, golden={"image": frames}, inputs=(IMAGE,), decoders=(decoder,),
        outputs=tuple(TensorSpec(name, ()) for name in layout.outputs.values()), accuracy=AccuracyGate(0.99), key=KEY,
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "rt" / "engines" / "squares") == EXIT_BUILT
    camera = InputBinding("image", TOPIC, "sensor_msgs/msg/Image", "rgb8", ROWS, SIZE, SIZE, SIZE)
    output = OutputBinding("", "/jetfleet/things", layout.decoder, options, dict(layout.outputs))
    model = ModelRuntime("squares", "fp32", KEY, (camera,), (output,))
    write_config(tmp_path / "rt", RuntimeConfig((model,), heartbeat_timeout_s=60.0))
    one = robot(tmp_path / "rt")
    tested = one.until("readiness", lambda report: report.ready).models[0].self_test
    assert tested is not None
    assert "masks cover" in tested.message

    np.save(tmp_path / "frame.npy", frames[0])
    command = [sys.executable, "-m", "tests.contract.robot.mask_peer", str(tmp_path / "frame.npy")]
    done = subprocess.run(
        command, env=one.environment, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr + one.log.read_text()
    heard = json.loads(done.stdout)
    assert (heard["mask"]["encoding"], heard["mask"]["frame_id"], heard["mask"]["step"]) == ("mono8", "camera", SIZE)
    ids = np.array(heard["mask"]["ids"])
    boxes = heard["boxes"]["boxes"]
    assert [box["instance"] for box in boxes] == list(range(1, len(boxes) + 1))
    assert len(boxes) == 3
    assert set(np.unique(ids)) <= set(range(len(boxes) + 1))
    best = boxes[0]
    inside = ids == best["instance"]
    rows, columns = np.nonzero(inside)
    assert inside.any()
    assert columns.min() >= best["x"] - 1
    assert columns.max() <= best["x"] + best["w"]
    assert rows.min() >= best["y"] - 1
    assert rows.max() <= best["y"] + best["h"]
    assert one.stop() == 0
