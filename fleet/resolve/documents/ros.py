"""What a robot is told of its place on the ROS graph: variables of its container."""

from __future__ import annotations

from fleet.manifest.inherit import Effective
from runtime.contract.codec import canonical_json
from runtime.contract.node.ros_settings import (
    ENV_AUTOSTART,
    ENV_DOMAIN,
    ENV_RMW,
    ENV_ROS,
    ENV_USE_SIM_TIME,
    RMW_PACKAGES,
    RosNames,
)


def ros_environment(settings: Effective) -> dict[str, str]:
    """Return the variables; nothing for a robot that declares nothing."""
    ros = settings.ros
    found: dict[str, str] = {}
    if ros.namespace or ros.remap:
        names = RosNames(f"/{ros.namespace.lstrip('/')}" if ros.namespace else "", dict(ros.remap))
        found[ENV_ROS] = canonical_json(names).decode()
    if ros.domain_id is not None:
        found[ENV_DOMAIN] = str(ros.domain_id)
    if ros.use_sim_time is not None:
        found[ENV_USE_SIM_TIME] = "true" if ros.use_sim_time else "false"
    if ros.autostart is not None:
        found[ENV_AUTOSTART] = "true" if ros.autostart else "false"
    if ros.rmw is not None:
        found[ENV_RMW] = RMW_PACKAGES[ros.rmw]
    return found
