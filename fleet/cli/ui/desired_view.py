"""What robots that pull are to run, as people and machines see it."""

from __future__ import annotations

from typing import Any

from fleet.cli.ui.console import plain
from fleet.rollout.pull.stages import last_stage
from fleet.signing.desired import DesiredStanding
from fleet.signing.intent import at


def desired_document(standing: DesiredStanding) -> dict[str, Any]:
    """Return the rollout of robots that pull as JSON values; with nothing that counts, only why."""
    if standing.followed is None:
        return {"rollout": None, "problem": standing.problem}
    desired, plan = standing.followed.desired, standing.followed.plan
    return {
        "rollout": plan.rollout_id,
        "version": plan.version,
        "release": plan.release,
        "stage": desired.stage,
        "stages": last_stage(plan),
        "standing": desired.standing,
        "reason": desired.reason or None,
        "generation": desired.generation,
        "expires_at": desired.expires_at,
        "problem": standing.problem or None,
    }


def desired_in_words(standing: DesiredStanding) -> str:
    """Return one line for a terminal."""
    if standing.followed is None:
        return f"[yellow]robots that pull have no desired statement[/]: {plain(standing.problem)}"
    desired, plan = standing.followed.desired, standing.followed.plan
    reason = f" ({plain(desired.reason)})" if desired.reason else ""
    line = f"robots that pull: {plain(plan.version)} {desired.standing}{reason}, stage {desired.stage} of "
    line += f"{last_stage(plan)}; the statement counts until {at(desired.expires_at)}"
    return f"{line}; [yellow]{plain(standing.problem)}: fleet rollout --once[/]" if standing.problem else line
