"""Tags that anybody may have put there: the good ones are read, junk is named and skipped, a flood is cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from fleet.errors import RegistryAuthError, RegistryError
from fleet.parallel import side_by_side
from fleet.ports import Registry

T = TypeVar("T")

#: Tags of one purpose that are read; each costs requests, and a signature several runs of ssh-keygen.
MOST_TAGS = 64
#: Bytes of a statement, record or ticket.
MOST_BYTES = 4 << 20
_PARALLEL = 8
#: What a decoder raises at something that is no document of ours: no text, too deep, a number beyond a float.
_JUNK = (ValueError, RecursionError, OverflowError)


def chosen(tags: Iterable[str], first: Collection[str] = (), most: int = MOST_TAGS) -> tuple[list[str], list[str]]:
    """Return at most ``most`` tags, and a sentence about those left out.

    ``first``: endings of tags that are taken before all others, so that a flood does not bury them.
    """
    ends = tuple(first)
    ordered = sorted(tags, key=lambda tag: not (ends and tag.endswith(ends)))
    left = len(ordered) - most
    if left <= 0:
        return ordered, []
    return ordered[:most], [f"{left} more tags like {ordered[most]} are skipped: at most {most} are read"]


def skim(
    registry: Registry, repository: str, tags: Iterable[str], load: Callable[[str], T | None]
) -> tuple[list[T], list[str]]:
    """Return what ``load`` makes of each tag (None: gone meanwhile), in order, and a sentence for each that is junk.

    Raises RegistryError only when the registry itself does not answer any more, or refuses us.
    """

    def one(tag: str) -> tuple[T | None, str]:
        try:
            return load(tag), ""
        except RegistryAuthError:
            raise
        except RegistryError as error:
            registry.ping()  # raises when it is not the tag's fault
            return None, error.message
        except _JUNK as error:
            return None, f"{registry.host}/{repository}:{tag} cannot be read: {said(error)}"

    found = side_by_side(one, tags, workers=_PARALLEL)
    return [value for value, _ in found if value is not None], [why for _, why in found if why]


def said(error: BaseException) -> str:
    """Return a decoder's reason in a line; Python's own words for some kinds are of no use to anybody."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, OverflowError):
        return "it has a number that is too large"
    return (str(error).splitlines() or ["no reason given"])[0][:300]


def bounded(size: int, what: str, most: int = MOST_BYTES) -> None:
    """Refuse a document by the size that its manifest claims, before it is fetched. Raises ValueError."""
    if not 0 <= size <= most:
        raise ValueError(f"{what} has {size} bytes, at most {most} are read")
