"""The statement of the newest release in the registry: who signed it, whether it counts, what the next one says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import UsageError
from fleet.oci.image_spec import EMPTY, MANIFEST, NAMESPACE, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.releases import PublishedRelease, releases_of
from fleet.oci.skim import bounded, said
from fleet.ports import Registry, Signer
from fleet.signing.intent import at
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.newest import LIMITS, Newest
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.root_chain import Judge
from runtime.contract.robot.trust import NAMESPACES, NEWEST, Signed, why_too_few

NEWEST_TYPE = "application/vnd.jetfleet.newest.v1+json"
TAG = "newest"
_EMPTY = Bytes.of(b"{}")


@dataclass(frozen=True, slots=True)
class NewestStanding:
    """What the registry says of the newest release, judged as a robot would."""

    signed: Signed | None = None
    """None when there is none that counts: nothing is brought to robots then."""
    newest: Newest | None = None
    problem: str = ""
    """Why there is none."""


def read_newest(registry: Registry, prefix: str, root: TrustRoot, judge: Judge, now: float) -> NewestStanding:
    """Return the statement that the registry has, judged by the root's role *advance*. Raises RegistryError.

    What cannot be read does not count, like what nobody signed: whoever writes to the registry hides it no better.
    """
    try:
        signed = _load(registry, releases_of(prefix))
    except (ValueError, RecursionError, OverflowError) as error:
        return NewestStanding(problem=f"it cannot be read: {said(error)}")
    if signed is None:
        return NewestStanding(problem="there is none in the registry")
    # Signatures first, over the bytes: nothing that nobody signed is decoded.
    missing = why_too_few([judge(root, signed.statement, each, NAMESPACES[NEWEST]) for each in signed.signatures], 1)
    if missing:
        return NewestStanding(problem=f"it is {missing}")
    try:
        newest = from_json(Newest, signed.statement, LIMITS)
    except ValueError as error:
        return NewestStanding(problem=f"it cannot be read: {said(error)}")
    if (newest.kind, newest.fleet) != (NEWEST, root.fleet):
        return NewestStanding(problem=f"it is {newest.kind} of fleet {newest.fleet}")
    if newest.expires_at < now:
        return NewestStanding(None, newest, f"it expired at {at(newest.expires_at)}")
    return NewestStanding(signed, newest)


def _load(registry: Registry, repository: str) -> Signed | None:
    found = registry.get_manifest(repository, TAG)
    if found is None:
        return None
    layers = parse_manifest(found, place(registry, repository, TAG)).layers
    if [layer.media_type for layer in layers] != [NEWEST_TYPE]:
        raise ValueError("something else was pushed there")
    bounded(layers[0].size, "the statement", LIMITS.size)
    signed = from_json(Signed, registry.read_blob(repository, layers[0].digest), LIMITS)
    if len(signed.signatures) != 1:
        raise ValueError(f"it has {len(signed.signatures)} signatures")
    return signed


def words_for(before: NewestStanding, fleet: str, release: PublishedRelease, now: float, lasts_s: float) -> Newest:
    """Return what is signed next.

    A new generation is a time, so that a registry that hides the last statement does not set it back.
    """
    issued = float(int(now))
    last = before.newest
    same = last is not None and (last.version, last.release) == (release.version, release.digest)
    generation = last.generation if last is not None and same else max(int(now), last.generation + 1 if last else 0)
    return Newest(fleet, generation, release.version, release.digest, issued, issued + lasts_s)


def sign_newest(
    registry: Registry,
    prefix: str,
    words: Newest,
    *,
    root: TrustRoot,
    judge: Judge,
    signer: Signer,
    key: Path,
    on_sign: Callable[[], None] = lambda: None,
) -> NewestStanding:
    """Sign the statement and put it into the registry. Raises UsageError for a key that is not of the role."""
    text = canonical_json(words).decode()
    on_sign()
    signature = signer.sign(text.encode(), NAMESPACES[NEWEST], key)
    facts = judge(root, text, signature, NAMESPACES[NEWEST])
    if not facts.counts:
        raise UsageError(
            f"{key} may not say which release is the newest: {facts.problem}",
            hint=f'add it to trust/advance (namespaces="{NAMESPACES[NEWEST]}"), or name another in trust/advance_with',
        )
    signed = Signed(text, (signature,))
    repository, blob = releases_of(prefix), Bytes.of(canonical_json(signed))
    body = manifest_bytes(
        Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size),
        [Descriptor(NEWEST_TYPE, blob.digest, blob.size)],
        annotations={f"{NAMESPACE}.version": words.version},
        artifact_type=NEWEST_TYPE,
    )
    registry.push_blob(repository, _EMPTY)
    registry.push_blob(repository, blob)
    registry.put_manifest(repository, TAG, body, MANIFEST)
    return NewestStanding(signed, words)
