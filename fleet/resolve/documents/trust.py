"""Who signs releases: the manifest's ``trust`` with its paths resolved."""

from __future__ import annotations

from pathlib import Path

from fleet.manifest.schema.trust_schema import Trust
from fleet.signing.trust_spec import TrustSpec

ROOT_FOLDER = "root"
"""Beside fleet.yaml."""


def trust_spec(trust: Trust, root: Path) -> TrustSpec:
    """Return ``trust`` with absolute paths: relative to fleet.yaml, ``~`` is the operator's home."""
    if trust.unsigned:
        return TrustSpec(root=(root / ROOT_FOLDER).absolute())

    def path(name: str | None) -> Path | None:
        return None if name is None else (root / Path(name).expanduser()).absolute()

    return TrustSpec(
        path(trust.signers),
        trust.threshold,
        path(trust.sign_with),
        trust.expires,
        path(trust.revoked),
        path(trust.builders),
        path(trust.build_with),
        path(trust.advance),
        path(trust.advance_with),
        trust.newest,
        path(ROOT_FOLDER),
    )
