"""What the registry holds of what the manifest needs. A value; asking is `fleet/publish/lookup.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.contract.robot.release import ReleaseDocument


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """One look at the registry. Everything asked for is a key; ``None`` means the registry lacks it."""

    engines: Mapping[str, str | None]
    """Engine key → artifact digest."""
    bases: Mapping[str, str | None]
    """Recipe tag → base image digest."""
    release: ReleaseDocument | None
    """The release published under the manifest's version."""
    release_digest: str | None = None
    unproven: Mapping[str, str] = field(default_factory=dict)
    """Engine key or recipe tag → why no builder's attestation counts for what the registry holds there. It counts as
    missing. Always empty for an unsigned fleet, which asks for none."""
    attested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Engine key or recipe tag → which builders attest it."""

    def missing_engines(self) -> tuple[str, ...]:
        """Return the engine keys that must be built, in the manifest's order."""
        return tuple(key for key, digest in self.engines.items() if digest is None)

    def missing_bases(self) -> tuple[str, ...]:
        """Return the recipe tags whose image must be built, in the manifest's order."""
        return tuple(tag for tag, digest in self.bases.items() if digest is None)
