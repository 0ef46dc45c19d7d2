"""What a verification comes to: here, what the host itself adds to it."""

from __future__ import annotations

from fleet.rollout.verification import HOST, findings
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.update import UpdateState
from tests.fakes.robots.robot_world import variant


def test_a_host_that_no_longer_fits_is_a_finding_that_fails() -> None:
    problem = "the release's container needs the runtime nvidia, this Engine has runc\x1b[2J"
    attestation = Attestation(UpdateState("amr-001", "idle", "1.0"), host_problems=(problem,))
    found = [finding for finding in findings(attestation, "1.0.0", variant("1")) if finding.check == HOST]
    assert [finding.passed for finding in found] == [False]
    assert found[0].reason.startswith("the release's container needs the runtime nvidia")
    assert "\x1b" not in found[0].reason


def test_an_updater_that_looks_at_nothing_adds_nothing() -> None:
    attestation = Attestation(UpdateState("amr-001", "idle", "1.0"))
    assert HOST not in {finding.check for finding in findings(attestation, "1.0.0", variant("1"))}
