"""When and how a robot may be switched, as its release says it."""

from __future__ import annotations

from fleet.manifest.update_schema import Update
from runtime.contract.switching import SwitchRules


def switch_rules(update: Update | None) -> SwitchRules:
    """Return the rules; the contract's own for a robot that declares nothing."""
    if update is None:
        return SwitchRules()
    return SwitchRules(
        wait_s=update.wait,
        download=update.download,
        switch=update.switch,
        bytes_per_s=update.download_rate or 0,
        handover=update.handover,
    )
