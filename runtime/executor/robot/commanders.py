"""May this process command a topic now? Pure: no clock of its own, no ROS, no threads.

A commander is any publisher of the topic in a living participant, even a silent one. It is gone when discovery has
dropped its participant (lease expired, or goodbye), or at once when the serving lock proves its death
(`serving_record.py`). While another commander exists this process has no publisher; where two find each other, both
yield, and the one with the shorter wait returns first.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from runtime.executor.inputs.same_host import host_of

FIND_S = 3.5
"""How long a process looks for others before its first command, and again after it was cut off or stood still. Fast DDS
announces a participant each 3 s where nobody says otherwise."""
SETTLE_S = 1.0
"""From the first listener that is seen to the first command: others may have come with it."""
GONE_S, SPREAD_S = 0.2, 0.2
"""From the last sight of another commander to a publisher of our own; the second part is each process's own share."""
OPEN_S = 0.2
"""From that publisher to its first command: somebody else may have come back at the same moment."""
HIDDEN_S = 60.0
"""For how long at most one that was cut off has no publisher, which would disturb whoever took over when the network is
back. Not for ever: tools find a topic by its publishers, and would wait for ours as ours for them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A publisher or a subscription of a topic."""

    gid: bytes
    node: str
    """``/namespace/name``; empty: not known (just found, dead, or no node of ROS)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are on the graph."""

    node: str
    participant: bytes | None
    """The first 12 bytes of every GID of ours; None with a middleware whose GIDs we cannot read."""

    def ours(self, endpoint: Endpoint) -> bool:
        """Whether it belongs to this process; without a participant, whether it has our name."""
        if self.participant is None:
            return endpoint.node == self.node
        return endpoint.gid[: len(self.participant)] == self.participant

    def others(self, endpoints: Iterable[Endpoint], own: int, gone: Collection[bytes]) -> tuple[Endpoint, ...]:
        """Return the endpoints of others. ``own``: how many are ours; ``gone``: GIDs of which the death is proven.

        Without a participant whatever has our name beyond ``own``, and whatever has another, counts: too many rather
        than too few.
        """
        if self.participant is not None:
            return tuple(each for each in endpoints if not self.ours(each) and each.gid not in gone)
        named = [each for each in endpoints if each.node == self.node]
        return (*(each for each in endpoints if each.node != self.node), *named[own:])

    def far(self, endpoint: Endpoint) -> bool:
        """Whether it is on another host, as far as its GID tells."""
        theirs, ours = host_of(endpoint.gid), host_of(self.participant or b"")
        return theirs is not None and ours is not None and theirs != ours

    def describe(self, endpoint: Endpoint) -> str:
        """Return name, participant and host of another's endpoint, for a person. Fast DDS makes the host's part of the
        network addresses at the process's start: two processes of one machine may differ in it."""
        name = endpoint.node or "a node without a name"
        theirs, ours = host_of(endpoint.gid), host_of(self.participant or b"")
        if theirs is None or ours is None:
            return f"{name}: endpoint {endpoint.gid.hex()}"
        where = "host" if theirs == ours else f"host {theirs.hex()}, this node is on"
        return f"{name}: participant {endpoint.gid[:12].hex()}, {where} {ours.hex()}"


class Claim:
    """One process's claim to one topic. Times are seconds of one monotonic clock."""

    def __init__(self, topic: str, identity: Identity, salt: int = 0, unheard: str = "") -> None:
        """``salt`` tells processes apart where there is no participant (a process id). ``unheard``: what to do when
        nobody listens, for a person."""
        self.topic, self.identity = topic, identity
        self._unheard = f": {unheard}" if unheard else ""
        seed = identity.participant or f"{identity.node} {salt}".encode()
        self._spread = SPREAD_S * (zlib.crc32(seed) % 1000) / 1000.0
        self._rivals: frozenset[bytes] = frozenset()
        self._clear_at: float | None = None
        self._heard_at: float | None = None
        self._opened_at: float | None = None
        self._hidden_until = -math.inf
        self._looks_since: float | None = None
        self._far = self._cut = self._anew = self._commands = False
        self.conflict = ""
        """Who else commands, and what to do about it; empty while nobody is seen."""
        self.reason = ""
        """Why we may not command now, for a person; empty while we may."""
        self.may_exist = self.may_command = False
        """Whether a publisher of ours may be there, and whether it may say anything."""

    def look(
        self, now: float, publishers: Collection[Endpoint], listeners: Iterable[Endpoint], gone: Collection[bytes] = ()
    ) -> None:
        """Take what the graph shows now, and judge."""
        self._looks_since = now if self._looks_since is None else self._looks_since
        self._see(now, self.identity.others(publishers, int(self._opened_at is not None), gone), gone)
        self._listen(now, [each for each in listeners if not self.identity.ours(each)])
        free_at = self._free_at()
        heard = self._heard_at is not None and now >= max(self._heard_at + SETTLE_S, self._looks_since + FIND_S)
        self.may_exist = free_at is not None and now >= free_at and (heard or now >= self._hidden_until)
        open_at = self._opened_at
        if free_at is not None and open_at is not None and (self._rivals or self._anew):
            open_at = max(open_at, free_at) + OPEN_S
        self.may_command = self.may_exist and heard and open_at is not None and now >= open_at
        self._commands = self._commands or self.may_command
        if self.may_command:
            self._rivals, self._anew = frozenset(), False
        self.reason = "" if self.may_command else self._why(heard=heard)

    def looked(self, now: float) -> bool:
        """Whether it has looked for others for long enough, whoever is or is not there."""
        return self._looks_since is not None and now >= self._looks_since + FIND_S

    def opened(self, now: float) -> None:
        """A publisher of ours is there."""
        self._opened_at = now

    def withdrawn(self) -> None:
        """It is gone."""
        self._opened_at, self._commands = None, False

    def suspended(self, now: float) -> None:
        """This process stood still for so long that others may have taken it for dead: begin again."""
        self._anew, self._heard_at, self._commands = True, None, False
        self._hidden_until, self._looks_since = now + HIDDEN_S, now

    def _see(self, now: float, others: tuple[Endpoint, ...], gone: Collection[bytes]) -> None:
        if others:
            self._clear_at = None
            self._rivals = frozenset(each.gid for each in others)
            self._commands = False
            names = sorted({each.node or "a node without a name" for each in others})
            said = "; ".join(sorted({self.identity.describe(each) for each in others}))
            what = "stop it, remap one of the two, or declare other_publishers"
            self.conflict = f"{self.topic} is also commanded by {', '.join(names)}: {what} ({said})"
            return
        self.conflict = ""
        self._rivals = self._rivals.difference(gone)
        if self._clear_at is None:
            self._clear_at = now

    def _listen(self, now: float, heard: Collection[Endpoint]) -> None:
        if heard:
            self._looks_since = now if self._cut else self._looks_since
            self._heard_at = now if self._heard_at is None else self._heard_at
            self._cut = False
            self._far = all(self.identity.far(each) for each in heard)
            return
        self._heard_at = None
        if self._commands:
            self._commands, self._anew = False, True
            self._cut = self._far  # the subscriber may be on the other side of the cut, and another commander too
            if self._cut:
                self._hidden_until = now + HIDDEN_S

    def _free_at(self) -> float | None:
        if self._clear_at is None:
            return None
        return self._clear_at + GONE_S + self._spread if self._rivals else self._clear_at

    def _why(self, *, heard: bool) -> str:
        if self.conflict:
            return self.conflict
        if self._heard_at is None:
            return f"{self.topic} has no subscriber{self._unheard}"
        if not heard:
            return f"looking for other publishers of {self.topic}"
        return f"{self.topic} was commanded by another node a moment ago"
