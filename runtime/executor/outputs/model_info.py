"""What a model is, latched: whoever subscribes late is told too. Nothing of a release or a robot is in it."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from runtime.executor.serving.pipeline import Pipeline

try:
    from vision_msgs.msg import VisionInfo
except ImportError:
    VisionInfo = None

LATCHED_QOS = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class ModelInfo:
    """Publishes one model's info while the node serves, and again when its engine is another one."""

    def __init__(self, node: LifecycleNode, model: Pipeline) -> None:
        self._node, self._model = node, model
        self._told: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._info: Any = None
        self._vision: Any = None

    def open(self) -> None:
        """Let the publishers exist. What was told before is told again."""
        below = f"~/{topic_token(self._model.model.name)}"
        with self._lock:
            if self._info is not None:
                return
            self._told = None
            self._info = self._node.create_publisher(String, f"{below}/info", LATCHED_QOS)
            if VisionInfo is not None:
                self._vision = self._node.create_publisher(VisionInfo, f"{below}/vision_info", LATCHED_QOS)

    def announce(self) -> None:
        """Publish where it changed. Runs on the spin thread, a few times a second."""
        engine = self._model.slot.engine
        if engine is None:
            return
        facts = model_facts(self._model, engine.identity.precision, engine.identity.key)
        with self._lock:
            if self._info is None or facts == self._told:
                return
            self._told = facts
            self._info.publish(String(data=json.dumps(facts, separators=(",", ":"))))
            if self._vision is not None:
                self._vision.publish(vision_info(facts, self._info.topic_name))

    def close(self) -> None:
        """Take the publishers away."""
        with self._lock:
            for publisher in (self._info, self._vision):
                if publisher is not None:
                    self._node.destroy_publisher(publisher)
            self._info = self._vision = None


def model_facts(model: Pipeline, precision: str, engine_key: str) -> dict[str, Any]:
    """Return what is told of a model: name, precision, engine, inputs and outputs with their labels."""
    return {
        "model": model.model.name,
        "precision": precision,
        "engine_key": engine_key,
        "inputs": [{"tensor": one.tensor, "topic": one.topic, "type": one.type} for one in model.model.inputs],
        "outputs": [
            {
                **({"tensors": dict(one.tensors)} if one.tensors else {"tensor": one.tensor}),
                "topic": one.topic,
                "decoder": one.decoder,
                "labels": list(one.options.get("labels") or ()),
            }
            for one in model.model.outputs
        ],
    }


def vision_info(facts: dict[str, Any], topic: str) -> Any:
    """The same as vision_msgs/VisionInfo, whose ``database_location`` says where the labels are: on the info topic."""
    method = f"{facts['model']} {facts['precision']} {facts['engine_key']}"
    return VisionInfo(method=method, database_location=f"topic:{topic}")


def topic_token(name: str) -> str:
    """Return a model's name as ROS takes it in a topic: letters, digits and ``_``, no digit first."""
    token = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{token}" if token[0].isdigit() else token
