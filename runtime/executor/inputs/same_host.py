"""Does Fast DDS take a publisher for one on this host? Only then do its messages come through shared memory.

Fast DDS tells hosts apart by two bytes of every participant's GUID, which it makes of the network addresses that the
process saw at its start. A camera that started before the network was up has others than an executor that started
after it, and the two talk over UDP without a word: of raw images most are lost. Layout of the GUID: RTPS 2.3, 9.3.1.5
(the first two bytes are the vendor's); the host's two bytes after it: seen with Fast DDS 3.2, and with their addresses
changed between two starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

EPROSIMA = b"\x01\x0f"
"""RTPS vendor id of Fast DDS."""
DATAGRAM_BYTES = 65_500
"""A message that fits into one UDP datagram is not torn into pieces, of which each can be lost."""


def host_of(gid: Sequence[int]) -> bytes | None:
    """Return the host's part of an endpoint's GID; None where another middleware made it."""
    prefix = bytes(gid[:4])
    return prefix[2:4] if len(prefix) == 4 and prefix[:2] == EPROSIMA else None


def where(gid: Sequence[int], ours: bytes | None) -> str:
    """Return the host of an endpoint for a person, as far as its GID tells. ``ours``: this process's own host."""
    theirs = host_of(gid)
    if theirs is None or ours is None:
        return "host not known"
    return "this host" if theirs == ours else f"host {theirs.hex()}, this one is {ours.hex()}"


def others(ours: Iterable[Sequence[int]], publishers: Iterable[tuple[str, Sequence[int]]]) -> tuple[str, ...]:
    """Return the names of the publishers, sorted, that Fast DDS takes for ones on another host than ``ours``."""
    here = {host for gid in ours if (host := host_of(gid)) is not None}
    if not here:
        return ()
    return tuple(sorted({name for name, gid in publishers if (host := host_of(gid)) is not None and host not in here}))
