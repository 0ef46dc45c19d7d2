"""From a release and a robot to the order that the robot's updater gets: one rule, whoever makes the order. Pure."""

from __future__ import annotations

from typing import Dict, Mapping, Optional

from runtime.contract.robot.release import ReleaseDocument, ReleaseVariant, SecretReference
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import Proof
from runtime.contract.robot.update import UpdateOrder


def order_of(
    document: ReleaseDocument,
    release_digest: str,
    robot: str,
    order_id: str,
    issued_at: float,
    environment: Mapping[str, str],
    secrets: Mapping[str, SecretReference],
    force: bool = False,
    override: str = "",
    stop_start: bool = False,
    proof: Optional[Proof] = None,
) -> Optional[UpdateOrder]:
    """Return the order for ``robot``, or None when the release does not know it.

    ``release_digest``: of the release in the registry. ``environment`` and ``secrets``: of the robot's own part, which
    the document names by digest. ``issued_at``: Unix seconds on the clock of whoever decided. ``proof``: who signed.
    """
    variant = document.variant_of(robot)
    if variant is None:
        return None
    return UpdateOrder(
        order_id=order_id,
        robot=robot,
        fleet=document.fleet,
        version=document.version,
        release_digest=release_digest,
        variant=variant,
        compose=compose_of(document, variant),
        environment=dict(environment),
        probation=document.probation,
        force=force,
        issued_at=issued_at,
        switch=document.switch.get(robot, SwitchRules()),
        override=override,
        stop_start=stop_start,
        proof=proof,
        secrets=dict(secrets),
    )


def compose_of(document: ReleaseDocument, variant: ReleaseVariant) -> Dict[str, str]:
    """Return the Compose files that a variant names."""
    return {name: document.compose[name] for name in variant.compose_files}


def order_id_of(version: str, rollout_id: str) -> str:
    """Return the id of the order that a robot makes by a rollout's plan: one a rollout and robot."""
    return "{}-{}".format(version, rollout_id)
