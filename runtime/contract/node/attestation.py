"""Attestation: what really runs on a robot, by its Engine and its agent. The updater makes it, `fleet` judges it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.node.health_answer import HealthAnswer, read_health
from runtime.contract.robot.update import UpdateState


@dataclass(frozen=True)
class Attestation:
    """What ``fleet-updater attest`` prints: what really runs, from the Engine and the agent, not from the journal."""

    state: UpdateState
    running_image: str = ""
    """Digest reference of the image of the running container, from the Engine; empty when none runs."""
    container_id: str = ""
    container_started_at: str = ""
    container_restarts: int = 0
    report_json: str = ""
    """HealthReport as the agent gave it; empty when the agent does not answer. Read it as :attr:`health`."""
    report_error: str = ""
    verification_json: str = ""
    """Verification as the agent gave it; empty when none was asked for (``fleet-updater verify`` asks) or none came."""
    verification_error: str = ""
    host_problems: Tuple[str, ...] = ()
    """What of the running release would not start on this host any more. Looked at when a verification is made."""
    registry: str = ""
    """Host of the registry of the current image, when it was asked for it: with a verification."""
    registry_problem: str = ""
    """Why it would not give that image to this robot; empty: it would."""
    schema: int = SCHEMA

    @cached_property
    def health(self) -> HealthAnswer:
        """The report, parsed when it is first asked for; not a field, so not on the wire: updaters send the text."""
        if not self.report_json:
            return HealthAnswer(error=self.report_error or "no report")
        return read_health(self.report_json)
