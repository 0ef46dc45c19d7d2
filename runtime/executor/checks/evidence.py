"""`python3 -m runtime.executor.checks.evidence --seconds S`: hash engine files, listen to output topics, print JSON.

The agent starts it for `/verify`: a process of its own hears what is really published, and neither the agent's memory
nor the executor's threads pay for it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.contract.codec import canonical_json
from runtime.contract.node.ros_settings import ros_names
from runtime.contract.node.runtime_config import CONFIG_PATH, ENGINES_DIR, RuntimeConfig
from runtime.contract.robot.verification import DEFAULT_SECONDS, MAX_SECONDS, VERIFY_MARGIN_S
from runtime.engines.errors import EngineError
from runtime.engines.store import load_engine_dir
from runtime.executor.serving.loading import engine_folder
from runtime.health.checks.evidence import EngineEvidence, Evidence, TopicEvidence, fallback_of
from runtime.health.settings import ENV_CONFIG, load_config

ENV_ENGINES_DIR = "JETFLEET_ENGINES_DIR"
DISCOVERY_S = 10.0
"""Longest wait for publishers to be found."""


def main() -> int:
    """Collect evidence and print it."""
    parser = argparse.ArgumentParser(prog="evidence", description=__doc__)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="how long to listen")
    seconds = min(max(parser.parse_args().seconds, 0.1), MAX_SECONDS)
    signal.alarm(int(seconds + VERIFY_MARGIN_S))  # nobody may be left to end this process
    os.nice(5)
    config = load_config(Path(os.environ.get(ENV_CONFIG) or CONFIG_PATH))
    engines: dict[str, EngineEvidence] = {}
    folder = Path(os.environ.get(ENV_ENGINES_DIR) or ENGINES_DIR)
    hashing = threading.Thread(target=lambda: engines.update(engine_evidence(config, folder)))
    hashing.start()
    topics, error = _heard(config, seconds)
    hashing.join()
    sys.stdout.write(canonical_json(Evidence(engines, topics, seconds, error)).decode() + "\n")
    sys.stdout.flush()
    return 0


def engine_evidence(config: RuntimeConfig, folder: Path) -> dict[str, EngineEvidence]:
    """Read every engine of the configuration from first to last byte, those that would stand in for others too."""
    found = {engine.name: _read_engine(engine_folder(folder, engine)) for engine in config.models}
    for model in config.models:
        there = model.fallback
        if there is not None:
            stands_in = replace(model, name=there.model, precision=there.precision)
            found[fallback_of(model.name)] = _read_engine(engine_folder(folder, stands_in))
    return found


def _read_engine(folder: Path) -> EngineEvidence:
    try:
        identity, _ = load_engine_dir(folder)
    except (EngineError, OSError) as error:
        return EngineEvidence(error=str(error))
    return EngineEvidence(identity.key, identity.engine_sha256, identity.engine_bytes)


def _heard(config: RuntimeConfig, seconds: float) -> tuple[dict[str, TopicEvidence], str]:
    """Return what is heard on every output topic, or why nothing can be."""
    wanted = sorted({output.topic for model in config.models for output in model.outputs})
    try:
        import rclpy
        from rclpy.node import Node
    except ImportError as error:
        return {}, f"rclpy cannot be imported: {error}"
    names = ros_names(os.environ)
    rclpy.init(args=["--ros-args", "--disable-external-lib-logs", *names.arguments()])
    try:
        node = Node(f"jetfleet_verify_{os.getpid()}")
        try:
            return listen(node, {topic: names.resolved(topic, config.node_name) for topic in wanted}, seconds), ""
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def listen(node: Any, topics: dict[str, str], seconds: float) -> dict[str, TopicEvidence]:
    """Count messages on ``topics`` (name to report → full name) for ``seconds``, once their publishers are found."""
    import rclpy

    counts = dict.fromkeys(topics, 0)
    publishers = _subscribe(node, topics, counts)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.0:
        rclpy.spin_once(node, timeout_sec=min(left, 0.1))
    return {topic: TopicEvidence(publishers.get(topic, 0), counts[topic]) for topic in topics}


def _subscribe(node: Any, topics: dict[str, str], counts: dict[str, int]) -> dict[str, int]:
    """Subscribe to each topic as soon as somebody publishes it; return publishers by topic."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data

    publishers: dict[str, int] = {}
    end = time.monotonic() + DISCOVERY_S
    while len(publishers) < len(topics) and time.monotonic() < end:
        for topic in topics.keys() - publishers.keys():
            found = node.get_publishers_info_by_topic(topics[topic])
            if found:
                publishers[topic] = len(found)
                count = _counter(counts, topic)
                kind = _message(str(found[0].topic_type))
                # Raw: what is in a message does not matter, and a mask has a megabyte.
                node.create_subscription(kind, topics[topic], count, qos_profile_sensor_data, raw=True)
        rclpy.spin_once(node, timeout_sec=0.1)
    return publishers


def _counter(counts: dict[str, int], topic: str) -> Any:
    def count(message: bytes) -> None:
        del message
        counts[topic] += 1

    return count


def _message(name: str) -> Any:
    package, _, message = name.replace("/msg/", "/").partition("/")
    return getattr(importlib.import_module(f"{package}.msg"), message)


if __name__ == "__main__":
    sys.exit(main())
