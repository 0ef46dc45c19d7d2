"""What the journal means to others: UpdateState, refusals, and lines for a person."""

from __future__ import annotations

import time
from typing import List, Tuple

from runtime.contract.codec import from_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.printable import printable
from runtime.contract.robot.power import PowerAnswer
from runtime.contract.robot.update import REVERTING, RunningRelease, UpdateState
from runtime.contract.robot.verification import Verification
from runtime.updater.state.records import HistoryEntry, Journal
from runtime.updater.state.windows import local_text
from runtime.updater.transaction.state_machine import is_active, is_awaiting

#: Exit codes, the same words as the command `fleet`.
EXIT = {"internal": 1, "usage": 2, "outside": 3, "refused": 4, "busy": 5, "none": 66}


class Rejected(Exception):
    """What was asked for is not done. ``kind`` is a key of ``EXIT``."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint


def busy(journal: Journal) -> Rejected:
    """Return the refusal of a second order."""
    order = journal.order
    assert order is not None
    text = "order {} ({} of fleet {}) is in progress: {} for {:.0f} s".format(
        order.order_id, order.version, order.fleet, journal.state, max(0.0, time.time() - journal.started_at)
    )
    return Rejected("busy", text, "wait for it, or `fleet-updater abort {}`".format(order.order_id))


def unwritable(error: OSError, place: str) -> Rejected:
    """Return the refusal of what the disk does not take."""
    text = "cannot write {}: {}".format(error.filename or place, error.strerror or error)
    return Rejected("outside", text, "`sudo fleet-updater doctor` says what holds the space; then again")


def state_of(journal: Journal, version: str, said: str) -> UpdateState:
    """Return the journal as others see it. ``said``: the last note of a running updater."""
    active, last = is_active(journal), journal.last
    reason, hint = ("", "") if last is None else (last.reason, last.hint)
    if active:
        waits = journal.watch.last if journal.watch and not is_awaiting(journal) else ""
        reason, hint = (journal.reason or waits, "") if journal.state != REVERTING else (journal.reason, "")
    return UpdateState(
        robot=journal.robot or (journal.order.robot if journal.order else ""),
        state=journal.state,
        updater_version=version,
        order_id=_order_id(journal),
        outcome="" if last is None else last.outcome,
        reason=reason,
        hint=hint,
        target=journal.target,
        current=journal.current,
        previous=journal.previous,
        awaiting_confirmation=is_awaiting(journal),
        progress=said if active else "",
        banned=tuple(ban.image for ban in journal.banned),
        fetched_bytes=journal.fetched_bytes,
        updated_at=journal.updated_at,
        deferred_until=None if active or last is None else last.until,
        signed_by=journal.signers.get(journal.current.release_digest, ()) if journal.current else (),
        pinned=tuple(release.version for release in journal.pinned),
        generation=journal.newest.generation if journal.newest else 0,
        newest=journal.newest.version if journal.newest else "",
        newest_until=journal.newest.expires_at if journal.newest else 0.0,
    )


def _order_id(journal: Journal) -> str:
    if is_active(journal) and journal.order is not None:
        return journal.order.order_id
    return journal.last.order_id if journal.last is not None else ""


def state_lines(state: UpdateState) -> List[str]:
    """Return a state as lines for a person."""
    lines = ["robot     {}".format(state.robot or "(not bootstrapped)")]
    for name, release in (("current", state.current), ("previous", state.previous)):
        text = "none" if release is None else _release_text(release)
        lines.append("{:<9} {}".format(name, text))
    if state.pinned:
        lines.append("pinned    {}".format(", ".join(state.pinned)))
    lines += _trust_lines(state)
    lines += _pull_lines(state)
    lines.append("state     {}".format(_state_text(state)))
    if state.outcome and state.state == "idle":
        lines.append("last      {}: {}".format(state.order_id, state.outcome))
    if state.deferred_until is not None:
        lines.append("until     {}".format(local_text(state.deferred_until)))
    if state.reason:
        lines.append("reason    {}".format(state.reason))
    if state.hint:
        lines.append("do        {}".format(state.hint))
    if state.banned:
        lines.append("banned    {}".format(", ".join(short_image(image) for image in state.banned)))
    lines.append("updater   {}".format(state.updater_version or "not running"))
    return lines


def signed_text(state: UpdateState) -> str:
    """Return who signed for the current release, or that nobody had to."""
    who = "by " + ", ".join(state.signed_by) if state.signed_by else "by nobody"
    return who + "; unsigned: this robot accepts any order" if state.unsigned else who


def _trust_lines(state: UpdateState) -> List[str]:
    lines = []
    if state.unsigned or state.current is not None:
        lines.append("signed    {}".format(signed_text(state)))
    if state.root_version is not None and not state.unsigned:
        lines.append("root      {}".format(root_text(state)))
    if state.stale:
        lines.append("newest    stale: {}".format(state.stale))
    elif state.newest:
        lines.append("newest    {}, until {}".format(state.newest, local_text(state.newest_until)))
    return lines


def _pull_lines(state: UpdateState) -> List[str]:
    """Say how a robot that pulls stands to the desired statement."""
    pull = state.pull
    if pull is None:
        return []
    stage = "stage {} of rollout {}".format(pull.stage, pull.rollout_id) if pull.rollout_id else "no rollout yet"
    following = " (generation {})".format(pull.generation) if pull.generation else ""
    look = ", looks again {}".format(local_text(pull.next_poll_at)) if pull.next_poll_at else ""
    lines = ["pull      {}{}{}".format(stage, following, look)]
    for name, text in (("held", pull.held), ("registry", pull.problem), ("hub", pull.unreported)):
        if text:
            lines.append("{:<9} {}".format(name, text))
    return lines


def root_text(state: UpdateState) -> str:
    """Return which trust root counts."""
    if state.has_root:
        return "version {}".format(state.root_version)
    return "none yet: lists that an older version brought, unsigned -> run `fleet bootstrap`"


def _release_text(release: RunningRelease) -> str:
    return "{}  {}  {}".format(release.version, release.variant, short_image(release.image))


def short_image(reference: str) -> str:
    """Return a digest reference with the first 12 hex of its digest, as Docker shows it: fits a console's line."""
    name, found, digest = reference.partition("@sha256:")
    return name + found + digest[:12]


def _state_text(state: UpdateState) -> str:
    if state.state == "idle":
        return "idle"
    wanted = state.target.version if state.target else ""
    awaiting = ", awaiting confirmation" if state.awaiting_confirmation else ""
    said = " ({})".format(state.progress) if state.progress else ""
    return "{} {} for order {}{}{}".format(state.state, wanted, state.order_id, awaiting, said)


def attestation_lines(attestation: Attestation) -> List[str]:
    """Return what really runs as lines for a person."""
    lines = state_lines(attestation.state)
    lines.append("runs      {}".format(attestation.running_image or "nothing"))
    if attestation.container_id:
        since, restarts = attestation.container_started_at, attestation.container_restarts
        lines.append("container {} since {}, {} restarts".format(attestation.container_id[:12], since, restarts))
    if attestation.report_error:
        lines.append("agent     {}".format(attestation.report_error))
    return lines


def verification_lines(attestation: Attestation) -> List[str]:
    """Return what a robot found when it checked itself, as lines for a person."""
    lines = ["runs      {}".format(attestation.running_image or "nothing")]
    lines += ["FAILED host      : {}".format(printable(problem)) for problem in attestation.host_problems]
    if attestation.registry:
        problem = printable(attestation.registry_problem)
        lines.append("{} registry  {}: {}".format(*_asked(attestation.registry, problem)))
    if attestation.verification_error:
        return [*lines, "agent     {}".format(attestation.verification_error)]
    verification = from_json(Verification, attestation.verification_json)
    for finding in verification.findings:
        passed = "ok    " if finding.passed else "FAILED"
        lines.append("{} {:<9} {}: {}".format(passed, finding.check, finding.model, finding.reason))
    return lines


def _asked(host: str, problem: str) -> Tuple[str, str, str]:
    return ("FAILED", host, problem) if problem else ("ok    ", host, "gives this image to the robot's login")


def history_lines(entries: List[HistoryEntry]) -> List[str]:
    """Return the history as lines for a person, oldest first."""
    if not entries:
        return ["no order has ended on this robot yet"]
    return [_history_line(entry) for entry in entries]


def _history_line(entry: HistoryEntry) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.finished_at))
    moved = "" if entry.fetched_bytes is None else "  {:.1f} MB".format(entry.fetched_bytes / 1e6)
    text = "{}  {:<9} {} -> {}  {:.0f} s{}".format(
        when, entry.outcome, entry.came_from or "nothing", entry.version, entry.finished_at - entry.started_at, moved
    )
    if entry.override:
        text += "  overridden: " + entry.override
    return text + ("  " + entry.reason if entry.reason else "")


def power_lines(answer: PowerAnswer) -> List[str]:
    """Return what a person wants to know of the power mode."""
    lines = ["mode      {}".format(answer.mode or "not known")]
    if answer.asked is not None:
        lines.append("wanted    {}{}".format(answer.asked, ", verified" if answer.verified else ""))
    if answer.reboot_needed:
        lines.append("reboot    needed for {}".format(", ".join(answer.reboot_needed)))
    if answer.problem:
        lines.append("problem   {}".format(answer.problem))
    return lines
