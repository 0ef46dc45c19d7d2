"""The manifests of docs/robots.md are complete: they load and resolve, with a model that has the declared tensors."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from fleet.manifest.load import load_manifest
from fleet.resolve.resolver import resolve
from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.ros_settings import ros_names
from tests.unit.resolve.test_resolver import recipes

PAGE = Path(__file__).resolve().parents[2] / "docs/robots.md"
FILE = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def driver_onnx() -> bytes:
    """An image and a scan in, two numbers out."""
    shapes = {"image": [1, 3, 144, 192], "ranges": [1, 360]}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["bright"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["bright", "one"], ["ahead"]),
        helper.make_node("ReduceMean", ["ranges"], ["left"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["ahead", "left"], ["command"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info("command", TensorProto.FLOAT, [1, 2])]
    one = helper.make_tensor("one", TensorProto.INT64, [2], [1, 1])
    graph = helper.make_graph(nodes, "driver", inputs, outputs, [one])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return content


def test_the_wheeled_robot_s_manifest_loads_and_resolves(tmp_path: Path) -> None:
    files = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
    assert set(files) == {"fleet.yaml", "profiles/orin-nano-8gb-jp62.yaml", "models/driver.yaml"}
    model = driver_onnx()
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("0" * 64, hashlib.sha256(model).hexdigest()), encoding="utf-8")
    for folder in ("onnx", "golden"):
        (tmp_path / "models" / folder).mkdir()
    (tmp_path / "models/onnx/driver.onnx").write_bytes(model)
    frames = np.zeros((2, *ENCODINGS["nv12"].shape(480, 640)[1:]), np.uint8)
    np.savez(tmp_path / "models/golden/driver.npz", image=frames, ranges=np.ones((2, 360), np.float32))
    [robot] = resolve(load_manifest(tmp_path), recipes).robots
    assert robot.environment["ROS_DOMAIN_ID"] == "7"
    assert ros_names(robot.environment).namespace == "/amr1"
