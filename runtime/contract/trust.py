"""What a robot needs to believe a release without believing the controller: the document, and who signed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class Signed:
    """A statement and the SSH signatures over its bytes."""

    statement: str
    """Canonical JSON, as it was signed."""
    signatures: Tuple[str, ...] = ()
    """Armored, as ``ssh-keygen -Y sign`` writes them."""


@dataclass(frozen=True)
class Proof:
    """Travels with an order."""

    document: str
    """The ReleaseDocument as canonical JSON."""
    release: Signed
    rollback: Optional[Signed] = None
    """Only for a release older than one that the robot had."""
