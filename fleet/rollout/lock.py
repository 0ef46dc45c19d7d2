"""The rollout lock: a lease in the registry, as the registry is the only memory that all operators share.

A registry cannot compare and set. So nobody ever writes where somebody else writes: each contender puts up a ticket
of its own (a tag), then lists all tickets, and holds the lock only when its ticket is the only live one; otherwise it
takes the ticket down and, a random moment later, tries again. Of two contenders the one whose ticket went up second
sees the first's, so both can never hold it. That needs a registry whose tag list shows a tag as soon as its upload
was acknowledged (CNCF distribution does), and clocks of operators that agree to much less than ``TTL_S``.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from types import TracebackType

from fleet.errors import LockHeld, RegistryError
from fleet.oci.json_documents import NewerRecord, get_record, put_record
from fleet.oci.skim import skim
from fleet.ports import Clock, LogLine, Registry
from fleet.rollout import audit
from fleet.rollout.ended_tickets import OVER_S, EndedTickets
from runtime.contract.codec import SCHEMA

LOCK_TYPE = "application/vnd.jetfleet.lock.v1+json"
TTL_S = 600.0
_RENEW_S = TTL_S / 5
_LOOK_AGAIN_S = 5.0
_TRIES = 8
_PREFIX = "rollout-"
#: Where a registry allows no deletes, each rollout leaves an ended ticket behind.
_MOST_TICKETS = 5000


@dataclass(frozen=True)
class Ticket:
    """Who holds the lock, or wants it."""

    id: str
    holder: str
    """``user@host``."""
    reason: str
    acquired: float
    """Unix seconds, holder's clock; so is ``expires``."""
    expires: float
    schema: int = SCHEMA


class RolloutLock:
    """``with RolloutLock(…) as lock:`` holds it; call ``lock.keep()`` often. Raises LockHeld, RegistryError."""

    def __init__(
        self, registry: Registry, prefix: str, clock: Clock, *, reason: str, on_junk: LogLine = lambda _: None
    ) -> None:
        """``on_junk`` gets a sentence for each tag there that is no ticket; such a tag holds nobody up."""
        self._registry = registry
        self._prefix = prefix
        self._repository = f"{prefix}/locks"
        self._clock = clock
        self._reason = reason
        self._ticket: Ticket | None = None
        self._renew_at = 0.0
        self._intruders: frozenset[str] = frozenset()
        self._ended = EndedTickets(registry, self._repository)
        self._on_junk = on_junk
        self._junk: set[str] = set()

    def __enter__(self) -> RolloutLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except RegistryError:
            return  # What was done inside is what the user must hear of; the lease ends by itself.

    def acquire(self) -> None:
        """Take the lock. Raises LockHeld (who, why, since, until) when another process holds it."""
        for attempt in range(_TRIES):
            others = self.holders()
            if not others:
                self._ended.write(self._tags())
            if others and attempt == 0:
                raise self._held(others[0])
            if not others:
                others = self._contend()
                if not others:
                    return
            self._clock.sleep(random.uniform(0.05, 0.2) * (attempt + 1))  # noqa: S311  (spreads contenders)
        others = self.holders()
        raise (
            self._held(others[0])
            if others
            else LockHeld("several operators want the rollout lock at once", hint="try again in a minute")
        )

    def keep(self) -> None:
        """Renew the lease when it is due: cheap to call often. Raises LockHeld when the lock is not ours any more.

        A registry that does not answer is asked again at the next call, until the lease is over.
        """
        ticket, now = self._ticket, self._clock.now()
        if ticket is None or now < self._renew_at:
            return
        if now >= ticket.expires + OVER_S / 2:
            # A machine that slept for a day: our ticket may be in the list of those that ended, which nobody reads.
            self._ticket = None
            raise LockHeld(
                "the lease of the rollout lock has expired: this machine did not renew it in time",
                hint="fleet lock show says who holds it now; run the command again when that is done",
            )
        try:
            if get_record(self._registry, self._repository, self._tag(ticket), Ticket) is None:
                raise self._robbed()
            self._put(replace(ticket, expires=now + TTL_S))
            self._look_for_intruders()
        except RegistryError as error:
            if now >= ticket.expires:
                raise LockHeld(
                    f"the lease of the rollout lock has expired and could not be renewed: {error.message}",
                    hint=error.hint or "check the registry, then run the command again",
                ) from error
            self._renew_at = now + _LOOK_AGAIN_S

    def release(self) -> None:
        """Give the lock back; one that is lost already is fine. Raises RegistryError."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._take_down(ticket)

    def holders(self) -> list[Ticket]:
        """Return the live tickets of others, the oldest first. Raises LockHeld where there are too many to read."""
        own = self._ticket.id if self._ticket else ""
        tags = self._ended.without(self._tags())
        if len(tags) > _MOST_TICKETS:
            # To skip some would be to take a lock that somebody may hold.
            raise LockHeld(
                f"{self._registry.host}/{self._repository} holds {len(tags)} tickets, at most {_MOST_TICKETS} are read",
                hint="check who can write to the registry, and delete those tags",
            )
        found, junk = skim(self._registry, self._repository, tags, self._load)
        for line in junk:
            if line not in self._junk:
                self._junk.add(line)
                self._on_junk(line)
        now = self._clock.now()
        self._ended.note(self._tag(each) for each in found if each.expires < now - OVER_S)
        live = [each for each in found if each.expires > now and each.id != own]
        return sorted(live, key=lambda ticket: (ticket.acquired, ticket.id))

    def _tags(self) -> list[str]:
        return [tag for tag in self._registry.tags(self._repository) if tag.startswith(_PREFIX)]

    def _load(self, tag: str) -> Ticket | None:
        try:
            found = get_record(self._registry, self._repository, tag, Ticket)
        except NewerRecord as error:
            raise LockHeld(f"a newer fleet may hold the rollout lock: {error.message}", hint=error.hint) from error
        if found is not None and self._tag(found[0]) != tag:
            raise ValueError(f"it holds the ticket {found[0].id[:40]}")
        return found[0] if found else None

    def steal(self, fleet: str) -> list[Ticket]:
        """Take the lock from whoever holds it, with a record in the audit trail; return whose it was.

        The former holder notices at its next renewal, within two minutes, and stops.
        """
        robbed = self.holders()
        for ticket in robbed:
            words = f"lock of {ticket.holder} ({ticket.reason}) broken: {self._reason}"
            audit.append(self._registry, self._prefix, audit.lock_broken(fleet, words, self._clock))
            self._take_down(ticket)
        self.acquire()
        return robbed

    def _look_for_intruders(self) -> None:
        """A ticket that stays next to ours is no contender (those leave at once) but somebody who broke the lock in
        the moment in which we renewed it: theirs is in the audit trail, so ours goes."""
        seen = frozenset(ticket.id for ticket in self.holders())
        if seen & self._intruders:
            self.release()
            raise self._robbed()
        self._intruders = seen
        if seen:
            self._renew_at = self._clock.now() + _LOOK_AGAIN_S

    def _robbed(self) -> LockHeld:
        self._ticket = None
        return LockHeld(
            "the rollout lock was taken over",
            hint="fleet history says by whom; run the command again when that is done",
        )

    def _contend(self) -> list[Ticket]:
        """Put a ticket up and look again. Return the others that want it too, our ticket being down again then."""
        now = self._clock.now()
        ticket = Ticket(uuid.uuid4().hex[:12], audit.operator(), self._reason, now, now + TTL_S)
        try:
            self._put(ticket)
            others = self.holders()
        except BaseException:
            self.release()
            raise
        if others:
            self.release()
        return others

    def _put(self, ticket: Ticket) -> None:
        self._ticket = ticket
        put_record(self._registry, self._repository, self._tag(ticket), ticket, LOCK_TYPE)
        self._renew_at = self._clock.now() + _RENEW_S

    def _take_down(self, ticket: Ticket) -> None:
        """Remove a ticket. A registry that does not delete gets an expired one in its place."""
        found = get_record(self._registry, self._repository, self._tag(ticket), Ticket)
        if found is None:
            return
        try:
            self._registry.delete_manifest(self._repository, found[1])
        except RegistryError:
            put_record(self._registry, self._repository, self._tag(ticket), replace(ticket, expires=0.0), LOCK_TYPE)

    def _tag(self, ticket: Ticket) -> str:
        return f"{_PREFIX}{ticket.id}"

    def _held(self, ticket: Ticket) -> LockHeld:
        return LockHeld(
            f"{ticket.holder} holds the rollout lock since {_clock_time(ticket.acquired)} ({ticket.reason}); "
            f"it ends at {_clock_time(ticket.expires)} unless renewed",
            hint=f"ask {ticket.holder}; if that command is dead: fleet lock steal",
        )


def _clock_time(at: float) -> str:
    within = max(0.0, min(at, 4e10))  # what a ticket says may be any number
    return f"{datetime.fromtimestamp(within, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
