"""What is thought of reports that a hub shows: whose they are, how old, and every way in which a hub may lie."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.signing.reports import judge_report, open_envelope
from fleet.signing.ssh_signature import BadSignature, armor, read_key, verify
from runtime.contract.codec import ContractError
from runtime.contract.node.report import SignedReport
from tests.fakes.pull_robots import PullRobot, SigningKey, pins_of

NOW = 1.8e9
ROBOT, OTHER = PullRobot("amr-001"), PullRobot("amr-002")
PINS = pins_of(ROBOT, OTHER)


def report(robot: PullRobot, at: float = NOW - 10, sequence: int = 7) -> SignedReport:
    return PullRobot(robot.name, sequence=sequence - 1).report(at)


def standing(
    envelope: SignedReport | None, *, robot: str = "amr-001", pins: object = PINS, known: int = 0
) -> tuple[str, str]:
    verdict = judge_report(robot, envelope, pins, now=NOW, reachable_s=900.0, known={robot: known})  # type: ignore[arg-type]
    assert (verdict.report is not None) == (verdict.standing in ("verified", "stale"))
    return verdict.standing, verdict.problem


def test_the_pinned_key_is_believed() -> None:
    assert standing(report(ROBOT)) == ("verified", "")


def test_no_report_is_no_state() -> None:
    assert standing(None) == ("none", "the hub has no report of it")


def test_an_old_report_says_how_old_it_is_as_the_robot_signed_it() -> None:
    assert standing(report(ROBOT, NOW - 2 * 3600)) == ("stale", "last report 2 h ago")
    assert standing(report(ROBOT, NOW - 900)) == ("verified", "")


def test_a_report_that_is_older_than_one_that_was_seen_is_stale_however_new_it_looks() -> None:
    said = "the hub shows report 7, report 9 was seen before: it hides the newer ones"
    assert standing(report(ROBOT), known=9) == ("stale", said)
    assert standing(report(ROBOT), known=7) == ("verified", "")


def test_a_clock_ahead_does_not_make_old_reports_new() -> None:
    assert standing(report(ROBOT, NOW + 200))[0] == "verified"
    assert standing(report(ROBOT, NOW + 7300)) == (
        "stale",
        "its clock is 2 h ahead of this machine's: correct it, or this one",
    )


def test_a_report_of_another_robot_is_seen() -> None:
    assert standing(report(OTHER)) == ("forged", "the hub shows a report of amr-002 of fleet warehouse under its name")


def test_a_report_of_another_fleet_is_seen() -> None:
    foreign = PullRobot("amr-001", "docks").report(NOW)
    assert standing(foreign) == ("forged", "the hub shows a report of amr-001 of fleet docks under its name")


def test_another_key_is_seen_and_named() -> None:
    thief = PullRobot("amr-001")
    thief.key = SigningKey("thief")
    said, why = standing(thief.report(NOW))
    assert said == "forged"
    assert f"signed by {thief.key.host_key.fingerprint}, which is not its pinned key" in why


def test_a_changed_word_is_seen() -> None:
    said, why = standing(dataclasses.replace(report(ROBOT), sequence=8))
    assert (said, why) == (
        "forged",
        "the hub shows a report that its key did not sign: it does not fit what was signed",
    )


def test_a_robot_without_a_pin_says_how_it_is_accepted() -> None:
    said, why = standing(report(ROBOT), pins=pins_of(OTHER))
    fingerprint = ROBOT.key.host_key.fingerprint
    assert said == "unpinned"
    assert why.endswith(f"fleet enroll accept amr-001 --fingerprint {fingerprint}")


def test_a_retired_robot_counts_no_more() -> None:
    assert standing(report(ROBOT), pins=pins_of(ROBOT, retired=("amr-001",)))[0] == "retired"


def test_escape_sequences_of_a_hub_reach_no_terminal() -> None:
    shown = dataclasses.replace(report(ROBOT), robot="\x1b[2Jx" + "y" * 500)
    said, why = standing(shown)
    assert said == "forged"
    assert "\x1b" not in why
    assert len(why) < 250


@given(at=st.integers(0, 10**6), with_=st.binary(min_size=0, max_size=3))
def test_whatever_is_changed_in_a_signature_it_does_not_fit_and_breaks_nothing(at: int, with_: bytes) -> None:
    key, message = SigningKey("a"), b"words"
    blob = _blob(key.sign(message))
    at %= len(blob)
    changed = blob[:at] + with_ + blob[at + 1 :]
    if changed == blob:
        return
    with pytest.raises(BadSignature):
        verify(message, armor(changed), "jetfleet.report", key.host_key)


def _blob(armored: str) -> bytes:
    import base64

    return base64.b64decode("".join(armored.splitlines()[1:-1]))


@given(st.text(max_size=200))
def test_whatever_stands_where_a_key_should_is_read_or_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        read_key("ssh-ed25519 " + text)


def test_another_namespace_is_another_thing() -> None:
    key = SigningKey("a")
    with pytest.raises(BadSignature, match=r"it is of namespace .jetfleet\.release"):
        verify(b"x", key.sign(b"x", "jetfleet.release"), "jetfleet.report", key.host_key)


def test_nothing_that_nobody_signed_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(_: str) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr("fleet.signing.reports.unpack", unpack)
    with pytest.raises(BadSignature):
        open_envelope(dataclasses.replace(report(ROBOT), signature=SigningKey("b").sign(b"other")))


@pytest.mark.parametrize("sequence", [0, -1, 2**53])
def test_a_sequence_number_has_bounds(sequence: int) -> None:
    with pytest.raises(ContractError, match="not a sequence number"):
        open_envelope(dataclasses.replace(report(ROBOT), sequence=sequence))
