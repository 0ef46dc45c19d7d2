"""One look at the robot, from the Engine and the agent. Never raises for what it looks at: trouble is an answer."""

from __future__ import annotations

from typing import Tuple

from runtime.contract.update import UpdateOrder
from runtime.updater.release_folder import health_port
from runtime.updater.world import ContainerFacts, Observation, World, WorldError


def observe(order: UpdateOrder, world: World) -> Observation:
    """Look at the runtime container and its agent. Raises WorldError only when Docker itself does not answer."""
    return look(health_port(order), world)


def look(port: int, world: World) -> Observation:
    """Look at the container and at the agent on ``port``."""
    container = world.container()
    if container is None:
        return Observation(report_error="no runtime container exists")
    references = references_of(container, world)
    if container.status != "running":
        return Observation(container, references, report_error="the container is {}".format(container.status))
    try:
        return Observation(container, references, report_json=world.report(port))
    except WorldError as error:
        return Observation(container, references, report_error=error.message)


def references_of(container: ContainerFacts, world: World) -> Tuple[str, ...]:
    """Return the digest references of the container's image, the one it was created from first."""
    image = world.image(container.image_id)
    if image is None:
        return ()
    first = tuple(name for name in image.references if name == container.image_name)
    return first + tuple(name for name in image.references if name != container.image_name)
