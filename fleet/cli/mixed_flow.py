"""A rollout or rollback of a fleet of which some robots are reached by SSH and others come for the release."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.cli.pull_flow import Mode, begin_pull, drive, is_over, pulling, refuse_under_way, under_way
from fleet.cli.rollout_flow import run_rollout
from fleet.cli.ui.console import notice
from fleet.cli.ui.signature_view import Prove
from fleet.cli.wiring import Wiring
from fleet.oci.releases import PublishedRelease
from fleet.resolve.desired import DesiredRobot
from fleet.rollout import audit
from fleet.rollout.pull.stages import Wishes
from fleet.rollout.result import RolloutResult

BY_SSH = "robots by SSH"
"""What a record says of the first part of a mixed rollout: only the whole of it says what is current."""


def roll_out_to_all(
    wiring: Wiring,
    release: PublishedRelease,
    robots: Sequence[DesiredRobot],
    *,
    kind: str,
    selector: str | None,
    yes: bool,
    wishes: Wishes,
    prove: Prove,
    as_json: bool,
    mode: Mode,
    notes: Sequence[str] = (),
    until_wave: int | None = None,
) -> None:
    """Bring robots to a release: those by SSH first, then those that pull, told as one. Raises what it ends with.

    A part by SSH that fails ends it. A rollout of this release to robots that pull that is under way is gone on with.
    """
    pull = pulling(robots)
    ssh = [robot for robot in robots if robot.link != "pull"]
    going = under_way(wiring) if pull and kind == audit.ROLLOUT else None
    if going is not None and is_over(wiring, going):
        going = None
    if going is not None and going.plan.release != release.digest:
        refuse_under_way(going)
    if pull and ssh:
        notice([f"{len(ssh)} robots by SSH first, then {len(pull)} robots that come for the release"])
    first: RolloutResult | None = None
    if ssh or not pull:
        first = run_rollout(
            wiring,
            release,
            ssh,
            kind=kind,
            selector=BY_SSH if pull else selector,
            yes=yes,
            force=wishes.force,
            override=wishes.override,
            prove=prove,
            as_json=as_json,
            stop_start=wishes.stop_start,
            notes=notes,
            until_wave=until_wave,
            tell=not pull,
        )
    if not pull:
        return
    if going is not None:
        rollout_id = going.plan.rollout_id
    else:
        rollout_id = begin_pull(
            wiring, release, pull, kind=kind, selector=selector, yes=yes, wishes=wishes, prove=prove
        )
    drive(wiring, rollout_id, mode, until_wave=until_wave, as_json=as_json, first=first)
