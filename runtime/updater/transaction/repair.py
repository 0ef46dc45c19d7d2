"""Makes an idle robot what its journal says: links, release folder, container. From the disk alone, nothing fetched."""

from __future__ import annotations

from typing import List, Optional

from runtime.contract.robot.update import RunningRelease
from runtime.updater.state.records import Journal
from runtime.updater.state.release_folder import order_in, write_folder
from runtime.updater.state.transitions import links_of
from runtime.updater.state.world import World, WorldError
from runtime.updater.transaction.handover import alone


def repair(journal: Journal, world: World) -> List[str]:
    """Return what was done, a line each. Raises WorldError for what a robot cannot mend by itself."""
    done = [repair_links(journal, world)]
    if journal.current is None:
        return [*done, "release   none was ever committed here: roll one out with fleet"]
    done.append(repair_folder(journal.current, world))
    check_image(journal, world)
    slot = journal.current.slot
    before = world.container(slot)
    world.set_serving(slot)
    world.compose_up(journal.current.folder, slot)
    after = world.container(slot)
    alone(journal, world)
    if before is not None and after is not None and before.id == after.id and before.status == "running":
        done.append("container runs already, not touched")
    else:
        done.append("container started: {}".format(after.id[:12] if after else "none"))
    return done


def repair_links(journal: Journal, world: World) -> str:
    """Point ``current`` and ``previous`` where the journal says."""
    before, wanted = world.links(), links_of(journal)
    world.set_links(wanted)
    words = "current -> {}, previous -> {}".format(wanted.current or "none", wanted.previous or "none")
    if before == wanted:
        return "links     as they should be: {}".format(words)
    was = "current -> {}, previous -> {}".format(before.current or "none", before.previous or "none")
    return "links     set: {} (were {})".format(words, was)


def repair_folder(release: RunningRelease, world: World) -> str:
    """Write again what is missing or changed in a release folder, from the order that is kept in it."""
    order = order_in(world, release.folder)
    write_folder(world, order, release.folder, release.slot)
    return "release   {} in releases/{} is whole".format(release.version, release.folder)


def check_image(journal: Journal, world: World) -> None:
    """Raises WorldError when the current release's image is not on the robot's disk."""
    current = journal.current
    assert current is not None
    if world.image(current.image) is not None:
        return
    back: Optional[RunningRelease] = journal.previous
    hint = "roll {} out again with fleet (it fetches the image)".format(current.version)
    if back is not None and back.image != current.image and world.image(back.image) is not None:
        hint += ", or `fleet-updater revert --wait`: {} is on disk".format(back.version)
    raise WorldError("the image of {} is not on the robot's disk any more".format(current.version), hint)
