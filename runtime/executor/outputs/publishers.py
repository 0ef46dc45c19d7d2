"""Publishers of results: one an output, with the header of the frame; a frame without findings is published too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from runtime.contract.node.runtime_config import ModelRuntime, OutputBinding
from runtime.decoding.decoders import OptionError, Result, Velocity, result_of
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.listeners import unheard
from runtime.executor.outputs.messages import HAS_VISION_MSGS, NO_VISION_MSGS, message_of, more_of
from runtime.executor.outputs.model_info import ModelInfo
from runtime.executor.outputs.velocity_output import VelocityOutput
from runtime.executor.robot.commanders import Identity
from runtime.executor.robot.graph import identity_of
from runtime.executor.robot.serving_gate import ServingGate
from runtime.executor.serving.candidates import Publish
from runtime.executor.serving.pipeline import FAILED, Pipeline

__all__ = ["HAS_VISION_MSGS", "NO_VISION_MSGS", "NodeOutputs", "ResultPublisher"]

RESULT_QOS = QoSProfile(
    depth=5,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
    liveliness=LivelinessPolicy.AUTOMATIC,
)

LISTEN_S = 2.0
"""Between two looks at who listens, and to what."""
ALONE_POLL_S = 0.01
"""Between two looks at who else publishes."""
NO_PARTICIPANT = (
    "this middleware's GIDs do not name processes: a publisher of velocities that died counts as another commander for "
    "as long as the graph shows it"
)


class ResultPublisher:
    """Sends the results of one output of one model, between ``open`` and ``close``: on its topic, and what belongs to
    them (masks, keypoints) on topics below it, with the same stamp."""

    def __init__(self, node: LifecycleNode, model: ModelRuntime, output: OutputBinding, result: type[Any]) -> None:
        self._node = node
        first = {output.topic: message_of(result, model.name, output.options)}
        below = {f"{output.topic}/{word}": kind_and_build for word, kind_and_build in more_of(result).items()}
        self._parts = {**first, **below}
        self._lock = threading.Lock()
        self._publishers: dict[str, Any] = {}

    def __call__(self, stamp: Stamp, result: Result) -> None:
        """Publish one result. Runs on the worker thread."""
        with self._lock:  # an inference that ends after the node stopped serving has no publishers
            for topic, publisher in self._publishers.items():
                publisher.publish(self._parts[topic][1](stamp, result))

    def listened(self) -> tuple[str, ...]:
        """Return who listens and never hears anything, and why."""
        return tuple(
            found
            for topic, (kind, _) in self._parts.items()
            for found in unheard(self._node, self._node.resolve_topic_name(topic), kind, RESULT_QOS)
        )

    def open(self) -> None:
        """Let the publishers exist."""
        with self._lock:
            for topic, (kind, _) in self._parts.items():
                if topic not in self._publishers:
                    self._publishers[topic] = self._node.create_lifecycle_publisher(kind, topic, RESULT_QOS)

    def close(self) -> None:
        """Take them away."""
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_lifecycle_publisher(publisher)
            self._publishers.clear()


class NodeOutputs:
    """Everything that the node publishes of its models: results, velocities, and what they are."""

    def __init__(self, node: LifecycleNode, gate: ServingGate) -> None:
        self._node, self._gate = node, gate
        self._identity: Identity | None = None
        self._results: list[ResultPublisher] = []
        self._velocities: list[tuple[Pipeline, VelocityOutput]] = []
        self._infos: list[ModelInfo] = []
        self._senders: list[tuple[Pipeline, ResultPublisher | VelocityOutput]] = []
        self._listened_at = -LISTEN_S

    def make(self, model: Pipeline) -> dict[str, Publish]:
        """Return what sends the results of each output topic of ``model``. An output whose decoder cannot be made has
        none: loading the model says why."""
        made: dict[str, Publish] = {}
        self._infos.append(ModelInfo(self._node, model))
        for output in model.model.outputs:
            try:
                result = result_of(output.decoder)
                if result is Velocity:
                    self._identity = self._identity or identity_of(self._node)
                    guarded = VelocityOutput(self._node, model.model.name, output, self._identity, self._gate)
                    self._velocities.append((model, guarded))
                    self._senders.append((model, guarded))
                    made[output.topic] = guarded
                    continue
            except OptionError:
                continue
            sender = ResultPublisher(self._node, model.model, output, result)
            self._results.append(sender)
            self._senders.append((model, sender))
            made[output.topic] = sender
        return made

    @property
    def _all(self) -> list[ResultPublisher | VelocityOutput | ModelInfo]:
        return [*self._results, *(velocity for _, velocity in self._velocities), *self._infos]

    def open(self) -> None:
        """Let every publisher exist: only while the node serves. Two nodes that take turns are never both heard."""
        for publisher in self._all:
            publisher.open()

    def close(self) -> None:
        """Take every publisher away; velocities stop first."""
        self.stop("the node does not serve")
        for publisher in self._all:
            publisher.close()

    def wait_alone(self, timeout_s: float) -> None:
        """Wait until the node that served before is gone from the velocity topics, at most ``timeout_s``, so that
        nobody sees both. A dead one's publishers are seen for longer, and do not matter (:class:`Claim`)."""
        end = time.monotonic() + timeout_s
        while any(velocity.others() for _, velocity in self._velocities) and time.monotonic() < end:
            time.sleep(ALONE_POLL_S)

    def watch(self) -> None:
        """Look at who is on the velocity topics. Called often, whether the node serves or not."""
        for _, velocity in list(self._velocities):
            velocity.watch()

    @property
    def looked(self) -> bool:
        """Whether all that command velocities have looked for others for long enough."""
        return all(velocity.looked for _, velocity in list(self._velocities))

    def start(self) -> None:
        """Begin to command velocities, at zero, each as soon as nobody else commands its topic."""
        uses = Counter(velocity.topic for _, velocity in self._velocities)
        for model, velocity in self._velocities:
            velocity.shared = uses[velocity.topic] > 1
            velocity.start()
            if model.state == FAILED:
                velocity.failed(model.stats.last_error)

    def stop(self, reason: str) -> None:
        """Command zero, and nothing after it. From any thread; before anything that may take long."""
        for _, velocity in self._velocities:
            velocity.stop(reason)

    def announce(self) -> None:
        """Publish what the models are, where that changed."""
        for info in list(self._infos):  # the transition that adds or takes away runs on another thread
            info.announce()
        now = time.monotonic()
        if now - self._listened_at >= LISTEN_S:
            self._listened_at = now
            self._note_listeners()

    def _note_listeners(self) -> None:
        """Look who listens to each model's outputs in vain; the log has what changed."""
        found: dict[int, tuple[Pipeline, list[str]]] = {}
        for model, sender in list(self._senders):
            found.setdefault(id(model), (model, []))[1].extend(sender.listened())
        for model, said in found.values():
            for line in said:
                if line not in model.stats.unheard:
                    self._node.get_logger().warning(f"{model.model.name}: {line}")
            model.stats.unheard = tuple(said)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        note = () if HAS_VISION_MSGS else (NO_VISION_MSGS,)
        if self._velocities and self._identity is not None and self._identity.participant is None:
            note = (*note, NO_PARTICIPANT)
        if self._velocities and self._gate.record_problem:
            note = (*note, self._gate.record_problem)
        return (*note, *(velocity.note for _, velocity in self._velocities if velocity.note))

    def destroy(self) -> None:
        """Forget all outputs."""
        self.close()
        self._results, self._velocities, self._infos, self._senders = [], [], [], []
