"""What robots that pull are to run, in the registry: publish a plan, move inside it, read it as a robot would.

The plan is signed by the root's signers, the statement by the role *advance*. A statement lives under a moving tag;
plans that are not signed by enough people yet lie under a tag of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import NotSigned, RegistryError, UsageError
from fleet.oci.image_spec import EMPTY, MANIFEST, NAMESPACE, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.skim import bounded, said
from fleet.ports import Registry, Signer
from fleet.signing.intent import at
from runtime.contract.codec import canonical_json, digest_of_bytes, from_json
from runtime.contract.robot.desired import (
    DESIRED_TYPE,
    ENDED,
    PLAN_LIMITS,
    PLAN_TYPE,
    PROOF_TYPE,
    REPOSITORY,
    RUNNING,
    STATEMENT_LIMITS,
    TAG,
    Desired,
    RolloutPlan,
)
from runtime.contract.robot.desired_rules import DesiredRefused, Followed, judged, why_out_of_time
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.root_chain import Judge
from runtime.contract.robot.trust import DESIRED, NAMESPACES, PLAN, Proof, Signed, why_too_few

_EMPTY = Bytes.of(b"{}")
_TYPES = (DESIRED_TYPE, PLAN_TYPE, PROOF_TYPE)
#: A signed document in its JSON envelope is longer than its words: quotes are escaped, signatures come along.
_ENVELOPE = 2
MAX_PROOF = 16 << 20


@dataclass(frozen=True, slots=True)
class DesiredStanding:
    """What the registry says robots are to run, judged as a robot would."""

    followed: Followed | None = None
    """None when there is nothing that enough people signed."""
    plan: Signed | None = None
    proof: Proof | None = None
    problem: str = ""
    """Why robots do not follow it: nothing there, not signed, expired. It may have expired and still be readable."""

    @property
    def counts(self) -> bool:
        """Whether robots follow it now."""
        return self.followed is not None and not self.problem


@dataclass(frozen=True, slots=True)
class Office:
    """Whoever publishes for robots that pull: a registry, the root that counts, and who judges and signs."""

    registry: Registry
    prefix: str
    root: TrustRoot
    judge: Judge
    signer: Signer

    @property
    def repository(self) -> str:
        """Where it all lies."""
        return f"{self.prefix}/{REPOSITORY}"


def read_desired(office: Office, now: float) -> DesiredStanding:
    """Return what the registry says, judged by the root. Raises RegistryError.

    What cannot be read does not count, as what nobody signed: whoever writes to the registry hides it no better.
    """
    try:
        found = _load(office.registry, office.repository)
    except (ValueError, RecursionError, OverflowError) as error:
        return DesiredStanding(problem=f"it cannot be read: {said(error)}")
    if found is None:
        return DesiredStanding(problem="there is none in the registry")
    statement, plan, proof = found
    try:
        followed = judged(office.root, statement, plan, office.judge)
    except DesiredRefused as refused:
        return DesiredStanding(problem=refused.reason)
    return DesiredStanding(followed, plan, proof, why_out_of_time(followed, now))


def _load(registry: Registry, repository: str) -> tuple[Signed, Signed, Proof] | None:
    found = registry.get_manifest(repository, TAG)
    if found is None:
        return None
    layers = parse_manifest(found, place(registry, repository, TAG)).layers
    if tuple(layer.media_type for layer in layers) != _TYPES:
        raise ValueError("something else was pushed there")
    for layer, most in zip(
        layers, (_ENVELOPE * STATEMENT_LIMITS.size, _ENVELOPE * PLAN_LIMITS.size, MAX_PROOF), strict=True
    ):
        bounded(layer.size, layer.media_type, most)
    texts = [registry.read_blob(repository, layer.digest) for layer in layers]
    return from_json(Signed, texts[0]), from_json(Signed, texts[1]), from_json(Proof, texts[2])


# ── the plan ──


def sign_plan(office: Office, plan: RolloutPlan, key: Path | None) -> tuple[Signed, str]:
    """Sign a plan next to those who signed the same, keep it in the registry, and return it with what is missing.

    ``key`` None: only in an unsigned fleet. Empty words: enough people signed it. Raises UsageError for a key that may
    not sign plans, RegistryError.
    """
    text = canonical_json(plan).decode()
    if office.root.unsigned:
        return Signed(text), ""
    before = read_plan(office, plan.rollout_id)
    there = before.signatures if before is not None and before.statement == text else ()
    signatures = list(there)
    if key is None:
        raise UsageError("no key to sign the plan of a rollout", hint="set trust/sign_with in fleet.yaml")
    made = office.signer.sign(text.encode(), NAMESPACES[PLAN], key)
    fact = office.judge(office.root, text, made, NAMESPACES[PLAN])
    if not fact.counts:
        raise UsageError(
            f"{key} may not sign the plan of a rollout: {fact.problem}",
            hint=f'its line in allowed_signers needs the namespace {NAMESPACES[PLAN]} (namespaces="jetfleet.*")',
        )
    known = [office.judge(office.root, text, each, NAMESPACES[PLAN]) for each in signatures]
    if fact.key not in {each.key for each in known}:
        signatures.append(made)
        known.append(fact)
    signed = Signed(text, tuple(signatures))
    _put(office, _plan_tag(plan.rollout_id), [(PLAN_TYPE, signed)], plan.version)
    return signed, why_too_few(known, office.root.threshold)


def read_plan(office: Office, rollout_id: str) -> Signed | None:
    """Return a plan as far as it is signed; None when there is none, or something else. Raises RegistryError."""
    found = office.registry.get_manifest(office.repository, _plan_tag(rollout_id))
    if found is None:
        return None
    try:
        layers = parse_manifest(found, place(office.registry, office.repository, _plan_tag(rollout_id))).layers
        if [layer.media_type for layer in layers] != [PLAN_TYPE]:
            return None
        bounded(layers[0].size, "the plan", _ENVELOPE * PLAN_LIMITS.size)
        return from_json(Signed, office.registry.read_blob(office.repository, layers[0].digest))
    except (ValueError, RecursionError, OverflowError):
        return None


def _plan_tag(rollout_id: str) -> str:
    return f"plan-{rollout_id}"


# ── the statement ──


def first_words(before: DesiredStanding, plan: RolloutPlan, text: str, now: float, lasts_s: float) -> Desired:
    """Return the first statement of a rollout: no stage is reached yet. ``text``: the plan as it was signed.

    A new generation is a time, so that a registry that hides the last statement does not set it back.
    """
    issued = float(int(now))
    last = before.followed.desired.generation if before.followed is not None else 0
    return Desired(
        fleet=plan.fleet,
        generation=max(int(now), last + 1),
        rollout_id=plan.rollout_id,
        plan=digest_of_bytes(text.encode()),
        stage=0,
        standing=RUNNING,
        issued_at=issued,
        expires_at=issued + lasts_s,
    )


def moved_words(
    standing: DesiredStanding, now: float, lasts_s: float, *, stage: int | None = None, to: str = "", reason: str = ""
) -> Desired:
    """Return the next statement of the same rollout; nothing given: the same again, for another ``lasts_s``.

    ``stage``: stages that may change, never fewer than before. ``to``: a standing. Raises UsageError for what lies
    outside of the plan, or goes back.
    """
    if standing.followed is None:
        raise UsageError(f"no rollout to move: {standing.problem}", hint="begin one with fleet rollout")
    last, plan = standing.followed.desired, standing.followed.plan
    issued = float(int(now))
    words = dataclasses.replace(
        last,
        stage=last.stage if stage is None else stage,
        standing=to or last.standing,
        reason=reason if stage is not None or to else last.reason,
        issued_at=issued,
        expires_at=issued + lasts_s,
    )
    _check_move(last, words, len(plan.stages), plan.rollout_id)
    said_before = (last.stage, last.standing, last.reason)
    if (words.stage, words.standing, words.reason) == said_before:
        return dataclasses.replace(words, issued_at=max(issued, last.issued_at))
    return dataclasses.replace(words, generation=max(int(now), last.generation + 1))


def _check_move(last: Desired, words: Desired, stages: int, rollout: str) -> None:
    if not last.stage <= words.stage <= stages:
        raise UsageError(
            f"rollout {rollout} is at stage {last.stage} of {stages}: it cannot go to {words.stage}",
            hint="stages only go forward, inside the signed plan; `--abort` takes robots back",
        )
    over = ("aborted", "reverting")
    if last.standing in over and words.standing not in over:
        raise UsageError(
            f"rollout {rollout} was ended: {last.standing}{f' ({last.reason})' if last.reason else ''}",
            hint="begin another one with fleet rollout",
        )
    if words.standing == ENDED and words.stage != stages:
        raise UsageError(
            f"rollout {rollout} is at stage {words.stage} of {stages}: it is not at its end",
            hint="go through its stages",
        )


def publish(
    office: Office,
    words: Desired,
    plan: Signed,
    proof: Proof,
    key: Path | None,
    on_sign: Callable[[], None] = lambda: None,
) -> DesiredStanding:
    """Sign a statement, put it into the registry with its plan and the release's proof, and return it.

    Raises UsageError for a key that is not of the role *advance*, NotSigned for what robots would refuse, RegistryError
    also when somebody else published at the same time.
    """
    text = canonical_json(words).decode()
    signatures: tuple[str, ...] = ()
    if not office.root.unsigned:
        if key is None:
            raise UsageError("no key to say how far a rollout has come", hint="set trust/advance_with in fleet.yaml")
        on_sign()
        signatures = (office.signer.sign(text.encode(), NAMESPACES[DESIRED], key),)
        fact = office.judge(office.root, text, signatures[0], NAMESPACES[DESIRED])
        if not fact.counts:
            raise UsageError(
                f"{key} may not say how far a rollout has come: {fact.problem}",
                hint=f'add it to trust/advance (namespaces="{NAMESPACES[DESIRED]}"), or name another in '
                "trust/advance_with",
            )
    statement = Signed(text, signatures)
    try:
        followed = judged(office.root, statement, plan, office.judge)
    except DesiredRefused as refused:
        raise NotSigned(f"robots would refuse it: {refused.reason}", hint=refused.hint) from refused
    digest = _put(
        office, TAG, [(DESIRED_TYPE, statement), (PLAN_TYPE, plan), (PROOF_TYPE, proof)], followed.plan.version
    )
    # Registries have no compare-and-swap: of two who publish at the same time, the one that lost must hear of it.
    if office.registry.head_manifest(office.repository, TAG) != digest:
        raise RegistryError(
            f"{office.repository}:{TAG} was published by another program at the same time",
            hint="another controller is at work: look with fleet status, then run this again",
        )
    return DesiredStanding(followed, plan, proof)


def renewed(office: Office, now: float, lasts_s: float, key: Path | None) -> DesiredStanding:
    """Sign the statement that counts for another ``lasts_s``; what does not count is left, and said in the answer.

    Raises UsageError, RegistryError. One that only expired is renewed as well, while its plan counts.
    """
    found = read_desired(office, now)
    if found.followed is None or found.plan is None or found.proof is None:
        return found
    if now > found.followed.plan.expires_at:
        expired = at(found.followed.plan.expires_at)
        return dataclasses.replace(
            found, problem=f"the plan of rollout {found.followed.plan.rollout_id} expired at {expired}"
        )
    return publish(office, moved_words(found, now, lasts_s), found.plan, found.proof, key)


def _put(office: Office, tag: str, layers: list[tuple[str, Signed | Proof]], version: str) -> str:
    """Push the layers and the tag; return the manifest's digest."""
    blobs = [(kind, Bytes.of(canonical_json(value))) for kind, value in layers]
    body = manifest_bytes(
        Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size),
        [Descriptor(kind, blob.digest, blob.size) for kind, blob in blobs],
        annotations={f"{NAMESPACE}.version": version},
        artifact_type=layers[0][0],
    )
    for blob in (_EMPTY, *(blob for _, blob in blobs)):
        office.registry.push_blob(office.repository, blob)
    return office.registry.put_manifest(office.repository, tag, body, MANIFEST)
