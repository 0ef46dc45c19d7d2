"""Keys of the manifest about a robot's place on the ROS graph."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleet.manifest.schema.values import Frozen, Namespace, Topic

EPHEMERAL_DOMAINS = range(102, 215)
"""Their ports lie among those that Linux gives to any connection (ROS 2 documentation, "The ROS_DOMAIN_ID")."""


def _usable(domain: int) -> int:
    if domain in EPHEMERAL_DOMAINS:
        raise ValueError(f"{domain}: ports of domains 102 to 214 are taken by other connections on Linux: use 0 to 101")
    return domain


class Ros(Frozen):
    """Each key is taken from the nearest level that has it; remap merges by name."""

    namespace: Namespace | None = None
    """Of the node, and so of all its relative topics and services."""
    remap: dict[Topic, Topic] = Field(default_factory=dict)
    """Topics and services: the name in the models' files → the robot's own."""
    domain_id: Annotated[int, Field(ge=0, le=232), AfterValidator(_usable)] | None = None
    use_sim_time: bool | None = None
    """The node's clock follows /clock from the start."""
    autostart: bool | None = None
    """false: a lifecycle manager configures and activates the node."""
    rmw: Literal["fastrtps", "cyclonedds", "zenoh"] | None = None
    """The middleware; its package is in the profile's base image."""


def merged_ros(levels: list[Ros]) -> Ros:
    """Return what a robot comes to; later levels are nearer to it."""
    written = {
        key: value for level in levels for key in level.model_fields_set if (value := getattr(level, key)) is not None
    }
    return Ros(**{**written, "remap": {name: to for level in levels for name, to in level.remap.items()}})
