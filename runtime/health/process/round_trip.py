"""What the round trip at the executor's start found, and what the report makes of it. Pure; the trip itself needs ROS
and is made in ``runtime.executor.checks.round_trip``.

A failed trip is a warning and takes the robot out of service (`/readyz`); ``ready``, which a rollout judges, does not
depend on it. The usual causes (a small or full /dev/shm, a profile of somebody's own) are the robot's and were there
before the switch: a release must not be taken back for them, and the one that first measures them least of all. Nor do
they prove that nothing arrives, for a frame travels through the segment of the camera's node, not of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from runtime.contract.node.health import LEVEL_OK, LEVEL_WARN, Check, Space

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
NAME, ROOM = "transport", "shared_memory"
SHM = "/dev/shm"  # noqa: S108 - where Fast DDS keeps its segments
AGAIN_S = 30.0
"""From a failed trip to the next one."""
_MIB = 1 << 20
_BY_UDP = (
    "comes by UDP, where most large messages are lost: Fast DDS takes its process for one on another host, because it "
    "started with other network addresses than this one (or is on one): restart it now that the network is up, or this "
    "container if it is the older one"
)
_WHAT_TO_DO = (
    "give the node the image's Fast DDS profile (FASTDDS_DEFAULT_PROFILES_FILE), and a /dev/shm with room for it "
    "(ipc: host, or shm_size)"
)


@dataclass(frozen=True)
class RoundTrip:
    """Images of the largest declared size, sent by the node to itself through its transport."""

    state: str
    """passed | failed | skipped."""
    sent: int = 0
    arrived: int = 0
    """Whole and unchanged."""
    required: int = 0
    image: str = ""
    """What was sent, for a person: ``1280x720 rgb8``."""
    image_bytes: int = 0
    seconds: float = 0.0
    reason: str = ""
    """Why it was skipped, or could not be made."""

    @property
    def text(self) -> str:
        """The result as a sentence."""
        if self.state == SKIPPED:
            return f"not tested: {self.reason}"
        if self.reason:
            return f"the test could not run: {self.reason}; again every {AGAIN_S:g} s"
        what = f"frames of {self.image} ({self.image_bytes / _MIB:.1f} MiB)"
        said = f"{self.arrived} of {self.sent} {what} came back to the node in {self.seconds:.1f} s"
        if self.state == PASSED:
            return said
        return f"{said}, at least {self.required} must: {_WHAT_TO_DO}; again every {AGAIN_S:g} s"


def transport_checks(
    trip: RoundTrip | None, segment: int, room: Space | None, by_udp: Collection[str] = ()
) -> Iterator[Check]:
    """Yield what is to be said of the transport: inputs that come by UDP (``<topic> from <node>``); the round trip,
    once there was one; a /dev/shm too small for two segments of ``segment`` bytes (a camera's and the node's)."""
    sentences = [f"{', '.join(sorted(set(by_udp)))} {_BY_UDP}"] if by_udp else []
    if trip is not None:
        sentences.append(trip.text)
    if sentences:
        failed = bool(by_udp) or (trip is not None and trip.state == FAILED)
        yield Check(NAME, LEVEL_WARN if failed else LEVEL_OK, "; ".join(sentences))
    if room is not None and room.total_bytes < 2 * segment:
        said = f"{SHM} has {room.total_bytes // _MIB} MiB, a camera and this node need {2 * segment // _MIB} MiB"
        yield Check(ROOM, LEVEL_WARN, f"{said}: images may be lost; enlarge it (ipc: host, or shm_size)")


def lost(trip: RoundTrip | None) -> list[str]:
    """Return why the transport keeps the robot out of service; empty when it does not."""
    return [f"{NAME}: {trip.text}"] if trip is not None and trip.state == FAILED else []
