"""From a release and a robot to the order that the robot's updater gets. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import PurePosixPath

from fleet.errors import UsageError
from fleet.resolve.desired import DesiredRobot
from runtime.contract.robot.orders import compose_of, order_of
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.robot.trust import Proof
from runtime.contract.robot.update import RunningRelease, UpdateOrder, UpdateState, release_folder_name


def order_for(
    release: ReleaseDocument,
    release_digest: str,
    robot: DesiredRobot,
    *,
    issued_at: float,
    force: bool = False,
    override: str = "",
    stop_start: bool = False,
    proof: Proof | None = None,
) -> UpdateOrder | None:
    """Return a new order (with an id of its own), or None when the release does not know the robot.

    ``issued_at``: Unix seconds of our clock; a robot whose own clock is far off says so. ``proof``: who signed for it.
    """
    return order_of(
        release,
        release_digest,
        robot.name,
        f"{release.version}-{uuid.uuid4().hex[:12]}",
        issued_at,
        release.environment.get(robot.name, {}),
        release.secrets.get(robot.name, {}),
        force=force,
        override=override,
        stop_start=stop_start,
        proof=proof,
    )


def orders_for(
    release: ReleaseDocument,
    release_digest: str,
    robots: Sequence[DesiredRobot],
    *,
    issued_at: float,
    force: bool,
    override: str = "",
    stop_start: bool = False,
    proof: Proof | None = None,
) -> dict[str, UpdateOrder]:
    """Return each robot's order by name. Raises UsageError when the release does not know a robot."""
    check_known(release, robots)
    made = {
        robot.name: order_for(
            release,
            release_digest,
            robot,
            issued_at=issued_at,
            force=force,
            override=override,
            stop_start=stop_start,
            proof=proof,
        )
        for robot in robots
    }
    return {name: order for name, order in made.items() if order is not None}


def check_known(release: ReleaseDocument, robots: Sequence[DesiredRobot]) -> None:
    """Raise UsageError when the release has no variant for one of the robots."""
    unknown = [robot.name for robot in robots if release.variant_of(robot.name) is None]
    if unknown:
        more = f" and {len(unknown) - 5} more robots" if len(unknown) > 5 else ""
        raise UsageError(
            f"release {release.version} does not know {', '.join(unknown[:5])}{more}",
            hint="publish a version whose manifest has them, or exclude them with --robots",
        )


def folder_of(release: ReleaseDocument, robot: str) -> str:
    """Return the name of the folder that the release has on a robot; empty when it does not know the robot."""
    variant = release.variant_of(robot)
    if variant is None:
        return ""
    environment = release.environment.get(robot, {})
    secrets = release.secrets.get(robot)
    return release_folder_name(variant.image, compose_of(release, variant), dict(environment), secrets)


def same_target(running: RunningRelease | None, order: UpdateOrder) -> bool:
    """Say whether ``running`` is this very release on this very variant."""
    return (
        running is not None
        and running.release_digest == order.release_digest
        and running.image == order.variant.image
        and same_container(running, order)
    )


def same_container(running: RunningRelease | None, order: UpdateOrder) -> bool:
    """Say whether the order would leave the running container alone: only the release's number is new."""
    name = release_folder_name(order.variant.image, order.compose, order.environment, order.secrets)
    return running is not None and PurePosixPath(running.folder).name == name


def finished(state: UpdateState, order_id: str) -> bool:
    """Say whether this order has come to its end."""
    return state.state == "idle" and state.order_id == order_id and state.outcome != ""
