"""Does this host still fit the release that runs on it? After JetPack, Docker or its runtimes were changed.

A container that runs goes on whatever its host has become; it fails at its next start. This says so before.
"""

from __future__ import annotations

from typing import List

from runtime.updater.state.records import Journal
from runtime.updater.state.release_folder import order_in
from runtime.updater.state.world import DockerFacts, World
from runtime.updater.transaction.preflight import Refused, check_machine

UPGRADE_HINT = "undo the upgrade of the host, or roll out a release for what the host is now"


def host_problems(journal: Journal, world: World) -> List[str]:
    """Return what of the current release would not start on this host any more. Raises WorldError."""
    current = journal.current
    if current is None:
        return []
    order = order_in(world, current.folder)
    try:
        engine = check_machine(order, world)
    except Refused as refused:
        return [refused.reason]
    return _runtime(current.folder, engine, world) + [
        "the release's container shares {}, which is not there".format(path)
        for path in world.compose_shares(current.folder)
        if not world.present(path)
    ]


def _runtime(folder: str, engine: DockerFacts, world: World) -> List[str]:
    wanted = world.compose_runtime(folder)
    if not wanted or not engine.runtimes or wanted in engine.runtimes:
        return []
    text = "the release's container needs the runtime {}, this Engine has {}"
    return [text.format(wanted, ", ".join(engine.runtimes))]
