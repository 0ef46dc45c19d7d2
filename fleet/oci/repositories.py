"""The repositories below a fleet's prefix: some registries want each of them created before anything is pushed."""

from __future__ import annotations

REPOSITORIES = ("bases", "engines", "timing", "runtime", "releases", "audit", "locks")
"""In the order in which a fleet first needs them. docs/registry.md says what is in each."""


def repositories_of(prefix: str) -> tuple[str, ...]:
    """Return the whole names: ``warehouse/bases`` and so on."""
    return tuple(f"{prefix}/{name}" for name in REPOSITORIES)
