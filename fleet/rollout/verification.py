"""What one robot's verification comes to: the right thing runs, and every check of its own passed. Pure."""

from __future__ import annotations

from fleet.rollout.gate import judge
from runtime.contract.codec import ContractError, from_json
from runtime.contract.json_decoder import WORDS
from runtime.contract.node.attestation import Attestation
from runtime.contract.printable import printable
from runtime.contract.robot.release import ReleaseVariant
from runtime.contract.robot.verification import Finding, Verification

RELEASE, HOST, REGISTRY, AGENT = "release", "host", "registry", "agent"
"""Checks made on this side: what runs against the release, and whether the robot could verify itself at all."""


def findings(attestation: Attestation, version: str, variant: ReleaseVariant) -> tuple[Finding, ...]:
    """Return every check of one robot, those made here first. Nothing found is nothing proven: never empty."""
    return (_release(attestation, version, variant), *_host(attestation), *_registry(attestation), *_own(attestation))


def _release(attestation: Attestation, version: str, variant: ReleaseVariant) -> Finding:
    wrong = judge(attestation, variant).wrong
    if wrong:
        return Finding(RELEASE, "", False, "; ".join(wrong))
    said = f"runs {version}, variant {variant.name}: image and engine keys are the release's"
    return Finding(RELEASE, "", True, said)


def _host(attestation: Attestation) -> tuple[Finding, ...]:
    """Return what an upgrade of the host has broken for the next start; an older updater looks at nothing."""
    return tuple(Finding(HOST, "", False, printable(problem)) for problem in attestation.host_problems)


def _registry(attestation: Attestation) -> tuple[Finding, ...]:
    """Return whether the robot could fetch its image again, by its own login; an older updater does not ask."""
    if not attestation.registry:
        return ()
    host = printable(attestation.registry)
    if attestation.registry_problem:
        return (Finding(REGISTRY, "", False, f"{host}: {printable(attestation.registry_problem)}"),)
    return (Finding(REGISTRY, "", True, f"{host} gives the running release's image to this robot's login"),)


def _own(attestation: Attestation) -> tuple[Finding, ...]:
    if not attestation.verification_json:
        why = attestation.verification_error or attestation.report_error or "the agent returned no verification"
        return (Finding(AGENT, "", False, why),)
    try:
        verification = from_json(Verification, attestation.verification_json, WORDS, clean=printable)
    except ContractError as error:
        return (Finding(AGENT, "", False, f"the verification can't be read: {error}"),)
    if not verification.findings:
        return (Finding(AGENT, "", False, "the agent checked nothing: no model is configured"),)
    return verification.findings
