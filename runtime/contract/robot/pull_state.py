"""How a robot that pulls stands to its fleet, as it says it itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PullState:
    """How a robot that pulls stands to the desired statement."""

    generation: int = 0
    """Of the statement that it follows; 0: it has seen none."""
    rollout_id: str = ""
    stage: int = 0
    """Its own stage in that plan, from 1; 0: no plan."""
    held: str = ""
    """Why it does not run what it should, or waits: a sentence for people; empty when nothing holds it."""
    next_poll_at: float = 0.0
    """Unix seconds by the robot's clock."""
    problem: str = ""
    """Why the last look at the registry failed; empty when it did not."""
    unreported: str = ""
    """Why the hub does not have the robot's last report; empty when it has. Said at the robot."""
