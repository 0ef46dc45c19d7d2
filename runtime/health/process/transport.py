"""Transport settings for the executor, from the largest message that its models take or give. The agent renders them:
they must be in place before the executor's process starts.

The image's profile holds four 720p frames. Where a model takes larger ones, the same file is written with more; the
camera's node needs it too, for a segment belongs to its publisher.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.node.commands import is_joints, is_velocity
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.health.process.message_sizes import largest_message

MIB = 1 << 20
FRAMES = 4
"""Largest messages that a segment holds."""
MIN_SEGMENT, MAX_SEGMENT = 16 * MIB, 256 * MIB
"""The image's own profile; and what is too much of a robot's memory, whatever the messages."""
MIN_MESSAGE = 4 * MIB
MIN_THRESHOLD = 64 * MIB
MIN_ROOM = MIB
"""Free in /dev/shm for ports and locks. Measured: without a single page the node ends with SIGBUS."""
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_ROOT = re.compile(r"<dds\b[^>]*>")
_NO_SHORT_CUT = "\n  <library_settings><intraprocess_delivery>OFF</intraprocess_delivery></library_settings>"
"""The round trip at the start is to take the road that cameras' frames take."""
_LEASE = """<leaseDuration><sec>2</sec><nanosec>0</nanosec></leaseDuration>
        <leaseAnnouncement><sec>0</sec><nanosec>250000000</nanosec></leaseAnnouncement>"""
_STOCK = f"""<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">{_NO_SHORT_CUT}
  <profiles>
    <participant profile_name="jetfleet" is_default_profile="true">
      <rtps><builtin><discovery_config>
        {_LEASE}
      </discovery_config></builtin></rtps>
    </participant>
  </profiles>
</dds>
"""
"""Fast DDS as it is, but for the short cut and the lease (as in the image's): where nobody named a profile."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the transport must hold, bytes."""

    message: int
    """The largest message; 0 when nothing says how large any is."""
    segment: int
    """Shared-memory segment of each participant."""


def sizes(config: RuntimeConfig) -> Sizes:
    """Return the sizes for ``config``: a segment of four of the largest messages, at least 16 MiB, at most 256 MiB."""
    largest = largest_message(config)
    wanted = -(-FRAMES * largest // MIB) * MIB
    return Sizes(largest, max(MIN_SEGMENT, min(MAX_SEGMENT, wanted)))


def profile(base: str, wanted: Sizes) -> str | None:
    """Return the text of a Fast DDS profile with these sizes; None for a text that is not built as ours is."""
    message = max(MIN_MESSAGE, -(-wanted.message // MIB) * MIB)
    text, segments = re.subn(r"(<segment_size>)\d+", rf"\g<1>{wanted.segment}", base)
    text, messages = re.subn(r"(<maxMessageSize>)\d+", rf"\g<1>{message}", text)
    if segments != 1 or messages != 1 or _ROOT.search(text) is None:
        return None
    if "<library_settings>" in text:
        return text
    return _ROOT.sub(lambda match: match[0] + _NO_SHORT_CUT, text, count=1)


def malloc(wanted: Sizes) -> dict[str, str]:
    """Return glibc's settings under which buffers of the largest message are kept instead of given back."""
    buffers = min(MAX_SEGMENT, FRAMES * wanted.message)
    threshold = max(MIN_THRESHOLD, buffers)
    return {
        "MALLOC_MMAP_THRESHOLD_": str(threshold),
        "MALLOC_TRIM_THRESHOLD_": str(4 * threshold),
        "MALLOC_TOP_PAD_": str(max(16 * MIB, buffers // 4)),
    }


def prepare(config: RuntimeConfig, environment: Mapping[str, str], place: Path) -> tuple[dict[str, str], str]:
    """Write the profile to ``place``; return the executor's environment, and what a person should know (or nothing).

    A profile of somebody's own, which is not built as the image's is, is left as it is. Where none is named, Fast DDS
    stays as it is, but for its short cut inside of a process.
    """
    wanted = sizes(config)
    result = {**environment, **{key: value for key, value in malloc(wanted).items() if key in environment}}
    files = {name: environment[name] for name in PROFILE_VARIABLES if environment.get(name)}
    for name, file in files.items():
        try:
            base = Path(file).read_text("utf-8")
            text = profile(base, wanted)
            if text is None:
                said = f"{file} is not the image's profile: its sizes are left alone ({_needs(wanted)})"
                return result, said + _without_lease(config, base)
            place.write_text(text, "utf-8")
        except OSError as error:
            return result, f"transport is not sized: {error.filename}: {error.strerror} ({_needs(wanted)})"
        result[name] = str(place)
    if not files:
        try:
            place.write_text(_STOCK, "utf-8")
        except OSError as error:
            return result, f"transport is not tested: {error.filename}: {error.strerror}"
    # Fast DDS 3 reads one variable, Fast DDS 2 the other.
    return {**result, **dict.fromkeys(PROFILE_VARIABLES, str(place))}, too_small(wanted)


def full(directory: str = "/dev/shm") -> str:  # noqa: S108 - where shared memory is
    """Say that shared memory is so full that Fast DDS would end the process with SIGBUS; empty when it is not. Without
    room for a segment, but with some, Fast DDS takes UDP."""
    try:
        found = os.statvfs(directory)
    except OSError:  # there is none: nothing is mapped from it
        return ""
    free = found.f_bavail * found.f_frsize
    if free >= MIN_ROOM:
        return ""
    return (
        f"{directory} is full ({free // 1024} KiB free, at least {MIN_ROOM // 1024} KiB are needed): remove what fills "
        "it, or enlarge it (ipc: host, or shm_size); the executor starts once there is room"
    )


def too_small(wanted: Sizes, directory: str = "/dev/shm") -> str:  # noqa: S108 - where shared memory is
    """Say that shared memory has no room for the segments of a camera and of this node; empty when it has."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return f"{directory}: {error.strerror}: images cannot go through shared memory"
    free, need = found.f_bavail * found.f_frsize, 2 * wanted.segment
    if free >= need:
        return ""
    return (
        f"{directory} has {free // MIB} MiB free, a camera and this node need {need // MIB} MiB: images may be lost; "
        "enlarge it (ipc: host, or shm_size), or remove what fills it"
    )


def _without_lease(config: RuntimeConfig, profile_text: str) -> str:
    """Say what a profile without a lease costs a robot that is commanded here."""
    outputs = [output for model in config.models for output in model.outputs]
    built_in = any(output.decoder in ("velocity", "joints") for output in outputs)
    commands = built_in or any(is_velocity(output.options) or is_joints(output.options) for output in outputs)
    if not commands or "<leaseDuration>" in profile_text:
        return ""
    return "; it sets no leaseDuration: a publisher of commands that died counts as another commander for 20 s"


def _needs(wanted: Sizes) -> str:
    return f"the largest message has {wanted.message} bytes, a segment should have {wanted.segment}"
