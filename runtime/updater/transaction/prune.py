"""After every order, failed ones too: links right, older releases and their images gone, nobody else's touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Set, Tuple

from runtime.updater.state.records import Journal
from runtime.updater.state.release_folder import align
from runtime.updater.state.transitions import kept_releases, links_of
from runtime.updater.state.world import KEEP_REPOSITORY, World, WorldError
from runtime.updater.transaction.handover import alone


def tidy(journal: Journal, world: World) -> Journal:
    """Leave one container, set the links and remove what neither current nor previous needs.

    What cannot be removed is tried after the next order; a second container, which takes memory, until it is gone.
    """
    try:
        alone(journal, world)
    except WorldError as error:
        world.note("the old container is not removed yet: {}".format(error.message))
        return journal
    try:
        world.set_links(links_of(journal))
        prune_folders(journal, world)
        prune_images(journal, world)
        world.prune_store(_still_wanted(journal))
        _align(journal, world)
    except WorldError as error:
        world.note("cleaning up: {}; tried again after the next order".format(error.message))
    return replace(journal, tidy_due=False)


def _align(journal: Journal, world: World) -> None:
    if journal.current is not None:
        for release in kept_releases(journal):
            align(world, release.folder, journal.current.slot)


def prune_folders(journal: Journal, world: World) -> None:
    """Remove release folders that nothing kept needs."""
    kept = {release.folder for release in kept_releases(journal)}
    for folder in world.releases():
        if folder not in kept:
            world.remove_release(folder)


def prune_images(journal: Journal, world: World) -> None:
    """Remove images that we fetched and that nothing kept runs."""
    kept = {release.image for release in kept_releases(journal)}
    folders = {release.folder for release in kept_releases(journal)}
    surplus: Set[str] = set()
    for name, references in world.kept_images().items():
        if not kept.intersection(references):
            surplus.update(references)
        if name not in folders:
            world.remove_image(_local_name(name))
    if journal.target is not None and journal.target.image not in kept and not journal.was_local:
        # Fetched, and then the process died before it was given our name.
        surplus.add(journal.target.image)
    for reference in sorted(surplus):
        if not world.remove_image(reference):
            world.note("{} is still in use or already removed".format(reference))


def _still_wanted(journal: Journal) -> Tuple[str, ...]:
    """Return the blobs that a deferred order fetches on with."""
    if journal.deferred is None or journal.order is None:
        return ()
    return tuple(layer.digest for layer in journal.order.variant.layers)


def _local_name(name: str) -> str:
    return "{}:{}".format(KEEP_REPOSITORY, name)
