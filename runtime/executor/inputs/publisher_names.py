"""Publishers of an input's topic for a person, and those that are not of this robot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.executor.inputs.same_host import host_of, where

ROOT = "/"


def full_name(info: Any) -> str:
    """Return ``/namespace/node`` of a publisher as rclpy describes it."""
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def described(info: Any, ours: bytes | None) -> str:
    """Return node, namespace and host. ``ours``: this process's host as GIDs name it; None: not known."""
    return f"{full_name(info)} (namespace {info.node_namespace}, {where(info.endpoint_gid, ours)})"


def foreign(topic: str, own_namespace: str, publishers: Iterable[Any], ours: bytes | None) -> tuple[str, ...]:
    """Say which publishers belong to another robot, by their namespace. Only where this robot has one itself.

    A node outside of every robot's namespace (a camera in ``/camera``) is another robot's only if it is on another
    host, or publishes what is below this robot's namespace.
    """
    if own_namespace == ROOT:
        return ()
    inside = own_namespace.rstrip("/") + "/"
    found = []
    for info in publishers:
        theirs = info.node_namespace.rstrip("/") + "/"
        host = host_of(info.endpoint_gid)
        elsewhere = host is not None and ours is not None and host != ours
        if theirs != ROOT and not theirs.startswith(inside) and (topic.startswith(inside) or elsewhere):
            found.append(
                f"{topic} is published by {described(info, ours)}, which is not of this robot (namespace "
                f"{own_namespace}): stop it, or remap one of the two"
            )
    return tuple(sorted(found))
