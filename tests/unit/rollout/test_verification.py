"""What a verification comes to: here, what the host itself adds to it."""

from __future__ import annotations

import dataclasses

from fleet.rollout.verification import HOST, REGISTRY, findings
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
    assert REGISTRY not in {finding.check for finding in findings(attestation, "1.0.0", variant("1"))}


def test_a_registry_that_would_not_give_the_image_is_a_finding_that_fails() -> None:
    """The robot runs on; the next release, and this one after a lost disk, would not come."""
    asked = Attestation(UpdateState("amr-001", "idle", "1.0"), registry="registry.lan:5000")
    for problem, passed in (("", True), ("the registry answers 401 to manifests/sha256:1: unauthorized\x1b[2J", False)):
        told = dataclasses.replace(asked, registry_problem=problem)
        (found,) = (each for each in findings(told, "1.0.0", variant("1")) if each.check == REGISTRY)
        assert found.passed is passed
        assert found.reason.startswith("registry.lan:5000")
        assert "\x1b" not in found.reason
