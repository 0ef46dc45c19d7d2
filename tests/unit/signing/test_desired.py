"""What robots that pull are to run: published, moved inside its plan, and read as a robot would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import NotSigned, RegistryError, UsageError
from fleet.oci.image_spec import MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.signing.desired import (
    DesiredStanding,
    Office,
    first_words,
    moved_words,
    publish,
    read_desired,
    read_plan,
    renewed,
    sign_plan,
)
from fleet.signing.roots import judge_with
from runtime.contract.codec import canonical_json
from runtime.contract.robot.desired import (
    ABORTED,
    DESIRED_TYPE,
    ENDED,
    PAUSED,
    REVERTING,
    RUNNING,
    Desired,
    RolloutPlan,
)
from runtime.contract.robot.desired import Stage as PlanStage
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.trust import Proof, Signed
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.signer import FakeSigner

NOW, DAY = 1_800_000_000.0, 86400.0
PROOF = Proof("{}", Signed("{}"))


class Desk:
    """Anna and Ben sign plans, Carl is of the role advance, Eve is nobody."""

    def __init__(self, folder: Path, threshold: int = 1, unsigned: bool = False) -> None:
        self.folder, self.registry, self.signer = folder, FakeRegistry(), FakeSigner()
        root = TrustRoot("shop", 1, "anna@x anna\nben@x ben\n", threshold, advance="ci@x carl\n")
        if unsigned:
            root = TrustRoot("shop", 0, unsigned=True)
        self.office = Office(self.registry, "shop", root, judge_with(self.signer), self.signer)

    def key(self, name: str) -> Path:
        return self.folder / name

    def begin(self, plan: RolloutPlan | None = None, by: str = "carl") -> DesiredStanding:
        plan = plan or rollout("r-1")
        signed, missing = sign_plan(self.office, plan, self.key("anna"))
        assert missing == ""
        words = first_words(self.read(), plan, signed.statement, NOW, DAY)
        return publish(self.office, words, signed, PROOF, self.key(by))

    def read(self, now: float = NOW) -> DesiredStanding:
        return read_desired(self.office, now)

    def move(self, now: float = NOW + 60, *, by: str = "carl", to: str = "", stage: int | None = None) -> Desired:
        found = self.read(now)
        assert found.plan is not None
        assert found.proof is not None
        words = moved_words(found, now, DAY, stage=stage, to=to)
        done = publish(self.office, words, found.plan, found.proof, self.key(by))
        assert done.followed is not None
        return done.followed.desired


def rollout(rollout_id: str, stages: int = 2, **changes: object) -> RolloutPlan:
    found = tuple(PlanStage((f"amr-{number}",)) for number in range(stages))
    base = RolloutPlan("shop", rollout_id, "1.1.0", "sha256:" + "a" * 64, found, NOW, NOW + 30 * DAY)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_published_is_read_back_and_moves_stage_by_stage(desk: Desk) -> None:
    assert "there is none in the registry" in desk.read().problem
    first = desk.begin()
    assert desk.read() == first
    assert first.counts
    assert first.followed is not None
    assert (first.followed.desired.stage, first.followed.desired.standing) == (0, RUNNING)
    one = desk.move(stage=1)
    two = desk.move(stage=2)
    assert first.followed.desired.generation < one.generation < two.generation
    assert desk.move(to=ENDED).standing == ENDED


def test_a_statement_that_is_renewed_keeps_its_generation(desk: Desk) -> None:
    desk.begin()
    before = desk.move(stage=1)
    later = renewed(desk.office, NOW + 2 * DAY, DAY, desk.key("carl"))
    assert later.followed is not None
    assert later.followed.desired == dataclasses.replace(before, issued_at=NOW + 2 * DAY, expires_at=NOW + 3 * DAY)
    assert later.counts


def test_an_expired_one_is_read_and_does_not_count(desk: Desk) -> None:
    desk.begin()
    found = desk.read(NOW + 2 * DAY)
    assert not found.counts
    assert "expired at 2027-01-16T08:00:00Z, it is 2027-01-17T08:00:00Z here" in found.problem
    gone = renewed(desk.office, NOW + 31 * DAY, DAY, desk.key("carl"))
    assert "the plan of rollout r-1 expired" in gone.problem


@pytest.mark.parametrize(
    ("move", "says"),
    [
        (lambda desk: desk.move(stage=3), "is at stage 1 of 2: it cannot go to 3"),
        (lambda desk: desk.move(stage=0), "is at stage 1 of 2: it cannot go to 0"),
        (lambda desk: desk.move(to=ENDED), "it is not at its end"),
        (lambda desk: (desk.move(to=ABORTED), desk.move(NOW + 90, to=RUNNING)), "was ended: aborted"),
        (lambda desk: (desk.move(to=REVERTING), desk.move(NOW + 90, stage=2, to=RUNNING)), "was ended: reverting"),
        (lambda desk: desk.move(stage=2, by="eve"), "eve may not say how far a rollout has come"),
        (lambda desk: desk.move(stage=2, by="anna"), "anna may not say how far a rollout has come"),
    ],
)
def test_what_lies_outside_of_the_plan_is_refused_before_it_is_signed(
    desk: Desk, move: Callable[[Desk], object], says: str
) -> None:
    desk.begin()
    desk.move(stage=1)
    before = desk.read()
    with pytest.raises(UsageError) as caught:
        move(desk)
    assert says in caught.value.message
    assert caught.value.hint
    now = desk.read()
    assert before.followed is not None
    assert now.followed is not None
    assert now.followed.desired.stage == before.followed.desired.stage


def test_paused_and_resumed(desk: Desk) -> None:
    desk.begin()
    assert desk.move(to=PAUSED).standing == PAUSED
    assert desk.move(NOW + 120, to=RUNNING, stage=1).standing == RUNNING


def test_advance_signs_no_plan_and_a_plan_needs_all_its_signers(tmp_path: Path) -> None:
    desk = Desk(tmp_path, threshold=2)
    with pytest.raises(UsageError, match="carl may not sign the plan"):
        sign_plan(desk.office, rollout("r-1"), desk.key("carl"))
    signed, missing = sign_plan(desk.office, rollout("r-1"), desk.key("anna"))
    assert "1 of 2" in missing
    again, missing = sign_plan(desk.office, rollout("r-1"), desk.key("anna"))
    assert len(again.signatures) == 1
    words = first_words(desk.read(), rollout("r-1"), signed.statement, NOW, DAY)
    with pytest.raises(NotSigned, match="robots would refuse it: the plan is signed by 1 of 2"):
        publish(desk.office, words, signed, PROOF, desk.key("carl"))
    assert "there is none" in desk.read().problem
    both, missing = sign_plan(desk.office, rollout("r-1"), desk.key("ben"))
    assert missing == ""
    assert read_plan(desk.office, "r-1") == both
    assert publish(desk.office, words, both, PROOF, desk.key("carl")).counts


def _put(desk: Desk, *contents: bytes, types: tuple[str, ...] = ()) -> None:
    found = desk.registry.get_manifest("shop/desired", "desired")
    assert found is not None
    empty = Bytes.of(b"{}")
    kinds = types or tuple(f"application/vnd.jetfleet.{name}.v1+json" for name in ("desired", "plan", "proof"))
    blobs = [Bytes.of(content) for content in contents]
    for blob in (empty, *blobs):
        desk.registry.push_blob("shop/desired", blob)
    layers = [Descriptor(kind, blob.digest, blob.size) for kind, blob in zip(kinds, blobs, strict=True)]
    body = manifest_bytes(Descriptor("application/vnd.oci.empty.v1+json", empty.digest, 2), layers)
    desk.registry.put_manifest("shop/desired", "desired", body, MANIFEST)


def _forged(desk: Desk, **changes: object) -> Signed:
    """A statement that Carl really signed, with other words."""
    found = desk.read()
    assert found.followed is not None
    text = canonical_json(dataclasses.replace(found.followed.desired, **changes)).decode()  # type: ignore[arg-type]
    return Signed(text, (desk.signer.sign(text.encode(), "jetfleet.desired", desk.key("carl")),))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stage": 3}, "says stage 3, and the signed plan has 2"),
        ({"stage": -1}, "says stage -1, and the signed plan has 2"),
        ({"rollout_id": "r-2"}, "is of rollout r-2, its plan of r-1"),
        ({"plan": "sha256:" + "0" * 64}, "names another plan than the one that lies with it"),
        ({"fleet": "depot"}, "is of fleet depot, this is shop"),
        ({"standing": "exploding"}, "says 'exploding'"),
        ({"kind": "newest"}, "signed is a newest"),
        ({"expires_at": NOW + 8 * DAY}, "made for 8.0 days, 7 at most"),
        ({"schema": 99}, "cannot be read"),
    ],
)
def test_the_role_advance_cannot_go_beyond_the_plan_with_a_program_of_its_own(
    desk: Desk, changes: dict[str, object], says: str
) -> None:
    good = desk.begin()
    assert good.plan is not None
    _put(desk, canonical_json(_forged(desk, **changes)), canonical_json(good.plan), canonical_json(PROOF))
    found = desk.read()
    assert not found.counts
    assert says in found.problem


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ((b"{}", b"{}", b"{}"), "cannot be read"),
        ((b"[" * 9000, b"{}", b"{}"), "cannot be read"),
        ((b"{}", b"\xff\xfe", b"{}"), "cannot be read"),
        ((canonical_json(Signed("{}")), canonical_json(Signed("{}")), canonical_json(PROOF)), "signed by 0 of 1"),
        (
            (canonical_json(Signed("{}", ("x",) * 17)), canonical_json(Signed("{}")), canonical_json(PROOF)),
            "17 signatures",
        ),
    ],
    ids=["empty", "deep", "no text", "unsigned", "many"],
)
def test_junk_counts_as_nothing_and_is_named(desk: Desk, contents: tuple[bytes, ...], says: str) -> None:
    desk.begin()
    _put(desk, *contents)
    assert says in desk.read().problem


def test_something_else_under_the_tag_is_named(desk: Desk) -> None:
    desk.begin()
    _put(desk, b"{}", types=(DESIRED_TYPE,))
    assert "something else was pushed there" in desk.read().problem
    assert desk.begin(rollout("r-2")).counts, "and the next one is published over it"


def test_who_loses_a_race_hears_of_it(desk: Desk) -> None:
    found = desk.begin()
    assert found.plan is not None
    words = moved_words(found, NOW + 5, DAY, stage=1)
    text = canonical_json(dataclasses.replace(words, stage=2)).decode()
    other = Signed(text, (desk.signer.sign(text.encode(), "jetfleet.desired", desk.key("carl")),))

    def hook(verb: str, target: str) -> None:
        if verb == "head_manifest" and target.endswith("desired:desired"):
            desk.registry.hook = None
            assert found.plan is not None
            _put(desk, canonical_json(other), canonical_json(found.plan), canonical_json(PROOF))

    desk.registry.hook = hook
    with pytest.raises(RegistryError, match="by another program at the same time"):
        publish(desk.office, words, found.plan, PROOF, desk.key("carl"))


def test_an_unsigned_fleet_publishes_without_keys(tmp_path: Path) -> None:
    desk = Desk(tmp_path, unsigned=True)
    signed, missing = sign_plan(desk.office, rollout("r-1"), None)
    assert missing == ""
    words = first_words(desk.read(), rollout("r-1"), signed.statement, NOW, DAY)
    assert publish(desk.office, words, signed, PROOF, None).counts
    assert desk.signer.signed == []


@pytest.mark.parametrize("bad", [{"rollout_id": "../../etc"}, {"version": "newest"}, {"release": "latest"}])
def test_a_plan_names_nothing_that_becomes_a_path(desk: Desk, bad: dict[str, Any]) -> None:
    plan = dataclasses.replace(rollout("r-1"), **bad)
    text = canonical_json(plan).decode()
    signed = Signed(text, (desk.signer.sign(text.encode(), "jetfleet.plan", desk.key("anna")),))
    words = first_words(desk.read(), plan, text, NOW, DAY)
    with pytest.raises(NotSigned, match="the plan"):
        publish(desk.office, words, signed, PROOF, desk.key("carl"))


def test_a_generation_never_falls_behind_a_hidden_one(desk: Desk) -> None:
    desk.begin()
    hidden = desk.move(stage=1)
    (tag,) = [key for key in desk.registry._tags if key[1] == "desired"]
    del desk.registry._tags[tag]
    assert "there is none" in desk.read().problem
    plan = rollout("r-2")
    signed, _ = sign_plan(desk.office, plan, desk.key("anna"))
    assert first_words(desk.read(), plan, signed.statement, NOW + 3600, DAY).generation > hidden.generation
