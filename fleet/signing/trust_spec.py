"""Who must have signed a release: the manifest's ``trust`` with its paths resolved. A value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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

    @property
    def unsigned(self) -> bool:
        """Whether robots take releases that nobody signed."""
        return self.signers is None
