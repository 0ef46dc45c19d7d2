"""What orders carry so that robots believe them: signatures from the registry, and rollback orders signed now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.cli.trust_root import require_root
from fleet.cli.ui.console import notice
from fleet.cli.wiring import Wiring
from fleet.errors import NotSigned
from fleet.oci.releases import PublishedRelease
from fleet.resolve.desired import DesiredRobot
from fleet.signing.keyring import Keyring, signed_of
from fleet.signing.signatures import release_statement, rollback_statement
from runtime.contract.robot.trust import ROLLBACK, Proof, Signed

Prove = Callable[[], Proof | None]


def keyring(wiring: Wiring) -> Keyring:
    """Return the manifest's allowed signers against its registry, now.

    Raises NotSigned when they are not those of the signed root.
    """
    require_root(wiring)
    desired = wiring.desired
    return Keyring(wiring.registry, desired.registry.prefix, desired.trust, wiring.signer, wiring.clock.now())


@dataclass(frozen=True, slots=True)
class Standing:
    """Who has signed for a release by now."""

    unsigned: bool
    """The fleet takes releases that nobody signed."""
    people: tuple[str, ...] = ()
    missing: str = ""
    """What it lacks before robots take it; empty when nothing."""
    set_aside: tuple[str, ...] = ()
    """Words of other signers that were not signed with ours, and what in the registry could not be read."""

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "unsigned": self.unsigned,
            "signed_by": list(self.people),
            "missing": self.missing or None,
            "set_aside": list(self.set_aside),
        }

    def line(self, version: str) -> str:
        """Say it in a line."""
        if self.unsigned:
            return "unsigned: robots of this fleet take any release"
        who = f"signed by {', '.join(self.people)}" if self.people else "not signed yet"
        return f"{who}: run fleet keys sign {version} ({self.missing})" if self.missing else who


def publish_key(wiring: Wiring) -> tuple[Path, str] | None:
    """Return the key that `fleet publish` signs with, where the manifest names one. Raises UsageError."""
    trust = wiring.desired.trust
    return None if trust.unsigned or trust.sign_with is None else keyring(wiring).key()


def sign_release(
    wiring: Wiring, release: PublishedRelease, key: tuple[Path, str] | None, *, renew: bool = False
) -> Standing:
    """Add a signature to a published release, unless the key has signed it already. ``renew``: in new words."""
    trust = wiring.desired.trust
    if trust.unsigned:
        return Standing(unsigned=True)
    keys = keyring(wiring)
    beyond: list[str] = []
    if key is not None:
        mine = release_statement(release, wiring.clock.now(), trust.expires_s)
        beside, beyond = keys.within([] if renew else keys.bundles(release)[0], mine, key[1])
        keys.sign(mine, beside, key)
    bundles, damaged = keys.bundles(release)
    best = bundles[0] if bundles else None
    notice([*beyond, *damaged])
    return Standing(False, best.people if best else (), keys.missing(best), (*beyond, *damaged))


def release_proof(wiring: Wiring, release: PublishedRelease) -> Proof | None:
    """Return what robots ask for; None in an unsigned fleet. Raises NotSigned."""
    if wiring.desired.trust.unsigned:
        return None
    return Proof(release.text, keyring(wiring).require(release))


def rollback_proof(
    wiring: Wiring, release: PublishedRelease, robots: Sequence[DesiredRobot], *, renew: bool, reason: str
) -> Prove:
    """Check that the release is signed and a key is there; return what signs the rollback order once it is wanted.

    Raises NotSigned, UsageError.
    """
    release_signed = release_proof(wiring, release)
    if release_signed is None:
        return lambda: None
    keys = keyring(wiring)
    key = keys.key()
    every = len(robots) == len(wiring.desired.robots)
    names = [] if every else [robot.name for robot in robots]

    def prove() -> Proof:
        return Proof(release.text, release_signed.release, _order(wiring, release, keys, key, names, renew, reason))

    return prove


def _order(
    wiring: Wiring,
    release: PublishedRelease,
    keys: Keyring,
    key: tuple[Path, str],
    names: list[str],
    renew: bool,
    reason: str,
) -> Signed:
    """Sign a rollback order, or the one that waits for more signers. Raises NotSigned while it lacks some."""
    # With one signer there is nothing to wait for, and robots take each order once: always a new one.
    waiting = [] if renew or wiring.desired.trust.threshold == 1 else keys.bundles(release, ROLLBACK)[0]
    statement = rollback_statement(release, wiring.clock.now(), names, reason)
    beside, beyond = keys.within(waiting, statement, key[1])
    notice(beyond)
    bundle = keys.sign(statement, beside, key) or beside[0]
    missing = keys.missing(bundle)
    if missing:
        robots = f" --robots {','.join(names)}" if names else ""
        raise NotSigned(
            f"the rollback order for {release.version} is {missing}; yours is in the registry",
            hint=f"let another allowed signer run fleet rollback {release.version}{robots} within a day: it adds "
            "theirs, and goes on",
        )
    return signed_of(bundle)
