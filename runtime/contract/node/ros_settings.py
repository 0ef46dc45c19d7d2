"""A robot's place on the ROS graph: variables of its container, read once, at the executor's start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Tuple

from runtime.contract.codec import SCHEMA, ContractError, from_json

#: A robot's RosNames, as JSON. Absent: the root namespace, and nothing is renamed.
ENV_ROS = "JETFLEET_ROS"
#: ``true``: the node's clock follows ``/clock`` from its start, as the parameter ``use_sim_time`` does when set later.
ENV_USE_SIM_TIME = "JETFLEET_USE_SIM_TIME"
#: ``false``: a lifecycle manager configures and activates the node, which waits for it.
ENV_AUTOSTART = "JETFLEET_AUTOSTART"
#: ROS's own: which robots and tools can hear each other, and the middleware.
ENV_DOMAIN, ENV_RMW = "ROS_DOMAIN_ID", "RMW_IMPLEMENTATION"

RMW_PACKAGES: Dict[str, str] = {
    "cyclonedds": "rmw_cyclonedds_cpp",
    "fastrtps": "rmw_fastrtps_cpp",
    "zenoh": "rmw_zenoh_cpp",
}
"""Middlewares by the name that a manifest uses."""


_WORDS = {"false": False, "0": False, "true": True, "1": True}


@dataclass(frozen=True)
class RosNames:
    """Where the node is, and which names it uses instead of others."""

    namespace: str = ""
    """``/amr1``; empty: the root."""
    remap: Dict[str, str] = field(default_factory=dict)
    """Topics and services: the name in the manifest → the name on the robot."""
    schema: int = SCHEMA

    def arguments(self) -> Tuple[str, ...]:
        """Return what comes behind ``--ros-args``."""
        rules = ["__ns:=" + self.namespace] if self.namespace else []
        rules += ["{}:={}".format(name, self.remap[name]) for name in sorted(self.remap)]
        return tuple(word for rule in rules for word in ("-r", rule))

    def resolved(self, topic: str, node_name: str) -> str:
        """Return the full name that ``topic`` has for the node, before it is renamed."""
        if topic.startswith("~/"):
            return "{}/{}/{}".format(self.namespace, node_name, topic[2:])
        return topic if topic.startswith("/") else "{}/{}".format(self.namespace, topic)


def ros_names(environment: Mapping[str, str]) -> RosNames:
    """Return what the environment says. Raises ValueError when that cannot be read."""
    text = environment.get(ENV_ROS, "")
    if not text:
        return RosNames()
    try:
        return from_json(RosNames, text)
    except ContractError as error:
        raise ValueError("{} cannot be read: {}".format(ENV_ROS, error)) from error


def switch(environment: Mapping[str, str], name: str, usual: bool, meaning: str) -> bool:
    """Return a variable that is true or false. Raises ValueError for another word; ``meaning``: of true."""
    word = environment.get(name, "").strip().lower()
    if word and word not in _WORDS:
        raise ValueError("{}={}: write true ({}) or false".format(name, word, meaning))
    return _WORDS.get(word, usual)
