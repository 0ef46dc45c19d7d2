"""Which release is the newest: a short-lived statement, signed by the role *advance* of the trust root.

Without it, whoever is between a robot and its fleet can keep the robot on an old release for ever, and nobody sees it
(a freeze attack; TUF specification, 5.4, has its timestamp role against that). It orders nothing: a robot that sees
none in time says that it is stale.

Readers pass over keys that they do not know: what a rollout adds (its plan, the stage reached) is optional.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.contract.codec import SCHEMA
from runtime.contract.json_decoder import Limits
from runtime.contract.robot.trust import NEWEST

LIMITS = Limits(size=256 * 1024, depth=16, values=20000, text=64 * 1024)


@dataclass(frozen=True)
class Newest:
    """Its canonical JSON is signed in the namespace ``jetfleet.newest``."""

    fleet: str
    generation: int
    """Grows with every other release that it names, going back included; the same when only its time is renewed."""
    version: str
    release: str
    """``sha256:<hex>``: the release's digest in the registry."""
    issued_at: float
    """Unix seconds on the signer's clock."""
    expires_at: float
    """Unix seconds; a robot that has no later one then is stale."""
    kind: str = NEWEST
    schema: int = SCHEMA
