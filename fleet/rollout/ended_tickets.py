"""Names of lock tickets that are over for good, so that they are not read before every rollout.

A registry without deletes keeps each ticket for ever. Whoever takes the lock writes the names of those that ended long
ago into one list; several may, and the worst that they do to each other is that a ticket is read once more
(docs/decisions/0019).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fleet.errors import RegistryError
from fleet.oci.json_documents import get_record, put_record
from fleet.ports import Registry
from runtime.contract.codec import SCHEMA

ENDED_TYPE = "application/vnd.jetfleet.ended.v1+json"
TAG = "ended"
#: A ticket whose lease ended so long ago cannot live again: after half of it a lease is not renewed any more, and the
#: clocks of operators differ by far less than the other half.
OVER_S = 86400.0
#: With so few tickets the list is not worth its requests.
FEW = 8


@dataclass(frozen=True)
class Ended:
    """The list."""

    tags: tuple[str, ...]
    schema: int = SCHEMA


class EndedTickets:
    """The list as one command knows it."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry = registry
        self._repository = repository
        self._listed: frozenset[str] | None = None
        self._new: set[str] = set()

    def without(self, tags: Collection[str]) -> list[str]:
        """Return the tags that are not known to be over. Asks for the list once, and only where there are many."""
        if len(tags) <= FEW:
            return list(tags)
        if self._listed is None:
            self._listed = self._read()
        return [tag for tag in tags if tag not in self._listed and tag not in self._new]

    def note(self, tags: Iterable[str]) -> None:
        """Remember tickets that are over."""
        self._new.update(tags)

    def write(self, tags: Iterable[str]) -> None:
        """Put what was noted into the list, when that is worth it; ``tags``: those that are there. RegistryError."""
        if len(self._new) <= FEW:
            return
        known = self._read() | self._new  # somebody else may have added theirs
        put_record(self._registry, self._repository, TAG, Ended(tuple(sorted(known.intersection(tags)))), ENDED_TYPE)
        self._listed, self._new = known, set()

    def _read(self) -> frozenset[str]:
        try:
            found = get_record(self._registry, self._repository, TAG, Ended)
        except RegistryError:
            # Junk, or a registry that does not answer: the tickets themselves are read then, which says what is wrong.
            return frozenset()
        return frozenset(found[0].tags) if found else frozenset()
