"""What comes in: a subscription a topic, best effort, depth 1, however many models listen; a timer a rate."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from runtime.contract.node.inputs import COMPRESSED_IMAGE
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import InputAdapter, Taken, adapter_for
from runtime.executor.inputs.frames import FrameRefusedError, Stamp
from runtime.executor.inputs.mixed_publishers import MixedPublishers
from runtime.executor.inputs.publisher_names import described, foreign, full_name
from runtime.executor.inputs.refusals import Refusals
from runtime.executor.inputs.same_host import DATAGRAM_BYTES, host_of, others
from runtime.executor.inputs.sequence_counter import SequenceCounter
from runtime.executor.inputs.steady_timer import steady_timer
from runtime.executor.inputs.synchronizer import Pending
from runtime.health.process.message_sizes import message_bytes

#: Newest frame only: with a depth of 5, a slow model's frames were 150 ms old instead of 23.
SENSOR_QOS = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
#: Older rclpy hands no message info to callbacks; there, only frames replaced in the slot are counted as dropped.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")
GUID_BYTES = 16
"""Of a GID that name the publisher; some middlewares pad it."""
LOOK_S = 2.0
"""Between two looks at what types the topics are published with."""


class FedStats(Protocol):
    """Where what arrives for a model, or is refused, is counted."""

    by_udp: tuple[str, ...]
    mixed: tuple[str, ...]

    def refused(self, reason: str, lost: int = ..., kind: str = ...) -> None:
        """Count a message that cannot be used."""
        ...

    def refused_input(self, reason: str, lost: int, name: str = ..., kind: str = ...) -> None:
        """Count a message of one input that cannot be used, after ``lost`` that never arrived."""
        ...


class FedModel(Protocol):
    """What subscriptions need of a model; `runtime.executor.serving.pipeline.Pipeline` is one."""

    @property
    def model(self) -> ModelRuntime:
        """Its configuration."""
        ...

    @property
    def stats(self) -> FedStats:
        """Its numbers."""
        ...

    def offer(self, tensor: str, pending: Pending, lost: int) -> None:
        """Leave the newest frame of an input; ``lost`` messages before it never arrived."""
        ...

    def tick(self) -> None:
        """A period of the model's rate begins."""
        ...

    def refuse(self, reason: str) -> None:
        """Do not serve: an input cannot be fed."""
        ...


@dataclass(frozen=True, slots=True)
class Listener:
    """One model input fed by a topic."""

    model: FedModel
    tensor: str


class Source:
    """One way to take a topic's messages, and the model inputs that take them so."""

    def __init__(self, adapter: InputAdapter, now_ns: Callable[[], int], *, by_arrival: bool = False) -> None:
        """``by_arrival``: the publisher's clock is not the robot's, so a frame's time is when it arrived."""
        self.listeners: list[Listener] = []
        self._adapter, self._now_ns, self._by_arrival = adapter, now_ns, by_arrival

    def take(self, message: bytes, lost: int) -> FrameRefusedError | None:
        """Parse, check, swap a reference in the slot of every listener. Returns why it was refused."""
        try:
            taken = self._adapter.take(message)
        except FrameRefusedError as error:
            self._refuse(error, lost)
            return error
        pending = self._pending(taken)
        for listener in self.listeners:
            listener.model.offer(listener.tensor, pending, lost)
        return None

    def _pending(self, taken: Taken) -> Pending:
        arrived, steady_s = self._now_ns(), time.monotonic()
        own = taken.stamp
        if own is None or self._by_arrival:
            frame_id = "" if own is None else own.frame_id
            stamp = Stamp(arrived // 1_000_000_000, arrived % 1_000_000_000, frame_id, steady_s)
        else:
            stamp = Stamp(own.sec, own.nanosec, own.frame_id, steady_s)
        return Pending(stamp, taken.data, self._adapter.fill, arrived)

    def _refuse(self, error: FrameRefusedError, lost: int) -> None:
        for listener in self.listeners:
            listener.model.stats.refused_input(str(error), lost, listener.tensor, error.kind)


class Topic:
    """Takes serialized messages of one topic. Runs on the spin thread, microseconds a message; never raises."""

    def __init__(self, name: str, kind: str, refusals: Refusals) -> None:
        self.name, self.kind = name, kind
        self.sources: dict[str, Source] = {}
        """By what they make of a message: inputs that want the same share one."""
        self._sequence, self._publishers = SequenceCounter(), MixedPublishers()
        self._refusals = refusals
        self._other_types: set[str] = set()
        self.large = False
        """Its messages do not fit into one datagram."""

    def listen(self, model: FedModel, binding: InputBinding, now_ns: Callable[[], int]) -> None:
        """Feed one input. Raises OptionError when its adapter cannot be made."""
        key = repr(replace(binding, tensor="", network_height=0, network_width=0, offset_s=0.0))
        if key not in self.sources:
            self.sources[key] = Source(adapter_for(binding), now_ns, by_arrival=binding.stamp == "arrival")
            self.large |= binding.type != COMPRESSED_IMAGE and message_bytes(binding) > DATAGRAM_BYTES
        self.sources[key].listeners.append(Listener(model, binding.tensor))

    def take(self, message: bytes) -> None:
        """Handle a message about which the middleware tells nothing."""
        self.take_with_info(message, {})

    def take_with_info(self, message: bytes, info: dict[str, Any]) -> None:
        """Handle one message."""
        publisher = info.get("publisher_gid") or {}
        gid = publisher.get("data", b"")
        if gid:
            self._publishers.heard(gid, time.monotonic())
        lost = self._sequence.lost_before(gid, info.get("publication_sequence_number"))
        for source in self.sources.values():
            refused = source.take(message, lost)
            if refused is not None:
                self._refusals(self.name, refused.kind, str(refused))

    def published_as(self, kinds: Iterable[str]) -> None:
        """Note publishers whose messages never arrive, because their type is another one."""
        wrong = {kind for kind in kinds if kind != self.kind}
        for kind in sorted(wrong - self._other_types):
            reason = f"{self.name} is published as {kind}, expected {self.kind}"
            for source in self.sources.values():
                for listener in source.listeners:
                    listener.model.stats.refused(reason, kind="wrong_type")
            self._refusals(self.name, "wrong_type", reason)
        self._other_types = wrong

    def mixed(self, names: Mapping[bytes, str]) -> str:
        """Say whose messages are mixed on it; empty when they are one publisher's. ``names``: by publisher's GID."""
        found = self._publishers.mixed(time.monotonic())
        if len(found) < 2:
            return ""
        who = ", ".join(sorted(names.get(bytes(gid)[:GUID_BYTES], "one without a name") for gid in found))
        return f"{self.name}: messages of {len(found)} publishers are mixed: {who}; stop or remap all but one"

    def models(self) -> set[FedModel]:
        """Return the models that take it."""
        return {listener.model for source in self.sources.values() for listener in source.listeners}


class Intake:
    """Everything that brings frames to a node's models, from its making to ``close``."""

    def __init__(self, node: Node, models: Iterable[FedModel], now_ns: Callable[[], int]) -> None:
        """Subscribe and start timers. A model whose messages are not installed here is refused, with the reason."""
        self._node = node
        self._topics: dict[tuple[str, str], Topic] = {}
        self._timers: list[Timer] = []
        refusals = Refusals(node.get_logger().warning, time.monotonic)
        for model in models:
            if (reason := self._feed(model, refusals, now_ns)) is not None:
                model.refuse(reason)
            elif model.model.trigger.rate_hz > 0.0:  # by the node's clock, as all that a robot does by time
                self._timers.append(node.create_timer(1.0 / model.model.trigger.rate_hz, model.tick))
        self._subscriptions = [
            node.create_subscription(message_type(topic.kind), topic.name, _callback(topic), SENSOR_QOS, raw=True)
            for topic in self._topics.values()
        ]
        self._timers.append(steady_timer(node, LOOK_S, self._look))

    def close(self) -> None:
        """Take nothing any more."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._timers, self._subscriptions = [], []
        for topic in self._topics.values():
            for model in topic.models():
                model.stats.by_udp = model.stats.mixed = ()

    def _feed(self, model: FedModel, refusals: Refusals, now_ns: Callable[[], int]) -> str | None:
        """Find a topic for every input; return why that cannot be."""
        for binding in model.model.inputs:
            if binding.from_model:
                continue
            taken = next((kind for name, kind in self._topics if name == binding.topic and kind != binding.type), None)
            if taken is not None:
                return f"{binding.topic} is {taken} for another model, and {binding.type} for this one"
            try:
                message_type(binding.type)
                topic = Topic(binding.topic, binding.type, refusals)
                self._topics.setdefault((binding.topic, binding.type), topic).listen(model, binding, now_ns)
            except (ImportError, AttributeError, OptionError) as error:
                self._topics = {key: topic for key, topic in self._topics.items() if topic.sources}
                return f"input {binding.tensor!r} of type {binding.type} cannot be taken here: {error}"
        return None

    def _look(self) -> None:
        by_udp: dict[FedModel, list[str]] = {}
        mixed: dict[FedModel, list[str]] = {}
        for topic in self._topics.values():
            publishers = self._node.get_publishers_info_by_topic(topic.name)
            topic.published_as(info.topic_type for info in publishers)
            own = self._own_subscriptions(topic.name)
            ours = next((host for info in own if (host := host_of(info.endpoint_gid)) is not None), None)
            said = topic.mixed({bytes(info.endpoint_gid)[:GUID_BYTES]: described(info, ours) for info in publishers})
            full = self._node.resolve_topic_name(topic.name)
            others_said = foreign(full, self._node.get_namespace(), publishers, ours)
            for model in topic.models():
                mixed.setdefault(model, []).extend([*([said] if said else []), *others_said])
            if topic.large:
                gids = [info.endpoint_gid for info in own]
                far = others(gids, ((full_name(info), info.endpoint_gid) for info in publishers))
                found = [f"{topic.name} from {node}" for node in far]
                for model in topic.models():
                    by_udp.setdefault(model, []).extend(found)
        for model, found in by_udp.items():
            model.stats.by_udp = tuple(found)
        for model, found in mixed.items():
            self._note_mixed(model, tuple(found))

    def _note_mixed(self, model: FedModel, found: tuple[str, ...]) -> None:
        for said in found:
            if said not in model.stats.mixed:
                self._node.get_logger().warning(said)
        model.stats.mixed = found

    def _own_subscriptions(self, topic: str) -> Sequence[Any]:
        own = (self._node.get_namespace(), self._node.get_name())
        listening = self._node.get_subscriptions_info_by_topic(topic)
        return [info for info in listening if (info.node_namespace, info.node_name) == own]


def message_type(name: str) -> Any:
    """Return the class of ``package/msg/Name``. Raises ImportError, AttributeError when it is not installed."""
    package, _, message = name.partition("/msg/")
    return getattr(importlib.import_module(f"{package}.msg"), message)


def _callback(topic: Topic) -> Callable[..., None]:
    return topic.take_with_info if HAS_MESSAGE_INFO else topic.take
