"""The trust root for the verbs: what is brought to robots, and the refusal to go on without one that counts."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.cli.wiring import Wiring
from fleet.errors import NotSigned
from fleet.signing.roots import SIGN, chain_of, judge_with, updater_words, why_no_updater
from runtime.contract.robot.trust import Signed


def roots_to_bring(wiring: Wiring) -> Sequence[Signed]:
    """Return the fleet's roots, oldest first. Raises NotSigned when the manifest's trust is none that counts."""
    return chain_of(wiring.root_standing)


def updater_to_bring(wiring: Wiring) -> Signed | None:
    """Return the statement of the updater at hand; None in an unsigned fleet. Raises NotSigned."""
    lacks = updater_lacks(wiring)
    if lacks:
        raise NotSigned(
            f"the updater {updater_version()} is not signed: {lacks}",
            hint=f"run {SIGN}, commit the folder root/, and let further signers do the same until enough have",
        )
    return None if wiring.root_standing.wanted.unsigned else wiring.root_store.updater()


def updater_lacks(wiring: Wiring) -> str:
    """Say why robots would not take the updater at hand; empty when they would."""
    root = wiring.root_standing.wanted
    if root.unsigned:
        return ""
    fleet, now = wiring.desired.fleet, wiring.clock.now()
    mine = updater_words(fleet, updater_version(), updater_zipapp(), now, wiring.desired.trust.expires_s)
    return why_no_updater(root, wiring.root_store.updater(), mine, judge_with(wiring.signer))


def require_root(wiring: Wiring) -> None:
    """Refuse a manifest whose trust is not its signed root, once it has one.

    Robots would judge by another root than this checkout. Raises NotSigned.
    """
    if wiring.root_store.versions():
        chain_of(wiring.root_standing)
