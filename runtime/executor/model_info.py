"""What a model is, latched: whoever subscribes late is told too. Nothing of a release or a robot is in it."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from runtime.executor.pipeline import Pipeline

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
    """Publishes one model's info when its engine is loaded, and again when it is another one."""

    def __init__(self, node: LifecycleNode, model: Pipeline) -> None:
        self._node, self._model = node, model
        self._told: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._there = True
        below = f"~/{topic_token(model.model.name)}"
        # Not a lifecycle publisher: what a model is can be asked while the node is inactive, too.
        self._info = node.create_publisher(String, f"{below}/info", LATCHED_QOS)
        self._vision = (
            None if VisionInfo is None else node.create_publisher(VisionInfo, f"{below}/vision_info", LATCHED_QOS)
        )

    def announce(self) -> None:
        """Publish where it changed. Runs on the spin thread, a few times a second."""
        engine = self._model.engine
        if engine is None:
            return
        facts = model_facts(self._model, engine.identity.precision, engine.identity.key)
        if facts == self._told:
            return
        with self._lock:
            if not self._there:
                return
            self._told = facts
            self._info.publish(String(data=json.dumps(facts, separators=(",", ":"))))
            if self._vision is not None:
                self._vision.publish(vision_info(facts, self._info.topic_name))

    def destroy(self) -> None:
        """Take the publishers away."""
        with self._lock:
            self._there = False
        self._node.destroy_publisher(self._info)
        if self._vision is not None:
            self._node.destroy_publisher(self._vision)


def model_facts(model: Pipeline, precision: str, engine_key: str) -> dict[str, Any]:
    """Return what is told of a model: name, precision, engine, inputs and outputs with their labels."""
    return {
        "model": model.model.name,
        "precision": precision,
        "engine_key": engine_key,
        "inputs": [{"tensor": one.tensor, "topic": one.topic, "type": one.type} for one in model.model.inputs],
        "outputs": [
            {
                "tensor": one.tensor,
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
