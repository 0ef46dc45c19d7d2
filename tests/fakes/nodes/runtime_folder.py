"""A runtime folder as an image holds it: a configuration and real, tiny engines, for tests that run the executor."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig, Thresholds
from runtime.engines.golden.golden_data import Golden, save_golden

HEIGHT, WIDTH = 120, 160
TOPIC = "/camera/image_raw"
KEY = "sha256:" + "ab" * 32


def frame_with_box(left: int, top: int, width: int, height: int) -> np.ndarray:
    """An rgb8 frame, black but for one bright rectangle, which the tiny model finds."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[top : top + height, left : left + width] = 250
    return frame


def write_runtime(
    folder: Path, *, golden_shift: float = 0.0, thresholds: Thresholds | None = None, heartbeat_timeout_s: float = 60.0
) -> RuntimeConfig:
    """Write ``runtime.json`` and ``engines/signs``; a ``golden_shift`` makes the self-test fail.

    ``heartbeat_timeout_s`` is short only where something is to hang: an executor on a busy machine is not to be ended.
    """
    write_engine(folder / "engines" / "signs", golden_shift=golden_shift)
    config = RuntimeConfig(
        models=(
            ModelRuntime(
                name="signs",
                precision="fp32",
                engine_key=KEY,
                inputs=(InputBinding("image", TOPIC, "sensor_msgs/msg/Image", "rgb8", HEIGHT, WIDTH),),
                outputs=(OutputBinding("map", "~/signs/text", "text_boxes", {"unclip": 0.0, "max_boxes": 10}),),
                thresholds=thresholds or Thresholds(),
            ),
        ),
        heartbeat_timeout_s=heartbeat_timeout_s,
        max_restarts=3,
        restart_window_s=30.0,
    )
    write_config(folder, config)
    return config


def write_config(folder: Path, config: RuntimeConfig) -> Path:
    """Write ``runtime.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runtime.json"
    path.write_bytes(canonical_json(config))
    return path


def write_engine(folder: Path, *, golden_shift: float = 0.0, key: str = KEY, hangs: bool = False) -> EngineIdentity:
    """Write an engine whose output map is the frame's red channel, 0 to 1. With ``hangs`` its inference never ends, in
    native code, on a frame with a pixel of 255."""
    folder.mkdir(parents=True, exist_ok=True)
    data = _model(hangs=hangs).SerializeToString()
    (folder / "engine.onnx").write_bytes(data)
    identity = EngineIdentity(
        key=key,
        model=folder.name,
        backend="onnxruntime",
        precision="fp32",
        engine_file="engine.onnx",
        engine_sha256=hashlib.sha256(data).hexdigest(),
        engine_bytes=len(data),
        device=DeviceFacts(platform="linux/amd64"),
        inputs=(TensorSpec("image", (1, HEIGHT, WIDTH, 3), "uint8"),),
        outputs=(TensorSpec("map", (1, 1, HEIGHT, WIDTH), "float32"),),
        self_test=AccuracyGate(min_cosine=0.999),
    )
    (folder / "engine.json").write_bytes(canonical_json(identity))
    frame = frame_with_box(40, 30, 60, 20)
    expected = (frame[None, :, :, 0].astype(np.float32) / 255.0)[None] + np.float32(golden_shift)
    save_golden(folder / "golden.npz", Golden({"image": frame[None]}, {"map": expected}))
    return replace(identity)


def _endless(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    """Let the result pass through a loop that goes on for as long as some pixel is brighter than 254."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["carried"], ["carried_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_on", TensorProto.FLOAT, None),
        ],
    )
    constants.append(helper.make_tensor("limit", TensorProto.FLOAT, [], [254.5]))
    nodes[-1].output[0] = "straight"
    nodes += [
        helper.make_node("ReduceMax", ["float"], ["brightest"], keepdims=0),
        helper.make_node("Greater", ["brightest", "limit"], ["bright"]),
        helper.make_node("Loop", ["", "bright", "straight"], ["map"], body=body),
    ]


def _model(*, hangs: bool = False) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["float", "zero", "one", "axis"], ["red"]),
        helper.make_node("Div", ["red", "white"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["map"], perm=[0, 3, 1, 2]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [3]),
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
    ]
    if hangs:
        _endless(nodes, constants)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
