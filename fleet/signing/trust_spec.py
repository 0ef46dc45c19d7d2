"""Who must have signed a release: the manifest's ``trust`` with its paths resolved. A value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.contract.robot.root import MOST_NEWEST_S


@dataclass(frozen=True, slots=True)
class TrustSpec:
    """Who must have signed a release before a robot takes it."""

    signers: Path | None = None
    """The allowed_signers file; None in a fleet that is unsigned."""
    threshold: int = 1
    sign_with: Path | None = None
    """The operator's own key."""
    expires_s: float = 0.0
    """So long a signature lasts."""
    revoked: Path | None = None
    builders: Path | None = None
    """The allowed_signers file of those who attest builds; None: the lines of ``signers`` that may."""
    build_with: Path | None = None
    """The key that `fleet build` attests with; None: ``sign_with``."""
    advance: Path | None = None
    """The allowed_signers file of those who say which release is newest; None: the lines of ``signers`` that may."""
    advance_with: Path | None = None
    """The key for that; None: ``sign_with``."""
    newest_s: float = MOST_NEWEST_S
    """So long that counts; 0: nobody says it, and no robot is ever stale."""
    root: Path | None = None
    """The folder of the signed trust roots."""

    @property
    def unsigned(self) -> bool:
        """Whether robots take releases that nobody signed."""
        return self.signers is None
