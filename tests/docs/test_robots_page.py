"""The manifests of docs/robots.md are complete: they load and resolve, with a model that has the declared tensors."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleet.manifest.load import load_manifest
from fleet.resolve.desired import Desired
from fleet.resolve.resolver import resolve
from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.ros_settings import ros_names
from tests.unit.resolve.test_resolver import recipes

PAGE = Path(__file__).resolve().parents[2] / "docs/robots.md"
FILE = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NV12 = np.zeros((2, *ENCODINGS["nv12"].shape(480, 640)[1:]), np.uint8)
RGB8 = np.zeros((2, 480, 640, 3), np.uint8)


def vector(size: int) -> np.ndarray:
    return np.ones((8, size), np.float32)


PROFILE = "profiles/orin-nano-8gb-jp62.yaml"


def policy(outputs: tuple[str, int], **inputs: list[int]) -> bytes:
    """A model with these inputs, whose means become every number of its output."""
    name, count = outputs
    nodes, means = [], []
    for tensor in inputs:
        means.append(f"{tensor}_mean")
        nodes.append(helper.make_node("ReduceMean", [tensor], [means[-1]], keepdims=0))
    nodes += [
        helper.make_node("Sum", means, ["all"]),
        helper.make_node("Reshape", ["all", "one"], ["single"]),
        helper.make_node("Expand", ["single", "many"], [name]),
    ]
    given = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape) for tensor, shape in inputs.items()]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [2], [1, 1]),
        helper.make_tensor("many", TensorProto.INT64, [2], [1, count]),
    ]
    answer = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count])
    graph = helper.make_graph(nodes, "policy", given, [answer], constants)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    onnx.checker.check_model(content)
    return content


def files_of(section: str) -> dict[str, str]:
    """The files of one robot; the profile is the wheeled robot's where a section has none."""
    text = PAGE.read_text(encoding="utf-8")
    _, _, part = text.partition(f"\n## {section}\n")
    return {PROFILE: dict(FILE.findall(text))[PROFILE], **dict(FILE.findall(part.partition("\n## ")[0]))}


def resolved(folder: Path, section: str, name: str, model: bytes, **golden: Any) -> Desired:
    files = files_of(section)
    assert set(files) == {"fleet.yaml", PROFILE, f"models/{name}.yaml"}
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("0" * 64, hashlib.sha256(model).hexdigest()), encoding="utf-8")
    for part in ("onnx", "golden"):
        (folder / "models" / part).mkdir()
    (folder / f"models/onnx/{name}.onnx").write_bytes(model)
    np.savez(folder / f"models/golden/{name}.npz", **golden)
    return resolve(load_manifest(folder), recipes)


def test_the_wheeled_robot_s_manifest_loads_and_resolves(tmp_path: Path) -> None:
    model = policy(("command", 2), image=[1, 3, 144, 192], ranges=[1, 360])
    found = resolved(tmp_path, "A wheeled robot", "driver", model, image=NV12, ranges=np.ones((2, 360), np.float32))
    [robot] = found.robots
    assert robot.environment["ROS_DOMAIN_ID"] == "7"
    assert ros_names(robot.environment).namespace == "/amr1"


@pytest.mark.parametrize(
    ("section", "name", "outputs", "inputs", "golden"),
    [
        (
            "An arm",
            "picker",
            ("action", 6),
            {"image": [1, 3, 144, 192], "state": [1, 6]},
            {"image": RGB8, "state": np.ones((2, 6), np.float32)},
        ),
        (
            "A humanoid policy",
            "walk",
            ("action", 12),
            {"obs": [1, 48]},
            {name: vector(size) for name, size in {"odometry": 13, "imu": 10, "command": 6, "joints": 24}.items()},
        ),
    ],
)
def test_the_manifests_of_robots_with_joints_load_and_resolve(
    tmp_path: Path, section: str, name: str, outputs: tuple[str, int], inputs: dict[str, list[int]], golden: Any
) -> None:
    found = resolved(tmp_path, section, name, policy(outputs, **inputs), **golden)
    [robot] = found.robots
    [model] = found.variants[robot.variant].config.models
    [output] = model.outputs
    assert output.decoder == "joints"
    assert len(output.options["joints"]) == outputs[1]
    assert model.on_failure == "hold"
