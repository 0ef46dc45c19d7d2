"""Writing into messages that exist already: their header, and the array inside of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from runtime.executor.inputs.frames import Stamp


def stamped(head: Header, stamp: Stamp) -> None:
    """Write the frame's header into an existing one."""
    head.stamp.sec, head.stamp.nanosec, head.frame_id = stamp.sec, stamp.nanosec, stamp.frame_id


def inside(data: Any, kind: Any) -> npt.NDArray[Any]:
    """View a message's own array, which may be a copy of the one that was assigned (newer ROS)."""
    return np.frombuffer(data, kind) if len(data) else np.zeros(0, kind)
