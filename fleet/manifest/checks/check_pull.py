"""Robots that pull: a hub to report to, people who may sign for them, and times that fit each other."""

from __future__ import annotations

from pathlib import Path

from fleet.manifest.checks.check_registry import why_no_authorities
from fleet.manifest.draft import Draft
from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.inherit import Inheritance
from fleet.manifest.schema.pull_schema import Hub, Pull
from fleet.manifest.schema.trust_schema import Trust
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath
from fleet.signing.allowed_signers import AllowedSigner, SignerError, read_signers
from runtime.contract.robot.trust import DESIRED, NAMESPACES, PINS, PLAN, SignatureFacts, distinct_signers

_WANTED = "name a PEM file with the certificate of the authority that signed the hub's (-----BEGIN CERTIFICATE-----)"
#: A report that is lost once must not make a robot unreachable.
_REPORTS_IN_TIME = 2.0


def check_pull(draft: Draft, root: Path, source: SourceFile, report: Report) -> None:
    """Note what robots with ``link: pull`` miss. Files are looked at whether or not one of them pulls."""
    if draft.hub is not None and draft.hub.ca_file is not None:
        _check_authority(draft.hub, draft.hub.ca_file, root, source, report)
    if draft.pull is not None:
        _check_times(draft.pull, source, report)
    at = _first_that_pulls(draft)
    if at is None:
        return
    if draft.hub is None and draft.complete:
        hint = "name it: hub: {url: https://hub.example:8443}; `fleet hub` runs one"
        report.add(source, at, "a robot that pulls needs a hub to report to, and the manifest names none", hint)
    if draft.trust is not None and not draft.trust.unsigned:
        _check_signers(draft.trust, root, source, report)


def _first_that_pulls(draft: Draft) -> KeyPath | None:
    """Where ``link: pull`` is written that counts for some robot: at the robot, its group or in defaults."""
    inheritance = Inheritance(draft.defaults, draft.groups)
    for index, robot in draft.robots.items():
        if inheritance.of(robot).link == "pull":
            if robot.link is not None:
                return ("robots", index, "link")
            group = draft.groups.get(robot.group) if robot.group is not None else None
            in_group = group is not None and group.link is not None
            return ("groups", str(robot.group), "link") if in_group else ("defaults", "link")
    return None


def _check_authority(hub: Hub, name: str, root: Path, source: SourceFile, report: Report) -> None:
    at: KeyPath = ("hub", "ca_file")
    path = inside(root, root, name)
    if path is None:
        hint = "move the file below the folder of fleet.yaml: that folder is what is reviewed and copied"
        report.add(source, at, f"{name} is outside of the manifest's folder", hint)
    elif why := why_no_file(path) or why_no_authorities(path):
        report.add(source, at, f"{path} {why}", _WANTED)
    elif hub.url.startswith("http://"):
        report.add(source, at, f"{hub.url} has no certificate to check", "write https://, or remove ca_file")


def _check_times(pull: Pull, source: SourceFile, report: Report) -> None:
    if pull.reachable < _REPORTS_IN_TIME * pull.report:
        message = f"robots report every {pull.report:g} s and are unreachable after {pull.reachable:g} s"
        hint = "make pull/reachable at least twice pull/report: one report that is lost makes no robot unreachable"
        report.add(source, ("pull", "reachable"), message, hint)
    if pull.statement < _REPORTS_IN_TIME * pull.poll:
        message = f"robots look every {pull.poll:g} s, and a statement counts for {pull.statement:g} s"
        report.add(source, ("pull", "statement"), message, "make pull/statement at least twice pull/poll")


def _check_signers(trust: Trust, root: Path, source: SourceFile, report: Report) -> None:
    """Whoever signs releases must be able to sign plans and pins, and one key the statements."""
    signers = _lines(trust.signers, root)
    if signers is None:
        return
    for kind in (PLAN, PINS):
        can = [each for each in signers if each.may_sign(NAMESPACES[kind])]
        if len(distinct_signers([_fact(each) for each in can])) < trust.threshold:
            message = f"robots pull, and fewer than {trust.threshold} of {trust.signers} may sign in {NAMESPACES[kind]}"
            hint = f'write namespaces="jetfleet.*" in their lines there, or add {NAMESPACES[kind]}'
            report.add(source, ("trust", "signers"), message, hint)
    advance = signers if trust.advance is None else _lines(trust.advance, root)
    if advance is not None and not any(each.may_sign(NAMESPACES[DESIRED]) for each in advance):
        key = "signers" if trust.advance is None else "advance"
        message = f"robots pull, and no line of {getattr(trust, key)} may sign in {NAMESPACES[DESIRED]}"
        hint = f"add {NAMESPACES[DESIRED]} to the namespaces of a line there: it says how far a rollout has come"
        report.add(source, ("trust", key), message, hint)


def _lines(name: str, root: Path) -> list[AllowedSigner] | None:
    """Return the lines of an allowed_signers file; None where `check_trust` says what is wrong with it."""
    path = inside(root, root, name)
    try:
        return None if path is None else list(read_signers(path.read_text(encoding="utf-8", errors="replace")))
    except (OSError, SignerError):
        return None


def _fact(signer: AllowedSigner) -> SignatureFacts:
    people = (f"whom {signer.key} certifies",) if signer.is_authority else signer.principals
    return SignatureFacts(signer.key, people)
