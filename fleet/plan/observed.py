"""What one robot said of itself, or that it said nothing."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import PullState
from runtime.contract.robot.update import ACTIVE_STATES, UpdateState


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at one robot. A robot that could not be asked is a value too, never an exception."""

    name: str
    online: bool
    """False: not reachable, a state. True with an ``error``: it answers SSH, but its updater does not answer well."""
    error: str = ""
    """Why there is no state; empty when all went well."""
    hint: str = ""
    """What to do about ``error``."""
    has_updater: bool = True
    """False: it answered that it has none. True also when nothing is known of it."""
    needs_bootstrap: bool = False
    """It has no updater, or its host key was never pinned."""
    state: UpdateState | None = None
    attestation: Attestation | None = None
    """Only when it was asked for: costs the robot a look at its Engine and its agent."""
    fetched_at: float = 0.0
    """Unix seconds, operator's clock; of a report, when the robot made it."""
    pull: PullState | None = None
    """How a robot that pulls stands to its rollout, where it reports that."""

    @property
    def version(self) -> str | None:
        """Version of the release that the robot holds as current; None when it has none or did not answer."""
        return self.state.current.version if self.state and self.state.current else None

    @property
    def image(self) -> str | None:
        """Image (digest reference) of the current release, by the robot's journal; None as for ``version``."""
        return self.state.current.image if self.state and self.state.current else None

    @property
    def busy(self) -> bool:
        """Whether an update is in progress there."""
        return self.state is not None and self.state.state in ACTIVE_STATES
