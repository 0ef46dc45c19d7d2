"""When and how a robot may be switched, as its release says it."""

from __future__ import annotations

from fleet.manifest.schema.update_schema import Update
from runtime.contract.robot.switching import SwitchRules


def switch_rules(update: Update | None) -> SwitchRules:
    """Return the rules; the manifest's own defaults for a robot that declares nothing."""
    update = Update() if update is None else update
    return SwitchRules(
        wait_s=update.wait,
        download=update.download,
        switch=update.switch,
        bytes_per_s=update.download_rate or 0,
        handover=update.handover,
    )
