"""Subscriptions: one per topic, best effort, depth 1, however many models listen to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from runtime.contract.runtime_config import InputBinding
from runtime.executor.frames import Expected, Frame, FrameRefusedError, parse_image, pixels
from runtime.executor.pipeline import Pending, Pipeline
from runtime.executor.stats import SequenceCounter

#: Newest frame only: with a depth of 5, a slow model's frames were 150 ms old instead of 23.
SENSOR_QOS = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
#: Older rclpy hands no message info to callbacks; there, only frames replaced in the slot are counted as dropped.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")


@dataclass(frozen=True, slots=True)
class Listener:
    """One model input fed by a topic."""

    model: Pipeline
    tensor: str
    expected: Expected


class ImageTopic:
    """Takes serialized images of one topic, and leaves each in the slots of the models that listen."""

    def __init__(self, listeners: list[Listener]) -> None:
        self._listeners = listeners
        self._sequence = SequenceCounter()

    def take(self, message: bytes) -> None:
        """Handle a message about which the middleware tells nothing."""
        self.take_with_info(message, {})

    def take_with_info(self, message: bytes, info: dict[str, Any]) -> None:
        """Handle one message: parse, check, swap a reference. Runs on the spin thread, microseconds."""
        publisher = info.get("publisher_gid") or {}
        lost = self._sequence.lost_before(publisher.get("data", b""), info.get("publication_sequence_number"))
        try:
            frame = parse_image(message)
        except FrameRefusedError as error:
            for listener in self._listeners:
                listener.model.stats.refused_input(str(error), lost)
            return
        for listener in self._listeners:
            _hand_over(listener, frame, lost)


def _hand_over(listener: Listener, frame: Frame, lost: int) -> None:
    try:
        view = pixels(frame, listener.expected)
    except FrameRefusedError as error:
        listener.model.stats.refused_input(str(error), lost)
    else:
        listener.model.offer(listener.tensor, Pending(frame.stamp, view), lost)


def subscribe(node: Node, models: Iterable[Pipeline]) -> list[Subscription[Any]]:
    """Subscribe to every topic that feeds one of ``models``."""
    topics: dict[str, list[Listener]] = {}
    for model in models:
        for binding in model.model.inputs:
            topics.setdefault(binding.topic, []).append(Listener(model, binding.tensor, _expected(binding)))
    return [
        node.create_subscription(Image, topic, _callback(ImageTopic(listeners)), SENSOR_QOS, raw=True)
        for topic, listeners in topics.items()
    ]


def _callback(topic: ImageTopic) -> Callable[..., None]:
    return topic.take_with_info if HAS_MESSAGE_INFO else topic.take


def _expected(binding: InputBinding) -> Expected:
    return Expected(binding.encoding, binding.height, binding.width)
