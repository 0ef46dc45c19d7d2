"""A robot takes what enough allowed signers signed, word for word, and says both sides when it does not."""

# ruff: noqa: E501  (one case a line reads better)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.robot.release import Probation
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import NAMESPACES, RELEASE, ROLLBACK, Signed, TrustSettings
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.state.release_folder import target_of
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.trust import check_trust
from runtime.updater.transaction.update_state import state_lines
from tests.fakes.robots.robot_world import START, Behaviour, fake_signature, order, reference, variant
from tests.fakes.signed_orders import ANNA, BEN, DAY, EVE, document_of, prove, signed, statement_of
from tests.unit.updater.robot import Robot

HOUR = 3600.0


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    """Anna and Ben may sign; 1.1.0 runs, signed by Anna."""
    robot = Robot(tmp_path)
    robot.world.settings = TrustSettings("warehouse")
    robot.world.signers = {ANNA: ("anna@x",), BEN: ("ben@x",)}
    state = robot.run(prove(order("1", order_id="first")))
    assert (state.outcome, state.signed_by) == ("committed", ("anna@x",))
    robot.world.pulls.clear()
    return robot


def next_order(**changes: Any) -> UpdateOrder:
    return order("2", order_id="second", **changes)


def refused(robot: Robot, what: UpdateOrder) -> UpdateState:
    """Give the order; check that it was refused before anything was fetched or changed."""
    ran = robot.world.runs
    state = robot.run(what)
    assert state.outcome == "refused", state
    assert robot.world.pulls == []
    assert robot.world.runs is ran
    assert state.current is not None
    assert state.current.version == "1.1.0"
    assert state.hint
    robot.assert_whole()
    return state


def test_a_signed_release_is_taken_and_who_signed_is_told(robot: Robot) -> None:
    state = robot.run(prove(next_order(), [BEN, ANNA]))
    assert (state.outcome, state.signed_by, state.unsigned) == ("committed", ("anna@x", "ben@x"), False)
    assert "signed    by anna@x, ben@x" in state_lines(state)


def of_another_document() -> UpdateOrder:
    proven = prove(next_order())
    assert proven.proof is not None
    other = canonical_json(document_of(proven, tags={"amr": proven.variant.name})).decode()
    return replace(proven, proof=replace(proven.proof, document=other))


def with_statement(text: str) -> UpdateOrder:
    proven = prove(next_order())
    assert proven.proof is not None
    signature = fake_signature(ANNA, text, NAMESPACES[RELEASE])
    return replace(proven, proof=replace(proven.proof, release=Signed(text, (signature,))))


def with_a_rollback_order_as_its_release() -> UpdateOrder:
    return with_statement(canonical_json(statement_of(document_of(next_order()), kind=ROLLBACK)).decode())


REFUSALS: list[tuple[str, Callable[[], UpdateOrder], list[str], str]] = [
    ("no proof", next_order, ["carries no signature"], "fleet keys sign 1.2.0"),
    ("nobody signed", lambda: prove(next_order(), []), ["by 0 of 1"], "fleet keys sign 1.2.0"),
    ("an unknown key", lambda: prove(next_order(), [EVE]), ["by 0 of 1", f"{EVE} is not an allowed signer"], "keys push"),
    ("another fleet", lambda: prove(next_order(), fleet="depot"), ["fleet depot", "says warehouse"], "it was changed"),
    ("another version", lambda: prove(next_order(), version="1.9.0"), ["version 1.9.0", "says 1.2.0"], "changed"),
    ("another document", of_another_document, ["signed is document sha256:", "carries sha256:"], "changed"),
    ("expired", lambda: prove(next_order(), expires_at=START), ["expired at 2027-01-15T08:00:00Z, it is 2027"], "sign it again"),
    ("of tomorrow's tomorrow", lambda: prove(next_order(), issued_at=START + 3 * DAY), ["before 2027-01-18"], "clock"),
    ("not a statement", lambda: with_statement("{}"), ["the signed statement cannot be read"], "sign again"),
    ("a rollback order alone", with_a_rollback_order_as_its_release, ["a rollback was signed, not a release"], "sign"),
    ("a hundred years", lambda: prove(next_order(), expires_at=START + 36500 * DAY), ["made for 36500.0 days, this robot accepts at most 365.0"], "keys sign 1.2.0"),
    ("a newer schema", lambda: prove(next_order(), schema=99), ["schema 99 is newer"], "sign again"),
    ("another release's name", lambda: replace(prove(next_order()), release_digest="sha256:" + "f" * 64), ["release_digest is not the signed one", "ffff"], "changed"),
    ("too many signatures", lambda: prove(next_order(), [EVE] * 17), ["17 signatures, at most 16"], "changed"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says", "hint"), [each[1:] for each in REFUSALS], ids=[each[0] for each in REFUSALS])
def test_refused_with_both_sides_and_a_way_out(
    robot: Robot, make: Callable[[], UpdateOrder], says: list[str], hint: str
) -> None:
    state = refused(robot, make())
    for part in says:
        assert part in state.reason
    assert hint in state.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"variant": variant("2", image=reference("3"))}, "the order's variant is not the signed one: image"),
        ({"variant": variant("2", engines=())}, "engines"),
        ({"variant": variant("2", config_digest="sha256:" + "9" * 64)}, "config_digest"),
        ({"compose": {"robot.compose.yaml": "services: {}"}}, "the order's compose is not the signed one"),
        (
            {"environment": {"ROS_DOMAIN_ID": "8"}},
            "environment is not the signed one: ROS_DOMAIN_ID '8' is ordered, '7'",
        ),
        ({"environment": {"ROS_DOMAIN_ID": "7", "LD_PRELOAD": "/x"}}, "LD_PRELOAD '/x' is ordered, None is signed"),
        ({"probation": Probation(soak_s=0.0)}, "probation is not the signed one: autonomy False"),
        ({"switch": SwitchRules(wait_s=1.0)}, "switch is not the signed one: wait_s 1.0 is ordered, 600.0 is signed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_order_is_the_signed_document_word_for_word(robot: Robot, changes: dict[str, Any], says: str) -> None:
    honest = prove(next_order(probation=Probation(autonomy=True)))
    if "probation" not in changes:
        honest = prove(next_order())
    state = refused(robot, replace(honest, **changes))
    assert says in state.reason
    assert "it was changed after" in state.hint


def test_a_release_that_does_not_know_the_robot(robot: Robot) -> None:
    what = next_order()
    state = refused(robot, prove(what, document=document_of(what, robots={"amr-002": what.variant.name})))
    assert "the signed release 1.2.0 does not know amr-001" in state.reason


def test_a_document_that_cannot_be_read_is_refused_by_a_robot_that_is_too_old(robot: Robot) -> None:
    what = next_order()
    state = refused(robot, prove(what, document=document_of(what, schema=99)))
    assert "schema 99 is newer" in state.reason
    assert "fleet bootstrap" in state.hint


def test_a_signature_of_another_kind_does_not_count(robot: Robot) -> None:
    what = prove(next_order())
    assert what.proof is not None
    release = signed(statement_of(document_of(what)), [ANNA], namespace="git")
    state = refused(robot, replace(what, proof=replace(what.proof, release=release)))
    assert "not belong to this statement as jetfleet.release" in state.reason


def test_a_statement_changed_after_it_was_signed(robot: Robot) -> None:
    what = prove(next_order())
    assert what.proof is not None
    longer = canonical_json(statement_of(document_of(what), expires_at=START + 99 * DAY)).decode()
    proof = replace(what.proof, release=replace(what.proof.release, statement=longer))
    assert "not belong to this statement" in refused(robot, replace(what, proof=proof)).reason


def test_a_revoked_key_counts_no_more(robot: Robot) -> None:
    robot.world.revoked = {ANNA}
    state = refused(robot, prove(next_order()))
    assert f"{ANNA} of anna@x is revoked" in state.reason
    assert robot.run(replace(prove(next_order(), [BEN]), order_id="third")).outcome == "committed"


def test_two_signers_where_two_are_needed(robot: Robot) -> None:
    robot.world.settings = TrustSettings("warehouse", threshold=2)
    state = refused(robot, prove(next_order(), [ANNA]))
    assert "release 1.2.0 is signed by 1 of 2 allowed signers that are needed (anna@x)" in state.reason
    twice = refused(robot, replace(prove(next_order(), [ANNA, ANNA]), order_id="twice"))
    assert "by 1 of 2" in twice.reason
    assert robot.run(replace(prove(next_order(), [ANNA, BEN]), order_id="both")).outcome == "committed"


def test_a_robot_that_was_never_told_whom_to_believe_takes_nothing(robot: Robot) -> None:
    robot.world.settings = None
    state = refused(robot, prove(next_order()))
    assert "has no trust settings" in state.reason
    assert "fleet bootstrap --robots amr-001" in state.hint


def test_a_robot_of_another_fleet_refuses_unsigned_orders_too(robot: Robot) -> None:
    robot.world.settings = TrustSettings("depot", unsigned=True)
    assert "of fleet warehouse, this robot belongs to depot" in refused(robot, next_order()).reason


def test_settings_that_cannot_be_read_are_no_consent(robot: Robot) -> None:
    error = WorldError("/var/lib/jetfleet/trust/trust.json cannot be read: damaged", "run `fleet bootstrap` again")
    robot.world.fail("trust", error, error)
    state = refused(robot, prove(next_order()))
    assert "trust.json cannot be read" in state.reason
    assert "fleet bootstrap" in state.hint


def test_an_unsigned_robot_takes_anything_and_says_so(robot: Robot) -> None:
    robot.world.settings = TrustSettings("warehouse", unsigned=True)
    state = robot.run(next_order())
    assert (state.outcome, state.signed_by) == ("committed", ())
    lines = state_lines(replace(state, unsigned=True))
    assert "signed    by nobody; unsigned: this robot accepts any order" in lines


@pytest.mark.parametrize("where", ["verifying", "waiting"])
def test_a_key_revoked_on_the_way_stops_the_release(robot: Robot, where: str) -> None:
    robot.updater.submit(prove(next_order()))
    robot.drive(until=lambda state: state.state == where)
    robot.world.revoked = {ANNA}
    state = robot.drive()
    assert (state.outcome, state.current.version if state.current else "") == ("refused", "1.1.0")
    assert "is revoked" in state.reason
    robot.assert_whole()


# ── older releases ──


def back_to_first(robot: Robot, **changes: Any) -> UpdateOrder:
    """Bring the robot to 1.2.0; return an order to go back to 1.1.0 with a rollback order, unless told otherwise."""
    assert robot.run(prove(next_order(), issued_at=START + HOUR)).outcome == "committed"
    what = order("1", order_id=changes.pop("order_id", "back"))
    statement = statement_of(document_of(what), ROLLBACK, **{"issued_at": START + 2 * HOUR, **changes})
    return prove(what, rollback=statement)


def test_an_older_release_is_refused_without_a_rollback_order(robot: Robot) -> None:
    what = back_to_first(robot)
    assert what.proof is not None
    state = robot.run(replace(what, proof=replace(what.proof, rollback=None)))
    assert state.outcome == "refused"
    assert "1.1.0 (signed at 2027-01-15T08:00:00Z) is older than 1.2.0 (signed at 2027-01-15T09:00:00Z)" in state.reason
    assert "fleet rollback 1.1.0" in state.hint


def test_a_rollback_order_brings_the_robot_back_and_the_floor_stays(robot: Robot) -> None:
    what = back_to_first(robot)
    assert robot.run(what).outcome == "committed"
    assert robot.journal.floor is not None
    assert (robot.journal.floor.version, robot.journal.floor.accepted_at) == ("1.2.0", START + 2 * HOUR)
    again = robot.run(replace(what, order_id="same", proof=replace(what.proof, rollback=None)))  # type: ignore[type-var]
    assert again.outcome == "committed", "the release that runs may always be ordered again"


def test_the_release_that_runs_may_be_ordered_again_in_either_slot(robot: Robot) -> None:
    assert robot.run(back_to_first(robot)).outcome == "committed"
    journal = robot.journal
    assert journal.current is not None
    again = prove(order("1", order_id="same"))
    for slot in ("", "b"):
        check_trust(replace(journal, current=replace(journal.current, slot=slot)), again, robot.world)


def test_a_rollback_order_works_once(robot: Robot) -> None:
    back = back_to_first(robot)
    assert robot.run(back).outcome == "committed"
    assert robot.run(prove(order("2", order_id="forth"), issued_at=START + HOUR)).outcome == "committed"
    state = robot.run(replace(back, order_id="replayed"))
    assert state.outcome == "refused"
    assert "the rollback order was signed at 2027-01-15T10:00:00Z, not after 2027-01-15T10:00:00Z" in state.reason
    assert "fleet rollback 1.1.0 --renew" in state.hint


def test_a_rollback_order_from_before_the_release_is_no_use_against_it(robot: Robot) -> None:
    state = robot.run(back_to_first(robot, issued_at=START + HOUR / 2))
    assert state.outcome == "refused"
    assert "not after 2027-01-15T09:00:00Z" in state.reason


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"robots": ("amr-002", "amr-003")}, "the rollback order is for amr-002, amr-003, this robot is amr-001"),
        ({"robots": ()}, "the rollback order is for nobody"),
        ({"fleet": "depot"}, "signed is fleet depot"),
        ({"version": "1.0.0"}, "signed is version 1.0.0"),
        ({"document": "sha256:" + "0" * 64}, "the rollback order is for document sha256:000"),
        ({"expires_at": START + HOUR}, "the rollback order of 1.1.0 expired at"),
    ],
)
def test_a_rollback_order_is_for_these_robots_this_release_and_today(
    robot: Robot, changes: dict[str, Any], says: str
) -> None:
    what = back_to_first(robot, **changes)
    robot.world.time += 2 * HOUR
    state = robot.run(what)
    assert state.outcome == "refused"
    assert says in state.reason
    assert state.current is not None
    assert state.current.version == "1.2.0"


def test_a_rollback_order_needs_as_many_signers(robot: Robot) -> None:
    what = back_to_first(robot)
    robot.world.settings = TrustSettings("warehouse", threshold=2)
    both = prove(order("1"), [ANNA, BEN])
    assert both.proof is not None
    assert what.proof is not None
    state = robot.run(replace(what, proof=replace(both.proof, rollback=what.proof.rollback)))
    assert "rollback 1.1.0 is signed by 1 of 2" in state.reason
    assert "fleet rollback 1.1.0" in state.hint


def test_going_back_does_not_wait_for_a_signature_that_ran_out(robot: Robot) -> None:
    """The rollback order is a fresh signature over the same document."""
    what = back_to_first(robot, issued_at=START + 100 * DAY, expires_at=START + 101 * DAY)
    robot.world.time = START + 100 * DAY
    assert robot.run(what).outcome == "committed"


def test_a_version_between_needs_an_order_as_well(robot: Robot) -> None:
    assert robot.run(prove(order("9", "2.0.0"))).outcome == "committed"
    assert robot.run(prove(next_order(version="1.9.1"))).outcome == "refused"


def test_a_failed_release_does_not_raise_the_floor(robot: Robot) -> None:
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    assert robot.run(prove(next_order())).outcome == "reverted"
    assert robot.journal.floor is not None
    assert robot.journal.floor.version == "1.1.0"


def test_a_clock_that_was_set_back_brings_nothing_to_life_again(robot: Robot) -> None:
    assert robot.run(prove(next_order(), issued_at=START, expires_at=START + 2 * DAY)).outcome == "committed"
    assert robot.run(prove(order("3"), issued_at=START + 50 * DAY)).outcome == "refused", "a clock far behind"
    robot.world.time = START + 50 * DAY
    assert robot.run(prove(order("3", order_id="later"), issued_at=START + 50 * DAY)).outcome == "committed"
    robot.world.time = START
    state = robot.run(prove(order("4"), issued_at=START, expires_at=START + 2 * DAY))
    assert state.outcome == "refused"
    assert "before 2027-03-06" in state.reason


def test_going_back_by_hand_needs_no_signature(robot: Robot) -> None:
    assert robot.run(prove(next_order())).outcome == "committed"
    robot.world.settings = None
    robot.updater.revert("it squeaks")
    state = robot.drive()
    assert state.outcome == "reverted"
    assert state.current is not None
    assert (state.current.version, state.signed_by) == ("1.1.0", ("anna@x",))


def test_going_back_by_hand_goes_only_to_what_was_verified(robot: Robot) -> None:
    assert robot.run(prove(next_order())).outcome == "committed"
    first = target_of(order("1")).folder
    forged = canonical_json(replace(order("1"), compose={"robot.compose.yaml": "services: {}"})).decode()
    (robot.root / "releases" / first / "release.json").write_text(forged)
    with pytest.raises(WorldError, match="is damaged: its content is that of"):
        robot.updater.revert("it squeaks")


# ── the disk ──


@pytest.mark.parametrize("name", ["robot.compose.yaml", ".env"])
def test_a_file_changed_after_verification_is_not_run(robot: Robot, name: str) -> None:
    what = prove(next_order())
    robot.updater.submit(what)
    robot.drive(until=lambda state: state.state == "switching")
    path = robot.root / "releases" / target_of(what).folder / name
    honest = path.read_text()
    path.write_text(honest.replace("runtime", "runtime:\n    privileged: true") + "# changed\n")
    state = robot.drive()
    assert state.outcome == "committed"
    assert f"{name} in releases/{target_of(what).folder} had been changed on the disk: written again" in state.reason
    assert path.read_text() == honest
    assert robot.world.runs is not None
    assert "changed" not in robot.world.runs.content


def test_a_changed_file_of_the_old_release_is_mended_when_the_robot_goes_back(robot: Robot) -> None:
    path = robot.root / "releases" / target_of(order("1")).folder / "robot.compose.yaml"
    honest = path.read_text()
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    robot.updater.submit(prove(next_order()))
    robot.drive(until=lambda state: state.state == "probation")
    path.write_text("services: {}\n")
    assert robot.drive().outcome == "reverted"
    assert path.read_text() == honest
    assert any("robot.compose.yaml in releases/" in note for note in robot.world.notes)


def test_an_old_release_that_cannot_be_mended_runs_all_the_same(robot: Robot) -> None:
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    robot.updater.submit(prove(next_order()))
    robot.drive(until=lambda state: state.state == "probation")
    release = robot.root / "releases" / target_of(order("1")).folder / "release.json"
    honest = release.read_text()
    release.write_text("{")
    robot.drive(until=lambda state: any("cannot be repaired" in note for note in robot.world.notes))
    assert robot.world.runs is not None
    assert robot.world.runs.image == reference("1")
    release.write_text(honest)
    assert robot.drive().outcome == "reverted"


# ── how long words may last, and who vouches for whom ──


def going_back(**rollback: Any) -> UpdateOrder:
    what = order("3", order_id="back", version="1.0.0")
    document = document_of(what)
    return prove(
        what, document=document, rollback=statement_of(document, ROLLBACK, **rollback), expires_at=START + 36500 * DAY
    )


def test_a_rollback_order_for_more_than_a_day_is_refused(robot: Robot) -> None:
    issued = robot.world.mark().wall + 1
    state = refused(robot, going_back(issued_at=issued, expires_at=issued + 3650 * DAY))
    assert "the rollback order of 1.0.0 was made for 3650.0 days, this robot accepts at most 1.0" in state.reason
    assert "fleet rollback 1.0.0 --renew" in state.hint
    honest = going_back(issued_at=issued, expires_at=issued + DAY)
    assert robot.run(replace(honest, order_id="honest")).outcome == "committed", "its own day bounds the release too"


def test_the_robot_s_own_settings_say_how_long(robot: Robot) -> None:
    robot.world.settings = TrustSettings("warehouse", max_release_s=30 * DAY)
    assert "this robot accepts at most 30.0" in refused(robot, prove(next_order())).reason
    fits = prove(next_order(), expires_at=START + 30 * DAY)
    assert robot.run(replace(fits, order_id="fits")).outcome == "committed"


def test_expiry_stops_no_revert_by_hand(robot: Robot) -> None:
    assert robot.run(prove(next_order())).outcome == "committed"
    robot.world.time += 400 * DAY
    robot.updater.revert("it squeaks")
    state = robot.drive()
    assert state.current is not None
    assert (state.outcome, state.current.version) == ("reverted", "1.1.0")


def test_one_authority_counts_once_whatever_names_it_certifies(robot: Robot) -> None:
    robot.world.settings = TrustSettings("warehouse", threshold=2)
    robot.world.authorities = {ANNA: "SHA256:ca", BEN: "SHA256:ca"}
    state = refused(robot, prove(next_order(), [ANNA, BEN]))
    assert "by 1 of 2" in state.reason
    assert "one certificate authority (SHA256:ca), which counts once" in state.reason
    robot.world.authorities = {ANNA: "SHA256:ca"}
    assert robot.run(replace(prove(next_order(), [ANNA, BEN]), order_id="two")).outcome == "committed"


def test_an_authority_that_signs_itself_is_the_same_key(robot: Robot) -> None:
    robot.world.settings = TrustSettings("warehouse", threshold=2)
    robot.world.authorities = {ANNA: BEN}
    assert "by 1 of 2" in refused(robot, prove(next_order(), [ANNA, BEN])).reason
