"""Reports on the robot's disk: numbered, signed, and kept until the hub has them. The newest is never dropped."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.json_decoder import ContractError
from runtime.contract.node.report import ENVELOPE_LIMITS, Report, SignedReport, pack, signed_bytes, unpack
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.pull.hub import Hub, HubAnswer
from runtime.updater.storage.durable import remove, replace_durable

FOLDER, SEQUENCE, DROPPED = "reports", "sequence", "dropped"
#: What waits for the hub, at most; the oldest is dropped first.
MOST_REPORTS, MOST_BYTES = 48, 4 * 1024 * 1024
#: Posted in one run, so that a robot that was away for long does not hold its hub.
MOST_POSTED = 16
LEFT_OUT = "left out: the report was larger than a hub takes"

Sign = Callable[[bytes], str]


class ReportQueue:
    """``state``: the updater's folder. One process at a time: :meth:`locked`."""

    def __init__(self, state: Path, key: str, sign: Sign) -> None:
        self.folder = state / FOLDER
        self._key, self._sign = key, sign
        self.renumbered = False
        """The hub knew newer numbers than this robot had given."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one."""
        descriptor = os.open(str(self.folder / "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def add(self, report: Report) -> SignedReport:
        """Number, sign and keep a report. Raises OSError, WorldError."""
        number = self._number(SEQUENCE) + 1
        replace_durable(self.folder / SEQUENCE, b"%d" % number)  # before it is used: a number is never used twice
        report = replace(report, sequence=number, dropped=self._number(DROPPED))
        envelope = self._signed(report)
        replace_durable(self._path(number), canonical_json(envelope))
        self._bound()
        return envelope

    def waiting(self) -> List[Path]:
        """Return what waits, oldest first."""
        found = [path for path in self.folder.glob("*.json") if path.stem.isdigit()]
        return sorted(found, key=lambda path: int(path.stem))

    def send(self, hub: Hub) -> HubAnswer:
        """Hand over what waits, oldest first, until the hub does not take one. Raises UpstreamError, OSError."""
        answer = HubAnswer(202)
        for path in self.waiting()[:MOST_POSTED]:
            envelope = self._read(path)
            if envelope is None:
                remove(path)
                continue
            answer = hub.post(envelope)
            if answer.status == 409:
                return self._again(hub, max(answer.sequence, envelope.sequence))
            if answer.status == 413 and path == self.waiting()[-1]:
                return self._smaller(hub, envelope)
            if answer.status in (400, 413):
                remove(path)  # it would be refused for ever; the newest state comes after it
                self._count_dropped(1)
            elif 200 <= answer.status < 300:
                remove(path)
                remove(self.folder / DROPPED)
            else:
                break
        return answer

    def _again(self, hub: Hub, newest: int) -> HubAnswer:
        """The hub knows newer numbers than ours (the disk is new, or its clone reports): go on after them, once."""
        self.renumbered = True
        paths = self.waiting()
        last = self._read(paths[-1])
        number = max(newest, self._number(SEQUENCE)) + 1
        replace_durable(self.folder / SEQUENCE, b"%d" % number)
        if last is None:
            return HubAnswer(202)
        envelope = self._signed(replace(unpack(last.body), sequence=number))
        replace_durable(self._path(number), canonical_json(envelope))
        for path in paths:
            remove(path)
        answer = hub.post(envelope)
        if 200 <= answer.status < 300:
            remove(self._path(number))
        return answer

    def _smaller(self, hub: Hub, envelope: SignedReport) -> HubAnswer:
        """Leave the details out of a report that is too large for this hub, and hand over the rest."""
        number = self._number(SEQUENCE) + 1
        replace_durable(self.folder / SEQUENCE, b"%d" % number)
        smaller = self._signed(without_details(replace(unpack(envelope.body), sequence=number)))
        replace_durable(self._path(number), canonical_json(smaller))
        remove(self._path(envelope.sequence))
        answer = hub.post(smaller)
        if 200 <= answer.status < 300:
            remove(self._path(number))
        return answer

    def _signed(self, report: Report) -> SignedReport:
        try:
            body = pack(report)
        except ContractError:
            body = pack(without_details(report))
        content = signed_bytes(report.fleet, report.robot, report.sequence, body)
        return SignedReport(report.fleet, report.robot, report.sequence, body, self._key, self._sign(content))

    def _bound(self) -> None:
        """Drop the oldest until the rest fits; the newest always stays."""
        kept: List[Tuple[Path, int]] = [(path, path.stat().st_size) for path in self.waiting()]
        dropped = 0
        while len(kept) > 1 and (len(kept) > MOST_REPORTS or sum(size for _, size in kept) > MOST_BYTES):
            remove(kept.pop(0)[0])
            dropped += 1
        self._count_dropped(dropped)

    def _count_dropped(self, more: int) -> None:
        if more:
            replace_durable(self.folder / DROPPED, b"%d" % (self._number(DROPPED) + more))

    def _read(self, path: Path) -> Optional[SignedReport]:
        try:
            return from_json(SignedReport, path.read_bytes(), ENVELOPE_LIMITS)
        except (ContractError, OSError):
            return None  # torn by a power cut, or gone

    def _path(self, number: int) -> Path:
        return self.folder / "{}.json".format(number)

    def _number(self, name: str) -> int:
        try:
            text = (self.folder / name).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            text = ""
        on_disk = int(text) if text.isdigit() and len(text) < 18 else 0
        last = self.waiting()[-1:] if name == SEQUENCE else []
        return max([on_disk, *(int(path.stem) for path in last)])


def without_details(report: Report) -> Report:
    """Return a report without what its container said at length; it says so."""
    attestation = replace(report.attestation, report_json="", verification_json="", report_error=LEFT_OUT)
    return replace(report, attestation=attestation, samples={})


def why_not_taken(answer: HubAnswer) -> str:
    """Say why the hub did not take a report; empty when it did."""
    if 200 <= answer.status < 300:
        return ""
    known = {
        400: "the hub says that it is no report, or that its signature does not fit",
        403: "the hub says that this robot is retired",
        409: "the hub knows newer reports of this robot: does another machine have its name and host key?",
        413: "the report is larger than the hub takes",
        429: "the hub asks for fewer reports",
        507: "the hub's quota for this robot is used up",
    }
    text = known.get(answer.status, "the hub answers {}".format(answer.status))
    return "{}: {}".format(text, answer.said) if answer.said else text


def raise_when_not_taken(answer: HubAnswer) -> None:
    """Raises UpstreamError."""
    why = why_not_taken(answer)
    if why:
        raise UpstreamError(why, "see the hub's log", transient=True, after_s=answer.after_s)
