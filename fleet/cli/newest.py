"""The newest release for the verbs: what robots are brought at every contact, and who says what it is."""

from __future__ import annotations

from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, RegistryError, UsageError
from fleet.oci.releases import PublishedRelease
from fleet.signing.newest import NewestStanding, read_newest, sign_newest, words_for
from fleet.signing.roots import judge_with
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.trust import Signed


def says_newest(wiring: Wiring) -> bool:
    """Whether this fleet says which release is the newest: it has a signed root that asks for it."""
    trust = wiring.desired.trust
    return not trust.unsigned and trust.newest_s > 0.0 and bool(wiring.root_store.versions())


def newest_of(wiring: Wiring) -> NewestStanding | None:
    """Return what the registry says, or why it cannot be had; None in a fleet that says nothing."""
    if not says_newest(wiring):
        return None
    try:
        return _read(wiring)
    except FleetError as error:
        return NewestStanding(problem=error.message)


def announce(wiring: Wiring, release: PublishedRelease, *, only_renew: bool = False) -> NewestStanding:
    """Sign that ``release`` is the newest, put that into the registry and return it.

    ``only_renew``: leave a statement that names another release as it is. Raises FleetError.
    """
    trust, root = wiring.desired.trust, wiring.root_standing.wanted
    key = trust.advance_with or trust.sign_with
    before = _read(wiring)
    named = before.newest
    if only_renew and named is not None and (named.version, named.release) != (release.version, release.digest):
        return before
    if key is None:
        raise UsageError("no key to say which release is the newest", hint="set trust/advance_with in fleet.yaml")
    words = words_for(before, wiring.desired.fleet, release, wiring.clock.now(), trust.newest_s)
    return sign_newest(
        wiring.registry,
        wiring.desired.registry.prefix,
        words,
        root=root,
        judge=judge_with(wiring.signer),
        signer=wiring.signer,
        key=key,
    )


def announced(
    wiring: Wiring, release: PublishedRelease, *, whole: bool
) -> tuple[tuple[Signed, Newest] | None, list[str]]:
    """Say that the whole fleet's release is the newest, or renew that of some robots.

    Returns what is brought to robots, and sentences: without a key a rollout goes on, and says that robots will be
    stale. Raises RegistryError.
    """
    if not says_newest(wiring):
        return None, []
    try:
        return to_bring(announce(wiring, release, only_renew=not whole)), []
    except RegistryError:
        raise
    except FleetError as error:
        why = f"not said that {release.version} is the newest release: {error.message} → {error.hint}"
        return to_bring(newest_of(wiring)), [why]


def _read(wiring: Wiring) -> NewestStanding:
    judge, prefix = judge_with(wiring.signer), wiring.desired.registry.prefix
    return read_newest(wiring.registry, prefix, wiring.root_standing.wanted, judge, wiring.clock.now())


def to_bring(standing: NewestStanding | None) -> tuple[Signed, Newest] | None:
    """Return what a `fleet.link.robot.RobotClient` brings; None when nothing counts."""
    if standing is None or standing.signed is None or standing.newest is None:
        return None
    return standing.signed, standing.newest


def warning(standing: NewestStanding | None) -> list[str]:
    """Say that robots will be stale, and what to do; nothing when they will not."""
    if standing is None or not standing.problem:
        return []
    return [f"the statement of the newest release: {standing.problem} → fleet keys newest"]
