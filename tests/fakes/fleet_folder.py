"""A small valid fleet on disk: real YAML, a real ONNX model, golden and calibration data that fit it."""

from __future__ import annotations

import copy
import hashlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HEIGHT, WIDTH = 12, 16
"""The camera's frames."""
TENSOR = (1, 3, 8, 8)
"""The model's input."""

PROFILE: dict[str, Any] = {
    "name": "sim-x86",
    "platform": "linux/amd64",
    "backend": "onnxruntime",
    "base_image": "debian:bookworm",
    "ros_distro": "kilted",
    "power_modes": ["15W", "MAXN"],
}

MODEL: dict[str, Any] = {
    "name": "detector",
    "source": {"path": "onnx/detector.onnx", "sha256": ""},
    "inputs": [
        {
            "tensor": "image",
            "shape": list(TENSOR),
            "topic": "/camera/image_raw",
            "encoding": "rgb8",
            "width": WIDTH,
            "height": HEIGHT,
            "preprocess": {"color": "bgr", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
            "min_rate": 1.0,
        }
    ],
    "outputs": [{"tensor": "scores", "topic": "~/detector/scores", "decoder": {"name": "tensor"}}],
    "precisions": {"int8": {"calibration": "calibration"}},
    "golden": {"data": "golden/detector.npz"},
    "gates": {"accuracy": {"int8": {"min_cosine": 0.9}}, "latency_p99": {"sim-x86": "250ms"}},
}

FLEET: dict[str, Any] = {
    "apiVersion": "jetfleet/v1",
    "fleet": "testing",
    "version": "1.0.0",
    "registry": {"address": "registry.test:5000/testing", "plain_http": True},
    "trust": "unsigned",
    "profiles": ["profiles/sim-x86.yaml"],
    "models": ["models/detector.yaml"],
    "defaults": {"profile": "sim-x86", "user": "jetson"},
    "groups": {
        "amr": {"labels": {"site": "hall-1"}, "models": [{"model": "detector", "precision": "fp32"}]},
        "scout": {"labels": {"site": "hall-2"}, "models": [{"model": "detector", "precision": "fp16"}]},
    },
    "robots": [
        {"name": "amr-001", "host": "10.0.0.11", "group": "amr"},
        {"name": "amr-002", "host": "10.0.0.12", "group": "amr"},
        {"name": "scout-001", "host": "10.0.0.13", "group": "scout"},
    ],
    "rollout": {"waves": [1, "100%"], "soak": "1s"},
}


def write_fleet(path: Path, **changes: Any) -> Path:
    """Write the fleet into ``path`` and return it.

    ``changes``: ``fleet``, ``profile`` and ``model`` are mappings merged deeply into the three files (None takes a key
    away); ``fleet_text``, ``profile_text``, ``model_text`` replace a file's text (str or bytes) altogether;
    ``onnx``, ``golden`` and ``calibration`` replace data: bytes, ``dict`` of arrays, number of samples.
    """
    unknown = set(changes) - {"fleet", "profile", "model", "fleet_text", "profile_text", "model_text"}
    unknown -= {"onnx", "golden", "calibration"}
    if unknown:
        raise TypeError(f"write_fleet has no {sorted(unknown)}")
    onnx = changes.get("onnx", tiny_onnx())
    model = copy.deepcopy(MODEL)
    model["source"]["sha256"] = hashlib.sha256(onnx).hexdigest()
    _write_yaml(path / "fleet.yaml", FLEET, changes, "fleet")
    _write_yaml(path / "profiles" / "sim-x86.yaml", PROFILE, changes, "profile")
    _write_yaml(path / "models" / "detector.yaml", model, changes, "model")
    _write(path / "models" / "onnx" / "detector.onnx", onnx)
    golden = changes.get("golden", {"image": frames(2, seed=1)})
    _write(path / "models" / "golden" / "detector.npz", golden if isinstance(golden, bytes) else npz(golden))
    for index in range(changes.get("calibration", 8)):
        _write(path / "models" / "calibration" / f"{index:03}.npz", npz({"image": frames(1, seed=100 + index)}))
    return path


def frames(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return camera frames, uint8 of shape (count, HEIGHT, WIDTH, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def npz(arrays: dict[str, Any]) -> bytes:
    """Return the bytes of an .npz file."""
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@lru_cache(maxsize=4)
def tiny_onnx(seed: int = 0) -> bytes:
    """Return a real model: Conv → Relu → GlobalAveragePool → Flatten, ``image`` (1, 3, ?, ?) to ``scores`` (1, 4)."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["positive"]),
            helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def _write_yaml(path: Path, base: dict[str, Any], changes: dict[str, Any], key: str) -> None:
    text = changes.get(f"{key}_text")
    if text is None:
        text = yaml.safe_dump(_merged(base, changes.get(key, {})), sort_keys=False)
    _write(path, text.encode() if isinstance(text, str) else text)


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
