"""Publishers of results: one an output, with the header of the frame; a frame without findings is published too."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

from runtime.contract.node.runtime_config import ModelRuntime, OutputBinding
from runtime.decoding.decoders import OptionError, Result, result_of
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.command_kinds import MissingMessageError, commands, kind_of
from runtime.executor.outputs.command_output import CommandOutput
from runtime.executor.outputs.listeners import unheard
from runtime.executor.outputs.messages import HAS_VISION_MSGS, NO_VISION_MSGS, message_of, more_of
from runtime.executor.outputs.model_info import ModelInfo
from runtime.executor.robot.commanders import Identity
from runtime.executor.robot.graph import identity_of
from runtime.executor.robot.serving_gate import ServingGate
from runtime.executor.serving.candidates import Publish, Unpublished
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
    "this middleware's GIDs do not name processes: a publisher of commands that died counts as another commander for "
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
    """Everything that the node publishes of its models: results, commands, and what they are."""

    def __init__(self, node: LifecycleNode, gate: ServingGate) -> None:
        self._node, self._gate = node, gate
        self._identity: Identity | None = None
        self._results: list[ResultPublisher] = []
        self._commands: list[tuple[Pipeline, CommandOutput]] = []
        self._infos: list[ModelInfo] = []
        self._senders: list[tuple[Pipeline, ResultPublisher | CommandOutput]] = []
        self._listened_at = -LISTEN_S

    def make(self, model: Pipeline) -> dict[str, Publish]:
        """Return what sends the results of each output topic of ``model``. An output whose decoder cannot be made has
        none: loading the model says why."""
        made: dict[str, Publish] = {}
        self._infos.append(ModelInfo(self._node, model))
        for output in model.model.outputs:
            try:
                result = result_of(output.decoder)
                if commands(result):
                    made[output.topic] = self._guarded(model, output, result)
                    continue
            except OptionError:
                continue
            sender = ResultPublisher(self._node, model.model, output, result)
            self._results.append(sender)
            self._senders.append((model, sender))
            made[output.topic] = sender
        return made

    def _guarded(self, model: Pipeline, output: OutputBinding, result: type[Any]) -> CommandOutput | Unpublished:
        """Return what sends commands. Raises OptionError for the decoder's options."""
        topic = str(self._node.resolve_topic_name(output.topic))
        try:
            kind = kind_of(
                result,
                output.options,
                lambda name: str(self._node.resolve_topic_name(name)),
                lambda: int(self._node.get_clock().now().nanoseconds),
            )
        except MissingMessageError as error:
            return Unpublished(str(error))
        if topic == kind.measured_topic:
            return Unpublished(f"{topic} is what is measured of the joints: the output would hear itself; remap one")
        self._identity = self._identity or identity_of(self._node)
        guarded = CommandOutput(self._node, model.model.name, topic, kind, self._identity, self._gate)
        self._commands.append((model, guarded))
        self._senders.append((model, guarded))
        return guarded

    @property
    def _all(self) -> list[ResultPublisher | CommandOutput | ModelInfo]:
        return [*self._results, *(command for _, command in self._commands), *self._infos]

    def open(self) -> None:
        """Let every publisher exist: only while the node serves. Two nodes that take turns are never both heard."""
        for publisher in self._all:
            publisher.open()

    def close(self) -> None:
        """Take every publisher away; commands stop first."""
        self.stop("the node does not serve")
        for publisher in self._all:
            publisher.close()

    def wait_alone(self, timeout_s: float) -> None:
        """Wait until the node that served before is gone from the command topics, at most ``timeout_s``, so that
        nobody sees both. A dead one's publishers are seen for longer, and do not matter (:class:`Claim`)."""
        end = time.monotonic() + timeout_s
        while any(command.others() for _, command in self._commands) and time.monotonic() < end:
            time.sleep(ALONE_POLL_S)

    def watch(self) -> None:
        """Look at who is on the command topics. Called often, whether the node serves or not."""
        for _, command in list(self._commands):
            command.watch()

    @property
    def looked(self) -> bool:
        """Whether all that command the robot have looked for others for long enough."""
        return all(command.looked for _, command in list(self._commands))

    def start(self) -> None:
        """Begin to command the robot (velocities at zero), each as soon as nobody else commands its topic."""
        uses = Counter(command.topic for _, command in self._commands)
        for model, command in self._commands:
            command.shared = uses[command.topic] > 1
            command.start()
            if model.state == FAILED:
                command.failed(model.stats.last_error)

    def stop(self, reason: str) -> None:
        """Send the last command (a velocity: zero), and nothing after it.

        From any thread; before anything that may take long.
        """
        for _, command in self._commands:
            command.stop(reason)

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
        if self._commands and self._identity is not None and self._identity.participant is None:
            note = (*note, NO_PARTICIPANT)
        if self._commands and self._gate.record_problem:
            note = (*note, self._gate.record_problem)
        return (*note, *(command.note for _, command in self._commands if command.note))

    def destroy(self) -> None:
        """Forget all outputs."""
        self.close()
        self._results, self._commands, self._infos, self._senders = [], [], [], []
