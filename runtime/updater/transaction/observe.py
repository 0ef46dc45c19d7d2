"""One look at the robot, from the Engine and the agent. Never raises for what it looks at: trouble is an answer."""

from __future__ import annotations

from typing import Tuple

from runtime.contract.node.health_answer import HealthAnswer, read_health
from runtime.contract.robot.update import UpdateOrder
from runtime.updater.state.release_folder import health_port
from runtime.updater.state.world import ContainerFacts, Observation, World, WorldError


def observe(order: UpdateOrder, world: World, slot: str) -> Observation:
    """Look at a slot's container and its agent. Raises WorldError only when Docker itself does not answer."""
    return look(health_port(order), world, slot)


def look(port: int, world: World, slot: str) -> Observation:
    """Look at the slot's container and at its agent, on its own socket or on ``port``."""
    container = world.container(slot)
    if container is None:
        return Observation(health=HealthAnswer(error="no runtime container exists"))
    references = references_of(container, world)
    if container.status != "running":
        return Observation(container, references, HealthAnswer(error="the container is {}".format(container.status)))
    try:
        text = world.report(port, slot)
    except WorldError as error:
        return Observation(container, references, HealthAnswer(error=error.message))
    health = read_health(text)
    turn = health.report.turn if health.report is not None else None
    if turn is not None and turn.slot != slot:
        # Its own agent does not answer yet, and the port is the other container's.
        return Observation(container, references, HealthAnswer(error="the other container's agent answers for it"))
    return Observation(container, references, health, text)


def references_of(container: ContainerFacts, world: World) -> Tuple[str, ...]:
    """Return the digest references of the container's image, the one it was created from first."""
    image = world.image(container.image_id)
    if image is None:
        return ()
    first = tuple(name for name in image.references if name == container.image_name)
    return first + tuple(name for name in image.references if name != container.image_name)
