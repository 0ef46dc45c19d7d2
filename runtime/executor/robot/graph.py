"""What the ROS graph shows of a topic: endpoints by their ids, and which of them belong to this process.

An endpoint's GID is its DDS GUID: 12 bytes name the participant (the process), 4 the endpoint in it (RTPS 2.3,
8.2.4.1). Names do not tell processes apart: two containers of one robot have one name, and the name of a process that
died, or that was found a moment ago, is not known.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Empty

from runtime.executor.inputs.same_host import host_of
from runtime.executor.robot.commanders import Endpoint, Identity

PARTICIPANT_BYTES, GUID_BYTES = 12, 16
_UNKNOWN = "_NODE_NAME_UNKNOWN_"
"""What rmw_dds_common says for an endpoint of which no node is known."""


@dataclass(frozen=True, slots=True)
class TopicGraph:
    """One look at one topic."""

    publishers: tuple[Endpoint, ...]
    listeners: tuple[Endpoint, ...]


def look_at(node: Node, topic: str) -> TopicGraph:
    """Return the endpoints of ``topic``, a resolved name, as discovery has them now."""
    return TopicGraph(
        tuple(_endpoints(node.get_publishers_info_by_topic(topic))),
        tuple(_endpoints(node.get_subscriptions_info_by_topic(topic))),
    )


def identity_of(node: Node) -> Identity:
    """Return who this process is on the graph. Its participant is known with Fast DDS alone; with another middleware
    names and counts have to do."""
    topic = f"/_jetfleet/identity_{uuid.uuid4().hex}"  # nobody else has a publisher there
    publisher = node.create_publisher(Empty, topic, 1)
    try:
        gids = [bytes(info.endpoint_gid) for info in node.get_publishers_info_by_topic(topic)]
    finally:
        node.destroy_publisher(publisher)
    known = len(gids) == 1 and host_of(gids[0]) is not None
    name = f"{node.get_namespace().rstrip('/')}/{node.get_name()}"
    return Identity(name, gids[0][:PARTICIPANT_BYTES] if known else None)


def _endpoints(infos: Iterable[Any]) -> Iterable[Endpoint]:
    for info in infos:
        unknown = info.node_name == _UNKNOWN
        name = "" if unknown else f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        yield Endpoint(bytes(info.endpoint_gid)[:GUID_BYTES], name)
